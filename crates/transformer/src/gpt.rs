//! A language model to train from nothing.

use candle_core::Tensor;
use glassbox_core::{Embedding, Error, Init, Layer, Linear, ParamStore, Pass, Result, Site, VarBuilder};
use glassbox_kernels::graph::add;
use serde::{Deserialize, Serialize};

use crate::attention::{Cache, Context};
use crate::config::{Role, TransformerConfig, Weights, linear};
use crate::hub::blocks::{Block, Norm, expect_ids, expect_mask, positions, run, tied_logits};
use crate::hub::drop_out;
use crate::model::CausalLm;
use crate::positions::{Positions, alibi, sinusoids};

/// How a [`Gpt`] is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GptConfig {
    /// Number of tokens; ids are below it. Default 256, the bytes.
    pub vocab_size: usize,
    /// Number of layers, at least 1. Default 4.
    pub num_layers: usize,
    /// How it knows where a token stands. Default learned.
    pub positions: Positions,
    /// The longest text with learned positions; others know no limit. Default 256.
    pub max_positions: usize,
    /// Whether the output layer has the embedding's weights. Default true.
    pub tie_weights: bool,
    /// The ids that end a text. Default none.
    pub eos_token_ids: Vec<u32>,
    /// Its layers.
    pub layer: TransformerConfig,
}

impl Default for GptConfig {
    fn default() -> Self {
        Self {
            vocab_size: 256,
            num_layers: 4,
            positions: Positions::Learned,
            max_positions: 256,
            tie_weights: true,
            eos_token_ids: vec![],
            layer: TransformerConfig::default(),
        }
    }
}

impl GptConfig {
    fn check(&self) -> Result<()> {
        let counts =
            [("vocab_size", self.vocab_size), ("num_layers", self.num_layers), ("max_positions", self.max_positions)];
        if let Some((what, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::invalid(*what, "at least 1", 0));
        }
        if let Some(id) = self.eos_token_ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(Error::invalid("eos_token_ids", format!("below vocab_size {}", self.vocab_size), id));
        }
        self.layer.check()
    }
}

/// A decoder of tokens from those before them (Radford et al. 2019): embeddings, layers of causal attention, a normalisation
/// and the next token's logits. It trains with `SupervisedStep` and `CrossEntropy` on windows of a text, and writes with
/// [`generate`](crate::generate).
///
/// Parameters: `tokens.weight` (vocab_size, d_model), `positions.weight` (max_positions, d_model) where they are learned, and
/// for each layer under `blocks`: `self_attn.qkv` (or `q`, `k` and `v`, with grouped heads or rotary positions),
/// `self_attn.out`, `feed_forward.inner`, `.outer` and gated `.factor`, with `self_attn_norm` and `feed_forward_norm`; then
/// `norm`, and `head.weight` where it is not tied. Weights are first normal with deviation 0.02, those of layers that add to
/// the stream 0.02 / √(2 num_layers), as GPT-2's.
///
/// # Shapes
/// Ids (batch, len), u32, to logits (batch, len, vocab_size).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_transformer::{Gpt, GptConfig, Positions, TransformerConfig};
/// let layer = TransformerConfig { d_model: 32, num_heads: 2, ..Default::default() };
/// let config = GptConfig { vocab_size: 10, num_layers: 2, positions: Positions::Rotary, layer, ..Default::default() };
/// let gpt = Gpt::new(config, ParamStore::new(Seed(1), &Device::Cpu).root())?;
/// let logits = Layer::forward(&gpt, &Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(logits.dims(), [1, 3, 10]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct Gpt {
    config: GptConfig,
    tokens: Embedding,
    positions: Option<Embedding>,
    blocks: Vec<Block>,
    norm: Option<Norm>,
    head: Option<Linear>,
    site: Site,
    params: ParamStore,
}

