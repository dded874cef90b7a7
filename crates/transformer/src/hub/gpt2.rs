//! GPT-2.

use candle_core::Tensor;
use glassbox_core::{Embedding, Layer, LayerNorm, Linear, NormConfig, ParamStore, Pass, Result, Site, VarBuilder};
use glassbox_kernels::graph::add;
use glassbox_kernels::linear::linear;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::attention::{Attention, Cache, Context, LayerCache, Projection};
use crate::CausalLm;
use super::config::{ModelConfig, TokenIds, activation, expect_counts, expect_dropouts, expect_heads};
use super::{Layout, Pretrained, drop_out, expect_ids, expect_mask, positions, weights};

/// The fields of a GPT-2's `config.json`, which `transformers` documents; all have its default values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Gpt2Config {
    pub model_type: String,
    pub vocab_size: usize,
    pub n_positions: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_head: usize,
    pub n_inner: Option<usize>,
    pub activation_function: String,
    pub resid_pdrop: f64,
    pub embd_pdrop: f64,
    pub attn_pdrop: f64,
    pub layer_norm_epsilon: f64,
    pub tie_word_embeddings: bool,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<TokenIds>,
    pub pad_token_id: Option<u32>,
}

impl Default for Gpt2Config {
    fn default() -> Self {
        Self {
            model_type: "gpt2".to_string(),
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".to_string(),
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            tie_word_embeddings: true,
            bos_token_id: Some(50256),
            eos_token_id: Some(TokenIds::One(50256)),
            pad_token_id: None,
        }
    }
}

impl ModelConfig for Gpt2Config {
    fn defaults(model_type: &str) -> Option<Self> {
        (model_type == "gpt2").then(Self::default)
    }

    fn model_type(&self) -> &str {
        &self.model_type
    }

    fn fixed() -> Vec<(&'static str, Vec<Value>)> {
        vec![
            ("scale_attn_weights", vec![json!(true)]),
            ("scale_attn_by_inverse_layer_idx", vec![json!(false)]),
            ("reorder_and_upcast_attn", vec![json!(false)]),
            ("add_cross_attention", vec![json!(false)]),
            ("is_decoder", vec![json!(false), json!(true)]),
            ("is_encoder_decoder", vec![json!(false)]),
            ("pruned_heads", vec![json!({})]),
        ]
    }

    fn irrelevant() -> &'static [&'static str] {
        &[
            "n_ctx",
            "id2label",
            "label2id",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
        ]
    }

    fn check(&self) -> Result<()> {
        expect_counts(&[("vocab_size", self.vocab_size), ("n_positions", self.n_positions), ("n_layer", self.n_layer)])?;
        expect_heads("n_head", self.n_head, "n_embd", self.n_embd)?;
        let dropouts = [("resid_pdrop", self.resid_pdrop), ("embd_pdrop", self.embd_pdrop), ("attn_pdrop", self.attn_pdrop)];
        expect_dropouts(&dropouts)?;
        activation("activation_function", &self.activation_function).map(drop)
    }
}

/// GPT-2 (Radford et al. 2019) with its language-model head: `transformers`' `GPT2LMHeadModel`.
///
/// Weights of its `Conv1D` layers, which files have as (in, out), are (out, in) here, as in every other linear layer.
pub struct Gpt2 {
    config: Gpt2Config,
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    /// Where it is not that of the embedding.
    head: Option<Linear>,
    site: Site,
    params: ParamStore,
}

struct Block {
    attention_norm: LayerNorm,
    attention: Attention,
    mlp_norm: LayerNorm,
    inner: Linear,
    outer: Linear,
    activation: glassbox_core::Activation,
    dropout: f64,
    site: Site,
}

impl Block {
    fn new(config: &Gpt2Config, vb: VarBuilder) -> Result<Self> {
        let width = config.n_embd;
        let inner_width = config.n_inner.unwrap_or(4 * width);
        let norm = |name: &str| {
            let norm = NormConfig { eps: config.layer_norm_epsilon, ..NormConfig::default() };
            LayerNorm::with_config(width, norm, vb.pp(name))
        };
        let attention = Attention {
            projection: Projection::Packed(Linear::new(width, 3 * width, vb.pp("attn.c_attn"))?),
            output: Linear::new(width, width, vb.pp("attn.c_proj"))?,
            num_heads: config.n_head,
            num_kv_heads: config.n_head,
            head_dim: width / config.n_head,
            scale: None,
            dropout: config.attn_pdrop,
            rope: None,
            norms: None,
            causal: true,
            window: None,
        };
        Ok(Self {
            attention_norm: norm("ln_1")?,
            attention,
            mlp_norm: norm("ln_2")?,
            inner: Linear::new(width, inner_width, vb.pp("mlp.c_fc"))?,
            outer: Linear::new(inner_width, width, vb.pp("mlp.c_proj"))?,
            activation: activation("activation_function", &config.activation_function)?,
            dropout: config.resid_pdrop,
            site: Site::new(vb.path(), "Gpt2Block"),
        })
    }

