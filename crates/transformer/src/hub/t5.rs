//! T5.

use candle_core::{Device, Tensor};
use glassbox_core::{Embedding, Error, Layer, Linear, ParamStore, Pass, Result, Site, VarBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blocks::{
    Block, FeedForward, Heads, Norm, Source, expect_ids, expect_mask, expect_source, linear, rms_norm, tied_logits,
};
use super::config::{ModelConfig, TokenIds, activation, expect_counts, expect_dropouts};
use super::{Layout, Pretrained, blocks, drop_out, weights};
use crate::EncoderDecoder;
use crate::attention::{Attention, Cache, Context};

/// The fields of a T5's `config.json`, which `transformers` documents; all have its default values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct T5Config {
    pub model_type: String,
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_kv: usize,
    pub d_ff: usize,
    pub num_layers: usize,
    /// `num_layers` where not given.
    pub num_decoder_layers: Option<usize>,
    pub num_heads: usize,
    pub relative_attention_num_buckets: usize,
    pub relative_attention_max_distance: usize,
    pub dropout_rate: f64,
    pub layer_norm_epsilon: f64,
    /// An activation such as `relu`, or `gated-gelu`.
    pub feed_forward_proj: String,
    /// False of T5 1.1 and Flan-T5, whose head has weights of its own.
    pub tie_word_embeddings: bool,
    /// Whether the head takes its input divided by √d_model; `tie_word_embeddings` where not given.
    pub scale_decoder_outputs: Option<bool>,
    pub decoder_start_token_id: Option<u32>,
    pub pad_token_id: Option<u32>,
    pub eos_token_id: Option<TokenIds>,
}

impl Default for T5Config {
    fn default() -> Self {
        Self {
            model_type: "t5".to_string(),
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".to_string(),
            tie_word_embeddings: true,
            scale_decoder_outputs: None,
            decoder_start_token_id: None,
            pad_token_id: Some(0),
            eos_token_id: Some(TokenIds::One(1)),
        }
    }
}

impl T5Config {
    fn scales(&self) -> bool {
        self.scale_decoder_outputs.unwrap_or(self.tie_word_embeddings)
    }

    fn heads(&self) -> Heads {
        Heads { width: self.d_model, num_heads: self.num_heads, num_kv_heads: self.num_heads, head_dim: self.d_kv }
    }

    /// Whether the feed-forward layers have a factor, and their activation.
    fn feed_forward(&self) -> Result<(bool, glassbox_core::Activation)> {
        let (gated, name) = match self.feed_forward_proj.strip_prefix("gated-") {
            // The name means this approximation here.
            Some("gelu") => (true, "gelu_new"),
            Some(name) => (true, name),
            None => (false, self.feed_forward_proj.as_str()),
        };
        activation("feed_forward_proj", name).map(|activation| (gated, activation))
    }
}

impl ModelConfig for T5Config {
    fn defaults(model_type: &str) -> Option<Self> {
        (model_type == "t5").then(Self::default)
    }

    fn model_type(&self) -> &str {
        &self.model_type
    }

    fn fixed() -> Vec<(&'static str, Vec<Value>)> {
        vec![
            ("is_encoder_decoder", vec![json!(true)]),
            ("is_decoder", vec![json!(false)]),
            ("add_cross_attention", vec![json!(false)]),
        ]
    }

    fn irrelevant() -> &'static [&'static str] {
        // The first two are what `feed_forward_proj` says in other words.
        &["dense_act_fn", "is_gated_act", "n_positions", "bos_token_id", "classifier_dropout", "id2label"]
    }

    fn check(&self) -> Result<()> {
        expect_counts(&[
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_layers", self.num_layers),
            ("num_decoder_layers", self.num_decoder_layers.unwrap_or(1)),
            ("num_heads", self.num_heads),
        ])?;
        expect_dropouts(&[("dropout_rate", self.dropout_rate)])?;
        let (buckets, distance) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        if buckets < 4 || !buckets.is_multiple_of(2) || distance <= buckets {
            let expected = "an even number from 4 to below relative_attention_max_distance";
            return Err(Error::invalid("relative_attention_num_buckets", expected, buckets));
        }
        self.feed_forward().map(drop)
    }
}

