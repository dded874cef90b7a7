//! GPT-2.

use candle_core::Tensor;
use glassbox_core::{Embedding, Layer, Linear, ParamStore, Pass, Result, Site, VarBuilder};
use glassbox_kernels::graph::add;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blocks::{Block, FeedForward, Heads, Norm, expect_ids, expect_mask, layer_norm, positions, tied_logits};
use super::config::{ModelConfig, TokenIds, activation, expect_counts, expect_dropouts, expect_heads};
use super::{Layout, Pretrained, blocks, drop_out, weights};
use crate::CausalLm;
use crate::attention::{Attention, Cache, Context, Projection};

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
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
        ]
    }

    fn check(&self) -> Result<()> {
        expect_counts(&[
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_layer", self.n_layer),
        ])?;
        expect_heads("n_head", self.n_head, "n_embd", self.n_embd)?;
        let dropouts =
            [("resid_pdrop", self.resid_pdrop), ("embd_pdrop", self.embd_pdrop), ("attn_pdrop", self.attn_pdrop)];
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
    norm: Norm,
    /// Where it is not that of the embedding.
    head: Option<Linear>,
    site: Site,
    params: ParamStore,
}

fn block(config: &Gpt2Config, vb: &VarBuilder) -> Result<Block> {
    let width = config.n_embd;
    let packed = Projection::Packed(Linear::new(width, 3 * width, vb.pp("attn.c_attn"))?);
    let output = Linear::new(width, width, vb.pp("attn.c_proj"))?;
    let attention = Heads::of(width, config.n_head).around(packed, output);
    let activation = activation("activation_function", &config.activation_function)?;
    let inner = config.n_inner.unwrap_or(4 * width);
    Ok(Block {
        attention: Attention { causal: true, dropout: config.attn_pdrop, ..attention },
        attention_norm: layer_norm(width, config.layer_norm_epsilon, vb.pp("ln_1"))?,
        to_source: None,
        mlp: FeedForward::plain(width, inner, ["mlp.c_fc", "mlp.c_proj"], activation, vb)?,
        mlp_norm: layer_norm(width, config.layer_norm_epsilon, vb.pp("ln_2"))?,
        norm_first: true,
        dropouts: [config.resid_pdrop; 2],
        site: Site::new(vb.path(), "Gpt2Block"),
    })
}

impl Pretrained for Gpt2 {
    type Config = Gpt2Config;

    fn new(config: Gpt2Config, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let base = vb.pp("transformer");
        let head =
            (!config.tie_word_embeddings).then(|| Linear::no_bias(config.n_embd, config.vocab_size, vb.pp("lm_head")));
        Ok(Self {
            tokens: Embedding::new(config.vocab_size, config.n_embd, base.pp("wte"))?,
            positions: Embedding::new(config.n_positions, config.n_embd, base.pp("wpe"))?,
            blocks: (0..config.n_layer).map(|i| block(&config, &base.pp("h").pp(i))).collect::<Result<_>>()?,
            norm: layer_norm(config.n_embd, config.layer_norm_epsilon, base.pp("ln_f"))?,
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

    fn architecture(&self) -> String {
        "GPT2LMHeadModel".to_string()
    }

    fn layout(&self) -> Layout {
        Layout(weights::Layout {
            prefix: "transformer",
            transposed: &["*.attn.c_attn.weight", "*.attn.c_proj.weight", "*.mlp.c_fc.weight", "*.mlp.c_proj.weight"],
            unused: &["*.attn.bias", "*.attn.masked_bias", "lm_head.weight"],
            ..weights::Layout::default()
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
    fn logits(&self, ids: &Tensor, mask: Option<&Tensor>, cache: Option<&mut Cache>, pass: &Pass) -> Result<Tensor> {
        let offset = cache.as_ref().map_or(0, |cache| cache.len());
        let (batch, len) = expect_ids(ids, offset, Some(self.config.n_positions))?;
        expect_mask(mask, batch, offset + len)?;
        let places = positions(mask, offset, batch, len, ids.device())?;
        let xs = add(&self.tokens.forward(ids, pass)?, &self.positions.forward(&places, pass)?)?;
        let xs = drop_out(xs, self.config.embd_pdrop, pass)?;
        let context = Context { padding: mask, bias: None, pass };
        let xs = self.norm.forward(&blocks::run(&self.blocks, xs, cache, &context, None)?, pass)?;
        match &self.head {
            Some(head) => head.forward(&xs, pass),
            None => tied_logits(&xs, &self.tokens, None, pass),
        }
    }
}
