//! Llama, Mistral, Qwen2 and Qwen3.

use candle_core::Tensor;
use glassbox_core::{Embedding, Error, Layer, Linear, ParamStore, Pass, Result, RmsNorm, Site, VarBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blocks::{Block, FeedForward, Heads, Norm, expect_ids, expect_mask, linear, rms_norm, tied_logits};
use super::config::{ModelConfig, TokenIds, activation, expect_counts, expect_dropouts};
use super::{Layout, Pretrained, blocks, weights};
use crate::CausalLm;
use crate::attention::{Attention, Cache, Context, Rope, RopeParameters};

/// The fields of the `config.json` of a Llama, Mistral, Qwen2 or Qwen3, which `transformers` documents; the default is
/// Llama's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LlamaConfig {
    pub model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// As many as `num_attention_heads` where not given.
    pub num_key_value_heads: Option<usize>,
    /// hidden_size / num_attention_heads where not given.
    pub head_dim: Option<usize>,
    pub hidden_act: String,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    /// In older files `rope_scaling`.
    pub rope_parameters: Option<RopeParameters>,
    /// Qwen2 always has biases of queries, keys and values.
    pub attention_bias: bool,
    pub mlp_bias: bool,
    pub attention_dropout: f64,
    /// How many tokens a token sees, itself included; of Qwen only with `use_sliding_window`.
    pub sliding_window: Option<usize>,
    pub use_sliding_window: bool,
    /// Qwen's layers from this one on have the window, where `layer_types` does not say which have.
    pub max_window_layers: usize,
    /// Of each layer `full_attention` or `sliding_attention`.
    pub layer_types: Option<Vec<String>>,
    pub tie_word_embeddings: bool,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<TokenIds>,
    pub pad_token_id: Option<u32>,
}

impl Default for LlamaConfig {
    fn default() -> Self {
        Self {
            model_type: "llama".to_string(),
            vocab_size: 32000,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: "silu".to_string(),
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_parameters: None,
            attention_bias: false,
            mlp_bias: false,
            attention_dropout: 0.0,
            sliding_window: None,
            use_sliding_window: false,
            max_window_layers: 28,
            layer_types: None,
            tie_word_embeddings: false,
            bos_token_id: Some(1),
            eos_token_id: Some(TokenIds::One(2)),
            pad_token_id: None,
        }
    }
}

impl LlamaConfig {
    fn is_qwen(&self) -> bool {
        self.model_type.starts_with("qwen")
    }

    fn heads(&self) -> Heads {
        Heads {
            width: self.hidden_size,
            num_heads: self.num_attention_heads,
            num_kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1)),
        }
    }

    /// The window of layer `i`, where it has one.
    fn window(&self, i: usize) -> Option<usize> {
        let is_sliding = match &self.layer_types {
            Some(types) => types.get(i).is_some_and(|kind| kind == "sliding_attention"),
            None => !self.is_qwen() || i >= self.max_window_layers,
        };
        self.sliding_window.filter(|_| is_sliding && (!self.is_qwen() || self.use_sliding_window))
    }

    fn check_windows(&self) -> Result<()> {
        if self.sliding_window == Some(0) || self.model_type == "llama" && self.sliding_window.is_some() {
            let expected = "none for a llama, 1 or more for others";
            return Err(Error::invalid("sliding_window", expected, format!("{:?}", self.sliding_window)));
        }
        let Some(types) = &self.layer_types else { return Ok(()) };
        let known = |kind: &String| ["full_attention", "sliding_attention"].contains(&kind.as_str());
        if types.len() == self.num_hidden_layers && types.iter().all(known) {
            return Ok(());
        }
        let expected = format!("full_attention or sliding_attention for each of {} layers", self.num_hidden_layers);
        Err(Error::invalid("layer_types", expected, format!("{types:?}")))
    }
}

impl ModelConfig for LlamaConfig {
    fn defaults(model_type: &str) -> Option<Self> {
        let llama = Self { model_type: model_type.to_string(), ..Self::default() };
        let qwen = Self {
            vocab_size: 151_936,
            intermediate_size: 22016,
            num_key_value_heads: Some(32),
            max_position_embeddings: 32768,
            sliding_window: Some(4096),
            bos_token_id: None,
            eos_token_id: None,
            ..llama.clone()
        };
        match model_type {
            "llama" => Some(llama),
            "mistral" => Some(Self {
                intermediate_size: 14336,
                num_key_value_heads: Some(8),
                max_position_embeddings: 4096 * 32,
                sliding_window: Some(4096),
                ..llama
            }),
            "qwen2" => Some(qwen),
            "qwen3" => Some(Self { head_dim: Some(128), ..qwen }),
            _ => None,
        }
    }

    fn model_type(&self) -> &str {
        &self.model_type
    }

    fn fixed() -> Vec<(&'static str, Vec<Value>)> {
        vec![
            ("is_decoder", vec![json!(false), json!(true)]),
            ("is_encoder_decoder", vec![json!(false)]),
            ("add_cross_attention", vec![json!(false)]),
        ]
    }