/// T5 (Raffel et al. 2019, arXiv 1910.10683) and T5 1.1: `transformers`' `T5ForConditionalGeneration`.
pub struct T5 {
    config: T5Config,
    tokens: Embedding,
    encoder: Stack,
    decoder: Stack,
    /// Where it is not that of the embedding.
    head: Option<Linear>,
    site: Site,
    params: ParamStore,
}

/// The encoder or the decoder.
struct Stack {
    /// (buckets of distances, heads), added to every block's scores.
    distances: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
    is_decoder: bool,
}

fn block(config: &T5Config, is_decoder: bool, vb: &VarBuilder) -> Result<Block> {
    let (width, inner) = (config.d_model, config.d_ff);
    let attention = |name: &str, causal: bool| -> Result<Attention> {
        let plain = config.heads().attention(["q", "k", "v", "o"], [false; 2], &vb.pp(name))?;
        // The weights were drawn so small that nothing needs to be divided.
        Ok(Attention { scale: Some(1.0), dropout: config.dropout_rate, causal, ..plain })
    };
    let norm = |layer: usize| rms_norm(width, config.layer_norm_epsilon, vb.pp("layer").pp(layer).pp("layer_norm"));
    let to_source = is_decoder.then(|| Ok::<_, Error>((attention("layer.1.EncDecAttention", false)?, norm(1)?)));
    let last = if is_decoder { 2 } else { 1 };
    let at = vb.pp("layer").pp(last).pp("DenseReluDense");
    let (gated, activation) = config.feed_forward()?;
    let layer = |name: &str| Linear::no_bias(width, inner, at.pp(name));
    Ok(Block {
        attention: attention("layer.0.SelfAttention", is_decoder)?,
        attention_norm: norm(0)?,
        to_source: to_source.transpose()?,
        mlp: FeedForward {
            inner: layer(if gated { "wi_0" } else { "wi" })?,
            factor: gated.then(|| layer("wi_1")).transpose()?,
            outer: linear(inner, width, false, at.pp("wo"))?,
            activation,
            dropout: config.dropout_rate,
        },
        mlp_norm: norm(last)?,
        norm_first: true,
        dropouts: [config.dropout_rate; 2],
        site: Site::new(vb.path(), "T5Block"),
    })
}

impl Stack {
    fn new(config: &T5Config, num_layers: usize, is_decoder: bool, vb: &VarBuilder) -> Result<Self> {
        let blocks = vb.pp("block");
        let distances = blocks.pp("0.layer.0.SelfAttention.relative_attention_bias");
        Ok(Self {
            distances: Embedding::new(config.relative_attention_num_buckets, config.num_heads, distances)?,
            blocks: (0..num_layers).map(|i| block(config, is_decoder, &blocks.pp(i))).collect::<Result<_>>()?,
            norm: rms_norm(config.d_model, config.layer_norm_epsilon, vb.pp("final_layer_norm"))?,
            is_decoder,
        })
    }

    fn forward(
        &self,
        config: &T5Config,
        xs: Tensor,
        mask: Option<&Tensor>,
        cache: Option<&mut Cache>,
        source: Option<&Source>,
        pass: &Pass,
    ) -> Result<Tensor> {
        let offset = cache.as_ref().map_or(0, |cache| cache.len());
        let ids = bucket_ids(config, self.is_decoder, xs.dim(1)?, offset, xs.device())?;
        let bias = self.distances.forward(&ids, pass)?.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?;
        let context = Context { padding: mask, bias: Some(&bias), pass };
        let xs = drop_out(xs, config.dropout_rate, pass)?;
        let xs = blocks::run(&self.blocks, xs, cache, &context, source)?;
        drop_out(self.norm.forward(&xs, pass)?, config.dropout_rate, pass)
    }
}

/// The bucket of the distance of each key from each of the `len` queries that come after `offset` tokens.
fn bucket_ids(config: &T5Config, is_decoder: bool, len: usize, offset: usize, device: &Device) -> Result<Tensor> {
    let keys = offset + len;
    let of = |query: usize| (0..keys).map(move |key| bucket(config, is_decoder, query, key));
    let ids: Vec<u32> = (offset..keys).flat_map(of).collect();
    Ok(Tensor::from_vec(ids, (len, keys), device)?)
}

