//! An encoder–decoder to train from nothing.

use candle_core::Tensor;
use glassbox_core::dataset::Padded;
use glassbox_core::train::Seq2seqModel;
use glassbox_core::{Embedding, Error, Init, Layer, Linear, ParamStore, Pass, Result, Site, VarBuilder};
use glassbox_kernels::graph::add;
use serde::{Deserialize, Serialize};

use crate::attention::{Cache, Context};
use crate::config::{Role, TransformerConfig, Weights, linear};
use crate::hub::blocks::{Block, Norm, Source, expect_ids, expect_mask, expect_source, positions, run, tied_logits};
use crate::hub::drop_out;
use crate::model::EncoderDecoder;
use crate::pointer::padding_mask;
use crate::positions::sinusoids;

/// How a [`Seq2seqTransformer`] is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seq2seqTransformerConfig {
    /// Number of the source's token ids.
    pub source_vocab_size: usize,
    /// Number of the target's token ids.
    pub target_vocab_size: usize,
    /// Layers of the encoder, at least 1. 3.
    pub encoder_layers: usize,
    /// Layers of the decoder, at least 1. 3.
    pub decoder_layers: usize,
    /// Whether both sides, which then have one vocabulary, have one embedding. false.
    pub share_embeddings: bool,
    /// Whether the output layer has the target embedding's weights. true.
    pub tie_weights: bool,
    /// The id that fills targets. 0.
    pub pad: u32,
    /// The id that targets start with. 2.
    pub bos: u32,
    /// The id that targets end with. 3.
    pub eos: u32,
    /// Its layers.
    pub layer: TransformerConfig,
}

impl Seq2seqTransformerConfig {
    /// Three layers on each side, for corpora of some ten thousand sentences.
    pub fn new(source_vocab_size: usize, target_vocab_size: usize) -> Self {
        Self {
            source_vocab_size,
            target_vocab_size,
            encoder_layers: 3,
            decoder_layers: 3,
            share_embeddings: false,
            tie_weights: true,
            pad: 0,
            bos: 2,
            eos: 3,
            layer: TransformerConfig::default(),
        }
    }

    fn check(&self) -> Result<()> {
        for (what, count) in [("encoder_layers", self.encoder_layers), ("decoder_layers", self.decoder_layers)] {
            if count == 0 {
                return Err(Error::invalid(what, "at least 1", 0));
            }
        }
        let (source, target) = (self.source_vocab_size, self.target_vocab_size);
        if source == 0 || self.share_embeddings && source != target {
            let expected =
                if source == 0 { "at least 1".to_string() } else { format!("{target}, as embeddings are shared") };
            return Err(Error::invalid("source_vocab_size", expected, source));
        }
        for (what, id) in [("pad", self.pad), ("bos", self.bos), ("eos", self.eos)] {
            if id as usize >= target {
                return Err(Error::invalid(what, format!("below target_vocab_size {target}"), id));
            }
        }
        if self.pad == self.bos || self.pad == self.eos || self.bos == self.eos {
            let got = format!("{}, {} and {}", self.pad, self.bos, self.eos);
            return Err(Error::invalid("pad, bos and eos", "three different ids", got));
        }
        self.layer.check()
    }
}

/// An encoder that reads a source and a decoder that writes a target (Vaswani et al. 2017, arXiv 1706.03762): translation,
/// summaries, anything from one sequence of tokens to another. It trains with
/// [`Seq2seqStep`](glassbox_core::train::Seq2seqStep), and writes with [`generate_from`](crate::generate::generate_from).
///
/// Tokens' vectors are scaled by √d_model, and sines of their positions added. Parameters: `source_tokens.weight` and
/// `target_tokens.weight`, or `tokens.weight` where they are shared; layers under `encoder` and `decoder` as a
/// [`Gpt`](crate::Gpt)'s, in the decoder with `cross_attn` and its norm; `encoder_norm`, `decoder_norm`, and `head` where it is
/// not tied. Linear layers start as Glorot and Bengio (2010) draw them, uniformly; embeddings normal with deviation
/// 1 / √d_model.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_transformer::{EncoderDecoder, Seq2seqTransformer, Seq2seqTransformerConfig};
/// let config = Seq2seqTransformerConfig::new(20, 30);
/// let model = Seq2seqTransformer::new(config, ParamStore::new(Seed(1), &Device::Cpu).root())?;
/// let pass = Pass::eval();
/// let source = model.encode(&Tensor::new(&[[4u32, 5, 6, 3]], &Device::Cpu)?, None, &pass)?;
/// let logits = model.decode(&Tensor::new(&[[2u32, 7]], &Device::Cpu)?, &source, None, None, &pass)?;
/// assert_eq!(logits.dims(), [1, 2, 30]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct Seq2seqTransformer {
    config: Seq2seqTransformerConfig,
    source_tokens: Embedding,
    target_tokens: Embedding,
    encoder: Vec<Block>,
    encoder_norm: Option<Norm>,
    decoder: Vec<Block>,
    decoder_norm: Option<Norm>,
    head: Option<Linear>,
    site: Site,
    params: ParamStore,
}