    fn irrelevant() -> &'static [&'static str] {
        &["pretraining_tp", "id2label"]
    }

    fn aliases(_: &str) -> &'static [(&'static str, &'static str)] {
        &[("rope_scaling", "rope_parameters")]
    }

    /// The base of the rotary positions stands beside what scales them.
    fn settled(mut self) -> Self {
        if let Some(parameters) = &mut self.rope_parameters {
            self.rope_theta = parameters.rope_theta.take().unwrap_or(self.rope_theta);
            let plain = matches!(parameters.rope_type.as_deref(), None | Some("default"));
            self.rope_parameters = self.rope_parameters.filter(|_| !plain);
        }
        self
    }

    fn check(&self) -> Result<()> {
        let heads = self.heads();
        expect_counts(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", heads.num_heads),
            ("num_key_value_heads", heads.num_kv_heads),
            ("head_dim", heads.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        if !heads.num_heads.is_multiple_of(heads.num_kv_heads) {
            let expected = format!("a divisor of num_attention_heads {}", heads.num_heads);
            return Err(Error::invalid("num_key_value_heads", expected, heads.num_kv_heads));
        }
        expect_dropouts(&[("attention_dropout", self.attention_dropout)])?;
        self.check_windows()?;
        activation("hidden_act", &self.hidden_act)?;
        self.rope().map(drop)
    }
}

impl LlamaConfig {
    fn rope(&self) -> Result<Rope> {
        let parameters = self.rope_parameters.clone().unwrap_or_default();
        Rope::new(self.rope_theta, &parameters, self.heads().head_dim)
    }
}

/// Llama (Touvron et al. 2023, arXiv 2302.13971) and its like with a language-model head: `transformers`'
/// `LlamaForCausalLM`, `MistralForCausalLM`, `Qwen2ForCausalLM` and `Qwen3ForCausalLM`.
pub struct Llama {
    config: LlamaConfig,
    tokens: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
    /// Where it is not that of the embedding.
    head: Option<Linear>,
    site: Site,
    params: ParamStore,
}

fn block(config: &LlamaConfig, i: usize, vb: &VarBuilder) -> Result<Block> {
    let (width, inner, bias) = (config.hidden_size, config.intermediate_size, config.mlp_bias);
    let (heads, at) = (config.heads(), vb.pp("self_attn"));
    let biases = if config.model_type == "qwen2" { [true, false] } else { [config.attention_bias; 2] };
    let attention = heads.attention(["q_proj", "k_proj", "v_proj", "o_proj"], biases, &at)?;
    let head_norm = |name: &str| RmsNorm::with_eps(heads.head_dim, config.rms_norm_eps, at.pp(name));
    let norms = (config.model_type == "qwen3").then(|| Ok::<_, Error>([head_norm("q_norm")?, head_norm("k_norm")?]));
    let norm = |name: &str| rms_norm(width, config.rms_norm_eps, vb.pp(name));
    Ok(Block {
        attention: Attention {
            dropout: config.attention_dropout,
            rope: Some(config.rope()?),
            norms: norms.transpose()?,
            causal: true,
            window: config.window(i),
            ..attention
        },
        attention_norm: norm("input_layernorm")?,
        to_source: None,
        mlp: FeedForward {
            inner: linear(width, inner, bias, vb.pp("mlp.gate_proj"))?,
            factor: Some(linear(width, inner, bias, vb.pp("mlp.up_proj"))?),
            outer: linear(inner, width, bias, vb.pp("mlp.down_proj"))?,
            activation: activation("hidden_act", &config.hidden_act)?,
            dropout: 0.0,
        },
        mlp_norm: norm("post_attention_layernorm")?,
        norm_first: true,
        dropouts: [0.0; 2],
        site: Site::new(vb.path(), "LlamaBlock"),
    })
}

impl Pretrained for Llama {
    type Config = LlamaConfig;

    fn new(config: LlamaConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let (base, width) = (vb.pp("model"), config.hidden_size);
        let own_head = !config.tie_word_embeddings;
        let head = own_head.then(|| Linear::no_bias(width, config.vocab_size, vb.pp("lm_head"))).transpose()?;
        let layers = base.pp("layers");
        Ok(Self {
            tokens: Embedding::new(config.vocab_size, width, base.pp("embed_tokens"))?,
            blocks: (0..config.num_hidden_layers).map(|i| block(&config, i, &layers.pp(i))).collect::<Result<_>>()?,
            norm: rms_norm(width, config.rms_norm_eps, base.pp("norm"))?,
            head,
            site: Site::new(vb.path(), "Llama"),
            params: vb.store().clone(),
            config,
        })
    }

    fn config(&self) -> &LlamaConfig {
        &self.config
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn architecture(&self) -> String {
        match self.config.model_type.as_str() {
            "mistral" => "MistralForCausalLM",
            "qwen2" => "Qwen2ForCausalLM",
            "qwen3" => "Qwen3ForCausalLM",
            _ => "LlamaForCausalLM",
        }
        .to_string()
    }

    fn layout(&self) -> Layout {
        Layout(weights::Layout {
            prefix: "model",
            unused: &["*.rotary_emb.inv_freq", "lm_head.weight"],
            ..weights::Layout::default()
        })
    }
}

impl CausalLm for Llama {
    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_positions(&self) -> Option<usize> {
        Some(self.config.max_position_embeddings)
    }

    fn eos_token_ids(&self) -> &[u32] {
        self.config.eos_token_id.as_ref().map_or(&[], TokenIds::ids)
    }

    fn new_cache(&self) -> Cache {
        Cache::new(self.blocks.len())
    }

    fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, cache: Option<&mut Cache>, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || {
            let offset = cache.as_ref().map_or(0, |cache| cache.len());
            let (batch, len) = expect_ids(ids, offset, self.max_positions())?;
            expect_mask(mask, batch, offset + len)?;
            let context = Context { padding: mask, bias: None, pass };
            let xs = blocks::run(&self.blocks, self.tokens.forward(ids, pass)?, cache, &context, None)?;
            let xs = self.norm.forward(&xs, pass)?;
            match &self.head {
                Some(head) => head.forward(&xs, pass),
                None => tied_logits(&xs, &self.tokens, None, pass),
            }
        })
    }
}