impl Gpt {
    /// A model of this configuration.
    ///
    /// # Errors
    /// Sizes that do not fit together; parameters of the same name and another shape exist.
    pub fn new(config: GptConfig, vb: VarBuilder) -> Result<Self> {
        config.check().map_err(|e| e.at(vb.path()))?;
        let (d_model, normal) = (config.layer.d_model, |std: f64| Init::Normal { mean: 0.0, std });
        let weights = Weights { inner: normal(0.02), outer: normal(0.02 / (2.0 * config.num_layers as f64).sqrt()) };
        let embedding = |name: &str, count: usize| -> Result<Embedding> {
            vb.pp(name).param("weight", (count, d_model), weights.inner)?;
            Embedding::new(count, d_model, vb.pp(name))
        };
        let is_learned = config.positions == Positions::Learned;
        let rope_theta = (config.positions == Positions::Rotary).then_some(10_000.0);
        let head = || linear(d_model, config.vocab_size, false, weights.inner, vb.pp("head"));
        Ok(Self {
            tokens: embedding("tokens", config.vocab_size)?,
            positions: is_learned.then(|| embedding("positions", config.max_positions)).transpose()?,
            blocks: config.layer.layers(config.num_layers, Role::Causal, rope_theta, weights, &vb.pp("blocks"))?,
            norm: config.layer.last_norm(vb.pp("norm"))?,
            head: (!config.tie_weights).then(head).transpose()?,
            site: Site::new(vb.path(), "Gpt"),
            params: vb.store().clone(),
            config,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &GptConfig {
        &self.config
    }

    /// Its parameters.
    pub fn params(&self) -> &ParamStore {
        &self.params
    }

    fn embed(&self, ids: &Tensor, mask: Option<&Tensor>, offset: usize, pass: &Pass) -> Result<Tensor> {
        let (batch, len) = expect_ids(ids, offset, self.max_positions())?;
        expect_mask(mask, batch, offset + len)?;
        let tokens = self.tokens.forward(ids, pass)?;
        let at = || positions(mask, offset, batch, len, ids.device());
        let xs = match (&self.positions, self.config.positions) {
            (Some(learned), _) => add(&tokens, &learned.forward(&at()?, pass)?)?,
            (_, Positions::Sinusoidal) => add(&tokens, &sinusoids(&at()?, self.config.layer.d_model, tokens.dtype())?)?,
            _ => tokens,
        };
        drop_out(xs, self.config.layer.dropout, pass)
    }

    fn logits(&self, ids: &Tensor, mask: Option<&Tensor>, cache: Option<&mut Cache>, pass: &Pass) -> Result<Tensor> {
        let offset = cache.as_ref().map_or(0, |cache| cache.len());
        let xs = self.embed(ids, mask, offset, pass)?;
        let alibi = |len| alibi(self.config.layer.num_heads, offset, len, xs.dtype(), xs.device());
        let is_alibi = self.config.positions == Positions::Alibi;
        let bias = is_alibi.then(|| alibi(xs.dim(1)?)).transpose()?;
        let context = Context { padding: mask, bias: bias.as_ref(), pass };
        let mut xs = run(&self.blocks, xs.clone(), cache, &context, None)?;
        if let Some(norm) = &self.norm {
            xs = norm.forward(&xs, pass)?;
        }
        match &self.head {
            Some(head) => head.forward(&xs, pass),
            None => tied_logits(&xs, &self.tokens, None, pass),
        }
    }
}

impl Layer for Gpt {
    fn forward(&self, ids: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || self.logits(ids, None, None, pass))
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

impl CausalLm for Gpt {
    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_positions(&self) -> Option<usize> {
        self.positions.is_some().then_some(self.config.max_positions)
    }

    fn eos_token_ids(&self) -> &[u32] {
        &self.config.eos_token_ids
    }

    fn new_cache(&self) -> Cache {
        Cache::new(self.blocks.len())
    }

    fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, cache: Option<&mut Cache>, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || self.logits(ids, mask, cache, pass))
    }
}