impl Seq2seqTransformer {
    /// A model of this configuration.
    ///
    /// # Errors
    /// Sizes or ids that do not fit together; parameters of the same name and another shape exist.
    pub fn new(config: Seq2seqTransformerConfig, vb: VarBuilder) -> Result<Self> {
        config.check().map_err(|e| e.at(vb.path()))?;
        let (layer, d_model) = (&config.layer, config.layer.d_model);
        let xavier = Init::XavierUniform { gain: 1.0 };
        let weights = Weights { inner: xavier, outer: xavier };
        let [source, target] = if config.share_embeddings { ["tokens"; 2] } else { ["source_tokens", "target_tokens"] };
        let embedding = |name: &str, count: usize| -> Result<Embedding> {
            let init = Init::Normal { mean: 0.0, std: 1.0 / (d_model as f64).sqrt() };
            vb.pp(name).param("weight", (count, d_model), init)?;
            Embedding::new(count, d_model, vb.pp(name))
        };
        let head = || linear(d_model, config.target_vocab_size, true, xavier, vb.pp("head"));
        Ok(Self {
            source_tokens: embedding(source, config.source_vocab_size)?,
            target_tokens: embedding(target, config.target_vocab_size)?,
            encoder: layer.layers(config.encoder_layers, Role::Encoder, None, weights, &vb.pp("encoder"))?,
            encoder_norm: layer.last_norm(vb.pp("encoder_norm"))?,
            decoder: layer.layers(config.decoder_layers, Role::Decoder, None, weights, &vb.pp("decoder"))?,
            decoder_norm: layer.last_norm(vb.pp("decoder_norm"))?,
            head: (!config.tie_weights).then(head).transpose()?,
            site: Site::new(vb.path(), "Seq2seqTransformer"),
            params: vb.store().clone(),
            config,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &Seq2seqTransformerConfig {
        &self.config
    }

    /// Its parameters.
    pub fn params(&self) -> &ParamStore {
        &self.params
    }

    fn embed(
        &self,
        tokens: &Embedding,
        ids: &Tensor,
        offset: usize,
        mask: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<Tensor> {
        let (batch, len) = expect_ids(ids, offset, None)?;
        expect_mask(mask, batch, offset + len)?;
        let d_model = self.config.layer.d_model;
        let xs = (tokens.forward(ids, pass)? * (d_model as f64).sqrt())?;
        let places = sinusoids(&positions(mask, offset, batch, len, ids.device())?, d_model, xs.dtype())?;
        drop_out(add(&xs, &places)?, self.config.layer.dropout, pass)
    }
}

fn normalised(norm: Option<&Norm>, xs: Tensor, pass: &Pass) -> Result<Tensor> {
    norm.map_or(Ok(xs.clone()), |norm| norm.forward(&xs, pass))
}

impl EncoderDecoder for Seq2seqTransformer {
    fn vocab_size(&self) -> usize {
        self.config.target_vocab_size
    }

    fn max_target_positions(&self) -> Option<usize> {
        None
    }

    fn start_token_id(&self) -> u32 {
        self.config.bos
    }

    fn eos_token_ids(&self) -> &[u32] {
        std::slice::from_ref(&self.config.eos)
    }

    fn new_cache(&self) -> Cache {
        Cache::new(self.decoder.len())
    }

    fn encode(&self, ids: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || {
            let xs = self.embed(&self.source_tokens, ids, 0, mask, pass)?;
            let context = Context { padding: mask, bias: None, pass };
            normalised(self.encoder_norm.as_ref(), run(&self.encoder, xs, None, &context, None)?, pass)
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
            let xs = self.embed(&self.target_tokens, ids, offset, None, pass)?;
            expect_source(source, source_mask, ids.dim(0)?, self.config.layer.d_model)?;
            let context = Context { padding: None, bias: None, pass };
            let source = Source { states: source, mask: source_mask };
            let xs = run(&self.decoder, xs, cache, &context, Some(&source))?;
            let xs = normalised(self.decoder_norm.as_ref(), xs, pass)?;
            match &self.head {
                Some(head) => head.forward(&xs, pass),
                None => tied_logits(&xs, &self.target_tokens, None, pass),
            }
        })
    }
}

impl Seq2seqModel for Seq2seqTransformer {
    fn logits(&self, source: &Padded, inputs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let len = source.values.dims().get(1).copied().unwrap_or(0);
        let is_padded = source.lengths.iter().any(|&length| length < len);
        let mask = is_padded.then(|| padding_mask(source)).transpose()?;
        let states = self.encode(&source.values, mask.as_ref(), pass)?;
        self.decode(inputs, &states, mask.as_ref(), None, pass)
    }

    fn pad(&self) -> u32 {
        self.config.pad
    }
}
