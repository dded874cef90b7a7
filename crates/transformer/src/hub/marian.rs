//! Marian.

use candle_core::Tensor;
use glassbox_core::{Embedding, Error, Init, Layer, Linear, Param, ParamStore, Pass, Result, Site, VarBuilder};
use glassbox_kernels::graph::add;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blocks::{
    Block, FeedForward, Heads, Source, expect_ids, expect_mask, expect_source, layer_norm, positions, tied_logits,
};
use super::config::{ModelConfig, TokenIds, activation, expect_counts, expect_dropouts, expect_heads};
use super::{Layout, Pretrained, blocks, drop_out, weights};
use crate::EncoderDecoder;
use crate::attention::{Attention, Cache, Context};
use crate::positions::sinusoids;

/// Of every normalisation.
const EPS: f64 = 1e-5;

/// The fields of a Marian's `config.json`, which `transformers` documents; all have its default values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MarianConfig {
    pub model_type: String,
    pub vocab_size: usize,
    /// `vocab_size` where not given.
    pub decoder_vocab_size: Option<usize>,
    pub max_position_embeddings: usize,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub encoder_ffn_dim: usize,
    pub encoder_attention_heads: usize,
    pub decoder_layers: usize,
    pub decoder_ffn_dim: usize,
    pub decoder_attention_heads: usize,
    pub activation_function: String,
    pub dropout: f64,
    pub attention_dropout: f64,
    pub activation_dropout: f64,
    pub scale_embedding: bool,
    pub share_encoder_decoder_embeddings: bool,
    pub tie_word_embeddings: bool,
    pub decoder_start_token_id: u32,
    pub pad_token_id: Option<u32>,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<TokenIds>,
}

impl Default for MarianConfig {
    fn default() -> Self {
        Self {
            model_type: "marian".to_string(),
            vocab_size: 58101,
            decoder_vocab_size: None,
            max_position_embeddings: 1024,
            d_model: 1024,
            encoder_layers: 12,
            encoder_ffn_dim: 4096,
            encoder_attention_heads: 16,
            decoder_layers: 12,
            decoder_ffn_dim: 4096,
            decoder_attention_heads: 16,
            activation_function: "gelu".to_string(),
            dropout: 0.1,
            attention_dropout: 0.0,
            activation_dropout: 0.0,
            scale_embedding: false,
            share_encoder_decoder_embeddings: true,
            tie_word_embeddings: true,
            decoder_start_token_id: 58100,
            pad_token_id: Some(58100),
            bos_token_id: None,
            eos_token_id: Some(TokenIds::One(0)),
        }
    }
}

impl MarianConfig {
    fn target_vocab_size(&self) -> usize {
        self.decoder_vocab_size.filter(|_| !self.share_encoder_decoder_embeddings).unwrap_or(self.vocab_size)
    }
}

impl ModelConfig for MarianConfig {
    fn defaults(model_type: &str) -> Option<Self> {
        (model_type == "marian").then(Self::default)
    }

    fn model_type(&self) -> &str {
        &self.model_type
    }

    fn fixed() -> Vec<(&'static str, Vec<Value>)> {
        vec![
            ("is_encoder_decoder", vec![json!(true)]),
            ("is_decoder", vec![json!(false)]),
            ("add_cross_attention", vec![json!(false)]),
            ("normalize_before", vec![json!(false)]),
            ("normalize_embedding", vec![json!(false)]),
            ("add_final_layer_norm", vec![json!(false)]),
            ("static_position_embeddings", vec![json!(true)]),
            ("encoder_layerdrop", vec![json!(0.0), json!(0)]),
            ("decoder_layerdrop", vec![json!(0.0), json!(0)]),
        ]
    }

    fn irrelevant() -> &'static [&'static str] {
        &[
            "_num_labels",
            "add_bias_logits",
            "classif_dropout",
            "classifier_dropout",
            "extra_pos_embeddings",
            "force_bos_token_to_be_generated",
            "id2label",
            "init_std",
            "num_hidden_layers",
        ]
    }

    fn check(&self) -> Result<()> {
        expect_counts(&[
            ("vocab_size", self.vocab_size),
            ("decoder_vocab_size", self.target_vocab_size()),
            ("max_position_embeddings", self.max_position_embeddings),
            ("encoder_layers", self.encoder_layers),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_layers", self.decoder_layers),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
        ])?;
        expect_heads("encoder_attention_heads", self.encoder_attention_heads, "d_model", self.d_model)?;
        expect_heads("decoder_attention_heads", self.decoder_attention_heads, "d_model", self.d_model)?;
        expect_dropouts(&[
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("activation_dropout", self.activation_dropout),
        ])?;
        if self.decoder_start_token_id as usize >= self.target_vocab_size() {
            let expected = format!("an id below {}", self.target_vocab_size());
            return Err(Error::invalid("decoder_start_token_id", expected, self.decoder_start_token_id));
        }
        activation("activation_function", &self.activation_function).map(drop)
    }
}

/// Marian's translators (Junczys-Dowmunt et al. 2018, arXiv 1804.00344), as the OPUS-MT models are: `transformers`'
/// `MarianMTModel`.
pub struct Marian {
    config: MarianConfig,
    source_tokens: Embedding,
    target_tokens: Embedding,
    encoder: Vec<Block>,
    decoder: Vec<Block>,
    /// Where it is not that of the target's embedding.
    head: Option<Linear>,
    /// (1, target's vocabulary), added to the logits.
    logits_bias: Param,
    site: Site,
    params: ParamStore,
}