/// Near keys have a bucket each, far ones share ever larger ones; an encoder has half of the buckets for keys that come
/// after the query.
fn bucket(config: &T5Config, is_decoder: bool, query: usize, key: usize) -> u32 {
    let (buckets, first, distance) = match (is_decoder, key > query) {
        (true, _) => (config.relative_attention_num_buckets, 0, query.saturating_sub(key)),
        (false, later) => {
            let half = config.relative_attention_num_buckets / 2;
            (half, if later { half } else { 0 }, query.abs_diff(key))
        }
    };
    let exact = buckets / 2;
    if distance < exact {
        return (first + distance) as u32;
    }
    // In f32, as the reference computes it: the last bit can decide.
    let log = (distance as f32 / exact as f32).ln();
    let range = (config.relative_attention_max_distance as f64 / exact as f64).ln() as f32;
    let far = exact + (log / range * (buckets - exact) as f32) as usize;
    (first + far.min(buckets - 1)) as u32
}

impl Pretrained for T5 {
    type Config = T5Config;

    fn new(config: T5Config, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        // Files of T5 1.1 that newer versions of `transformers` wrote say so by the scale alone.
        let own_head = !config.tie_word_embeddings || !config.scales();
        let head = own_head.then(|| Linear::no_bias(config.d_model, config.vocab_size, vb.pp("lm_head")));
        let decoder_layers = config.num_decoder_layers.unwrap_or(config.num_layers);
        Ok(Self {
            tokens: Embedding::new(config.vocab_size, config.d_model, vb.pp("shared"))?,
            encoder: Stack::new(&config, config.num_layers, false, &vb.pp("encoder"))?,
            decoder: Stack::new(&config, decoder_layers, true, &vb.pp("decoder"))?,
            head: head.transpose()?,
            site: Site::new(vb.path(), "T5"),
            params: vb.store().clone(),
            config,
        })
    }

    fn config(&self) -> &T5Config {
        &self.config
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn architecture(&self) -> String {
        "T5ForConditionalGeneration".to_string()
    }

    fn layout(&self) -> Layout {
        Layout(weights::Layout {
            unused: &[
                "encoder.embed_tokens.weight",
                "decoder.embed_tokens.weight",
                "lm_head.weight",
                "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
            ],
            shared: &[("lm_head.weight", "shared.weight")],
            ..weights::Layout::default()
        })
    }
}

impl EncoderDecoder for T5 {
    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_target_positions(&self) -> Option<usize> {
        None
    }

    fn start_token_id(&self) -> u32 {
        self.config.decoder_start_token_id.or(self.config.pad_token_id).unwrap_or(0)
    }

    fn eos_token_ids(&self) -> &[u32] {
        self.config.eos_token_id.as_ref().map_or(&[], TokenIds::ids)
    }

    fn new_cache(&self) -> Cache {
        Cache::new(self.decoder.blocks.len())
    }

    fn encode(&self, ids: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || {
            let (batch, len) = expect_ids(ids, 0, None)?;
            expect_mask(mask, batch, len)?;
            self.encoder.forward(&self.config, self.tokens.forward(ids, pass)?, mask, None, None, pass)
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
            let (batch, _) = expect_ids(ids, 0, None)?;
            expect_source(source, source_mask, batch, self.config.d_model)?;
            let source = Source { states: source, mask: source_mask };
            let xs = self.tokens.forward(ids, pass)?;
            let xs = self.decoder.forward(&self.config, xs, None, cache, Some(&source), pass)?;
            let scale = if self.config.scales() { 1.0 / (self.config.d_model as f64).sqrt() } else { 1.0 };
            let xs = (xs * scale)?;
            match &self.head {
                Some(head) => head.forward(&xs, pass),
                None => tied_logits(&xs, &self.tokens, None, pass),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_keys_have_buckets_of_their_own() {
        let config = T5Config::default();
        let decoder = |query, key| bucket(&config, true, query, key);
        assert_eq!([decoder(9, 9), decoder(9, 8), decoder(20, 5), decoder(20, 4)], [0, 1, 15, 16]);
        assert_eq!([decoder(0, 5), decoder(127, 0), decoder(4000, 0)], [0, 31, 31]);
        let encoder = |query, key| bucket(&config, false, query, key);
        assert_eq!([encoder(9, 9), encoder(9, 8), encoder(8, 9), encoder(0, 4000)], [0, 1, 17, 31]);
    }
}