    fn forward(&self, xs: &Tensor, cache: Option<&mut LayerCache>, context: &Context) -> Result<Tensor> {
        let pass = context.pass;
        self.site.run(xs, pass, || {
            let ys = self.attention.to_itself(&self.attention_norm.forward(xs, pass)?, cache, context)?;
            let xs = add(xs, &drop_out(ys, self.dropout, pass)?)?;
            let ys = self.mlp_norm.forward(&xs, pass)?;
            let ys = super::blocks::activated(&self.inner, self.activation, &ys, pass)?;
            let ys = self.outer.forward(&ys, pass)?;
            Ok(add(&xs, &drop_out(ys, self.dropout, pass)?)?)
        })
    }
}

impl Pretrained for Gpt2 {
    type Config = Gpt2Config;

    fn new(config: Gpt2Config, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let base = vb.pp("transformer");
        let norm = NormConfig { eps: config.layer_norm_epsilon, ..NormConfig::default() };
        let head = (!config.tie_word_embeddings).then(|| Linear::no_bias(config.n_embd, config.vocab_size, vb.pp("lm_head")));
        Ok(Self {
            tokens: Embedding::new(config.vocab_size, config.n_embd, base.pp("wte"))?,
            positions: Embedding::new(config.n_positions, config.n_embd, base.pp("wpe"))?,
            blocks: (0..config.n_layer).map(|i| Block::new(&config, base.pp("h").pp(i))).collect::<Result<_>>()?,
            norm: LayerNorm::with_config(config.n_embd, norm, base.pp("ln_f"))?,
            head: head.transpose()?,
            site: Site::new(vb.path(), "Gpt2"),
            params: vb.store().clone(),
            config,
        })
    }

    fn config(&self) -> &Gpt2Config {
        &self.config
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn architecture(&self) -> &'static str {
        "GPT2LMHeadModel"
    }

    fn layout(&self) -> Layout {
        Layout(weights::Layout {
            prefix: "transformer",
            transposed: &["*.attn.c_attn.weight", "*.attn.c_proj.weight", "*.mlp.c_fc.weight", "*.mlp.c_proj.weight"],
            unused: vec!["*.attn.bias", "*.attn.masked_bias", "lm_head.weight"],
            head: &[],
        })
    }
}

impl CausalLm for Gpt2 {
    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_positions(&self) -> Option<usize> {
        Some(self.config.n_positions)
    }

    fn eos_token_ids(&self) -> &[u32] {
        self.config.eos_token_id.as_ref().map_or(&[], TokenIds::ids)
    }

    fn new_cache(&self) -> Cache {
        Cache::new(self.blocks.len())
    }

    fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, cache: Option<&mut Cache>, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || self.logits(ids, mask, cache, pass))
    }
}

impl Gpt2 {
    fn logits(&self, ids: &Tensor, mask: Option<&Tensor>, mut cache: Option<&mut Cache>, pass: &Pass) -> Result<Tensor> {
        let offset = cache.as_ref().map_or(0, |cache| cache.len());
        let (batch, len) = expect_ids(ids, offset, Some(self.config.n_positions))?;
        expect_mask(mask, batch, offset + len)?;
        let places = positions(mask, offset, batch, len, ids.device())?;
        let xs = add(&self.tokens.forward(ids, pass)?, &self.positions.forward(&places, pass)?)?;
        let mut xs = drop_out(xs, self.config.embd_pdrop, pass)?;
        let context = Context { padding: mask, bias: None, pass };
        for (i, block) in self.blocks.iter().enumerate() {
            let cache = cache.as_deref_mut().and_then(|cache| cache.own.get_mut(i));
            xs = block.forward(&xs, cache, &context)?;
        }
        let xs = self.norm.forward(&xs, pass)?;
        match &self.head {
            Some(head) => head.forward(&xs, pass),
            None => Ok(linear(&xs, &self.tokens.weight().get(pass), None, None)?),
        }
    }
}