fn block(config: &MarianConfig, is_decoder: bool, vb: &VarBuilder) -> Result<Block> {
    let (num_heads, inner) = match is_decoder {
        true => (config.decoder_attention_heads, config.decoder_ffn_dim),
        false => (config.encoder_attention_heads, config.encoder_ffn_dim),
    };
    let width = config.d_model;
    let attention = |name: &str, causal: bool| -> Result<(Attention, _)> {
        let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
        let plain = Heads::of(width, num_heads).attention(names, [true; 2], &vb.pp(name))?;
        let norm = layer_norm(width, EPS, vb.pp(format!("{name}_layer_norm")))?;
        Ok((Attention { dropout: config.attention_dropout, causal, ..plain }, norm))
    };
    let (own, own_norm) = attention("self_attn", is_decoder)?;
    let activation = activation("activation_function", &config.activation_function)?;
    let mlp = FeedForward::plain(width, inner, ["fc1", "fc2"], activation, vb)?;
    Ok(Block {
        attention: own,
        attention_norm: own_norm,
        to_source: is_decoder.then(|| attention("encoder_attn", false)).transpose()?,
        mlp: FeedForward { dropout: config.activation_dropout, ..mlp },
        mlp_norm: layer_norm(width, EPS, vb.pp("final_layer_norm"))?,
        norm_first: false,
        dropouts: [config.dropout; 2],
        site: Site::new(vb.path(), "MarianBlock"),
    })
}

impl Pretrained for Marian {
    type Config = MarianConfig;

    fn new(config: MarianConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let (base, width, target) = (vb.pp("model"), config.d_model, config.target_vocab_size());
        let [source_at, target_at] = match config.share_encoder_decoder_embeddings {
            true => ["shared"; 2],
            false => ["encoder.embed_tokens", "decoder.embed_tokens"],
        };
        let layers = |part: &str, count: usize| -> Result<Vec<Block>> {
            let at = base.pp(part).pp("layers");
            (0..count).map(|i| block(&config, part == "decoder", &at.pp(i))).collect()
        };
        let own_head = !config.tie_word_embeddings;
        Ok(Self {
            source_tokens: Embedding::new(config.vocab_size, width, base.pp(source_at))?,
            target_tokens: Embedding::new(target, width, base.pp(target_at))?,
            encoder: layers("encoder", config.encoder_layers)?,
            decoder: layers("decoder", config.decoder_layers)?,
            head: own_head.then(|| Linear::no_bias(width, target, vb.pp("lm_head"))).transpose()?,
            logits_bias: vb.buffer("final_logits_bias", (1, target), Init::Zeros)?,
            site: Site::new(vb.path(), "Marian"),
            params: vb.store().clone(),
            config,
        })
    }

    fn config(&self) -> &MarianConfig {
        &self.config
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn architecture(&self) -> String {
        "MarianMTModel".to_string()
    }

    fn layout(&self) -> Layout {
        Layout(weights::Layout {
            prefix: "model",
            unused: &[
                "model.encoder.embed_positions.weight",
                "model.decoder.embed_positions.weight",
                "model.encoder.embed_tokens.weight",
                "model.decoder.embed_tokens.weight",
                "lm_head.weight",
            ],
            ..weights::Layout::default()
        })
    }
}

impl Marian {
    fn embed(&self, tokens: &Embedding, ids: &Tensor, offset: usize, pass: &Pass) -> Result<Tensor> {
        let (batch, len) = expect_ids(ids, offset, Some(self.config.max_position_embeddings))?;
        let mut xs = tokens.forward(ids, pass)?;
        if self.config.scale_embedding {
            xs = (xs * (self.config.d_model as f64).sqrt())?;
        }
        let places = positions(None, offset, batch, len, ids.device())?;
        let places = sinusoids(&places, self.config.d_model, xs.dtype())?;
        drop_out(add(&xs, &places)?, self.config.dropout, pass)
    }
}

impl EncoderDecoder for Marian {
    fn vocab_size(&self) -> usize {
        self.config.target_vocab_size()
    }

    fn max_target_positions(&self) -> Option<usize> {
        Some(self.config.max_position_embeddings)
    }

    fn start_token_id(&self) -> u32 {
        self.config.decoder_start_token_id
    }

    fn eos_token_ids(&self) -> &[u32] {
        self.config.eos_token_id.as_ref().map_or(&[], TokenIds::ids)
    }

    fn new_cache(&self) -> Cache {
        Cache::new(self.decoder.len())
    }

    fn encode(&self, ids: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || {
            let xs = self.embed(&self.source_tokens, ids, 0, pass)?;
            expect_mask(mask, xs.dim(0)?, xs.dim(1)?)?;
            blocks::run(&self.encoder, xs, None, &Context { padding: mask, bias: None, pass }, None)
        })
    }

    fn decode(
        &self,
        ids: &Tensor,
        source: &Tensor,
        source_mask: Option<&Tensor>,
        cache: Option<&mut Cache>,
        pass: &Pass,
    ) -> Result<Tensor> {
        self.site.run(ids, pass, || {
            let offset = cache.as_ref().map_or(0, |cache| cache.len());
            let xs = self.embed(&self.target_tokens, ids, offset, pass)?;
            expect_source(source, source_mask, xs.dim(0)?, self.config.d_model)?;
            let (context, source) =
                (Context { padding: None, bias: None, pass }, Source { states: source, mask: source_mask });
            let xs = blocks::run(&self.decoder, xs, cache, &context, Some(&source))?;
            match &self.head {
                Some(head) => Ok(head.forward(&xs, pass)?.broadcast_add(&self.logits_bias.get(pass))?),
                None => tied_logits(&xs, &self.target_tokens, Some(&self.logits_bias), pass),
            }
        })
    }
}
