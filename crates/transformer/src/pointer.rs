//! Summaries whose words come from a vocabulary or from the text itself.

use candle_core::{DType, Device, Tensor};
use glassbox_core::dataset::Padded;
use glassbox_core::train::Supervised;
use glassbox_core::{
    Activation, Embedding, Error, Layer, Linear, ParamStore, Pass, Result, Site, TensorExt, VarBuilder, concat,
};
use glassbox_kernels::graph::add;
use glassbox_kernels::index::scatter_add;
use serde::{Deserialize, Serialize};

use crate::attention::{Attention, Cache, Context};
use crate::hub::blocks::{Block, FeedForward, Heads, Norm, Source, expect_ids, expect_mask, layer_norm, run};
use crate::model::EncoderDecoder;

/// The sizes of a [`PointerSeq2Seq`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointerConfig {
    /// Words of the vocabulary, at least 1: ids below it are embedded. There is no default: 0 is refused.
    pub vocab_size: usize,
    /// Words of one text that the vocabulary lacks and that can be copied: ids from `vocab_size` on. Default 64.
    pub num_copied: usize,
    /// The id that stands for words of no vocabulary in the embedding. Default 1.
    pub unknown_token_id: u32,
    /// The id before a summary's first word. Default 2.
    pub start_token_id: u32,
    /// The id that ends a summary. Default 3.
    pub eos_token_id: u32,
    /// Numbers that describe a word; a multiple of `num_heads`. Default 128.
    pub hidden_size: usize,
    /// Heads of attention. Default 4.
    pub num_heads: usize,
    /// Blocks of the encoder. Default 2.
    pub num_encoder_layers: usize,
    /// Blocks of the decoder. Default 2.
    pub num_decoder_layers: usize,
    /// Numbers between the two layers of each block. Default 512.
    pub intermediate_size: usize,
    /// Words of a text that can be read, and of a summary that can be written. Default 512.
    pub max_positions: usize,
    /// Probability of dropout, in [0, 1). Default 0.1.
    pub dropout: f64,
}

impl Default for PointerConfig {
    fn default() -> Self {
        Self {
            vocab_size: 0,
            num_copied: 64,
            unknown_token_id: 1,
            start_token_id: 2,
            eos_token_id: 3,
            hidden_size: 128,
            num_heads: 4,
            num_encoder_layers: 2,
            num_decoder_layers: 2,
            intermediate_size: 512,
            max_positions: 512,
            dropout: 0.1,
        }
    }
}

impl PointerConfig {
    fn check(&self) -> Result<()> {
        let counts = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_heads", self.num_heads),
            ("num_encoder_layers", self.num_encoder_layers),
            ("num_decoder_layers", self.num_decoder_layers),
            ("intermediate_size", self.intermediate_size),
            ("max_positions", self.max_positions),
        ];
        if let Some((what, value)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::invalid(what, "at least 1", value));
        }
        if !self.hidden_size.is_multiple_of(self.num_heads) {
            let expected = format!("a multiple of num_heads {}", self.num_heads);
            return Err(Error::invalid("hidden_size", expected, self.hidden_size));
        }
        let special = [self.unknown_token_id, self.start_token_id, self.eos_token_id];
        match special.into_iter().find(|&id| id as usize >= self.vocab_size) {
            Some(id) => Err(Error::invalid("special id", format!("below vocab_size {}", self.vocab_size), id)),
            None => Ok(()),
        }
    }
}

/// An encoder–decoder that writes words of its vocabulary, or copies words of the text that it reads: names survive.
///
/// It is the pointer-generator (See et al. 2017, arXiv 1704.04368) on a transformer (Vaswani et al. 2017, arXiv 1706.03762;
/// blocks normalised first, learned positions). With the decoder's state s, the vector x of the word before, and for each
/// word i of the text its encoded vector h_i:
///
/// - a = softmax over i of (W_q s) · (W_k h_i) / √hidden_size says where the copy comes from, h* = Σ a_i h_i;
/// - p = sigmoid(w · \[h*, s, x\] + b) is how probable a word of the vocabulary is at all;
/// - P(w) = p · softmax(E s)_w + (1 − p) · the sum of the a_i of the places i where w stands,
///
/// where E is the embedding, shared by encoder, decoder and output. Words that the vocabulary lacks have ids of their own in
/// each text, from `vocab_size` on, and are embedded as `unknown_token_id`; see [`copied_ids`].
///
/// The logits are ln P(w): train with [`CrossEntropy`](glassbox_core::loss::CrossEntropy), whose softmax changes nothing.
pub struct PointerSeq2Seq {
    config: PointerConfig,
    words: Embedding,
    positions: Embedding,
    encoder: Vec<Block>,
    encoder_norm: Norm,
    decoder: Vec<Block>,
    decoder_norm: Norm,
    head: PointerHead,
    site: Site,
    params: ParamStore,
}

impl PointerSeq2Seq {
    /// The model that `config` describes.
    ///
    /// # Errors
    /// Sizes that do not fit together; parameters of the same name and another shape exist.
    pub fn new(config: PointerConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let width = config.hidden_size;
        let block = |of_decoder: bool, vb: VarBuilder| block(&config, of_decoder, &vb);
        let encoder = (0..config.num_encoder_layers).map(|i| block(false, vb.pp("encoder").pp(i)));
        let decoder = (0..config.num_decoder_layers).map(|i| block(true, vb.pp("decoder").pp(i)));
        let words = Embedding::new(config.vocab_size, width, vb.pp("words"))?;
        let positions = Embedding::new(config.max_positions, width, vb.pp("positions"))?;
        // Of the size that the residual branches are, and so that the first logits are small.
        for param in [words.weight(), positions.weight()] {
            param.set(&(param.value() * (1.0 / (width as f64).sqrt()))?)?;
        }
        Ok(Self {
            words,
            positions,
            encoder: encoder.collect::<Result<_>>()?,
            encoder_norm: layer_norm(width, 1e-5, vb.pp("encoder_norm"))?,
            decoder: decoder.collect::<Result<_>>()?,
            decoder_norm: layer_norm(width, 1e-5, vb.pp("decoder_norm"))?,
            head: PointerHead::new(width, config.num_copied, vb.pp("pointer"))?,
            site: Site::new(vb.path(), "PointerSeq2Seq"),
            params: vb.store().clone(),
            config,
        })
    }

    /// What it was made of.
    pub fn config(&self) -> &PointerConfig {
        &self.config
    }

    /// Its parameters.
    pub fn params(&self) -> &ParamStore {
        &self.params
    }

    /// The logits of the word after each of `target`.
    ///
    /// # Shapes
    /// `source` (batch, source_len), `source_mask` likewise, 0 where there is padding; `target` (batch, len). Returns
    /// (batch, len, vocab_size + num_copied).
    ///
    /// # Errors
    /// Ids past the vocabulary and the copied words; more words than there are positions; shapes that disagree.
    pub fn forward(
        &self,
        source: &Tensor,
        source_mask: Option<&Tensor>,
        target: &Tensor,
        pass: &Pass,
    ) -> Result<Tensor> {
        let encoded = self.encode(source, source_mask, pass)?;
        self.decode(target, &encoded, source_mask, None, pass)
    }

    /// The vectors of `ids` at the positions from `offset` on.
    fn embed(&self, ids: &Tensor, offset: usize, pass: &Pass) -> Result<Tensor> {
        let (batch, len) = expect_ids(ids, offset, Some(self.config.max_positions))?;
        let limit = (self.config.vocab_size + self.config.num_copied) as u32;
        let known = |id: u32| match id as usize >= self.config.vocab_size {
            true if id >= limit => Err(Error::invalid("word id", format!("below {limit}"), id)),
            true => Ok(self.config.unknown_token_id),
            false => Ok(id),
        };
        let ids = ids.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
        let ids = ids.into_iter().map(known).collect::<Result<Vec<_>>>()?;
        let words = self.words.forward(&Tensor::from_vec(ids, (batch, len), &Device::Cpu)?, pass)?;
        let places = Tensor::arange(offset as u32, (offset + len) as u32, &Device::Cpu)?;
        // Their lengths about 1 each, before they are scaled to that of a residual branch.
        let sum = add(&words, &self.positions.forward(&places, pass)?)?;
        Ok((sum * (self.config.hidden_size as f64).sqrt())?)
    }
}

fn block(config: &PointerConfig, of_decoder: bool, vb: &VarBuilder) -> Result<Block> {
    let width = config.hidden_size;
    let attention = |name: &str, causal: bool| -> Result<Attention> {
        let heads = Heads::of(width, config.num_heads);
        let attention = heads.attention(["query", "key", "value", "output"], [true; 2], &vb.pp(name))?;
        Ok(Attention { dropout: config.dropout, causal, ..attention })
    };
    let norm = |name: &str| layer_norm(width, 1e-5, vb.pp(name));
    let to_source = || Ok::<_, Error>((attention("to_source", false)?, norm("source_norm")?));
    let names = ["inner", "outer"];
    Ok(Block {
        attention: attention("attention", of_decoder)?,
        attention_norm: norm("attention_norm")?,
        to_source: of_decoder.then(to_source).transpose()?,
        mlp: FeedForward::plain(width, config.intermediate_size, names, Activation::Gelu, &vb.pp("mlp"))?,
        mlp_norm: norm("mlp_norm")?,
        norm_first: true,
        dropouts: [config.dropout; 2],
        site: Site::new(vb.path(), "PointerBlock"),
    })
}

impl EncoderDecoder for PointerSeq2Seq {
    /// With the words that can be copied.
    fn vocab_size(&self) -> usize {
        self.config.vocab_size + self.config.num_copied
    }

    fn max_target_positions(&self) -> Option<usize> {
        Some(self.config.max_positions)
    }

    fn start_token_id(&self) -> u32 {
        self.config.start_token_id
    }

    fn eos_token_ids(&self) -> &[u32] {
        std::slice::from_ref(&self.config.eos_token_id)
    }

    fn new_cache(&self) -> Cache {
        Cache::new(self.decoder.len())
    }

    /// The width is hidden_size + 1: last the id of each word, which is what is copied.
    fn encode(&self, ids: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.site.run(ids, pass, || {
            let (batch, len) = expect_ids(ids, 0, Some(self.config.max_positions))?;
            expect_mask(mask, batch, len)?;
            let context = Context { padding: mask, bias: None, pass };
            let xs = run(&self.encoder, self.embed(ids, 0, pass)?, None, &context, None)?;
            let xs = self.encoder_norm.forward(&xs, pass)?;
            let ids = ids.to_device(xs.device())?.to_dtype(xs.dtype())?.unsqueeze(2)?;
            concat(&[xs, ids], 2)
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
        self.site.run(source, pass, || {
            let width = self.config.hidden_size;
            source.expect_rank(3, "(batch, source_len, hidden_size + 1), as encoded")?;
            source.expect_last_dim(width + 1, "hidden_size + 1, as encoded")?;
            let states = source.narrow(2, 0, width)?.contiguous()?;
            let words = source.narrow(2, width, 1)?.squeeze(2)?.detach().to_dtype(DType::U32)?;
            let inputs = self.embed(ids, cache.as_ref().map_or(0, |cache| cache.len()), pass)?;
            let context = Context { padding: None, bias: None, pass };
            let read = Source { states: &states, mask: source_mask };
            let xs = run(&self.decoder, inputs.clone(), cache, &context, Some(&read))?;
            let xs = self.decoder_norm.forward(&xs, pass)?;
            let embedding = self.words.weight().get(pass);
            let copied = Copied { states: &states, words: &words, mask: source_mask };
            self.head.forward(&xs, &inputs, &embedding, &copied, pass)
        })
    }
}

/// Documents and summaries, each with what it starts and ends with; every word of a summary is learned from those before.
impl Supervised<(Padded, Padded)> for PointerSeq2Seq {
    fn answer(&self, (source, target): &(Padded, Padded), pass: &Pass) -> Result<(Tensor, Tensor)> {
        let len = match *target.values.dims() {
            [_, len] if len > 1 => len - 1,
            _ => {
                let got = format!("{:?}", target.values.dims());
                return Err(Error::invalid("target", "ids (batch, length), a start and at least one more", got));
            }
        };
        let mask = padding_mask(source)?;
        let part = |start| target.values.narrow(1, start, len)?.contiguous();
        let logits = self.forward(&source.values, Some(&mask), &part(0)?, pass)?;
        Ok((logits, part(1)?))
    }
}

/// Which of a batch's tokens are not padding, as attention takes it.
///
/// # Shapes
/// `tokens` (batch, len). Returns (batch, len), u32: 1 up to each sequence's length, then 0.
///
/// # Errors
/// Values of another rank, or not as many as there are lengths.
///
/// ```
/// use glassbox_core::dataset::{Collate, Sequence};
/// use glassbox_transformer::padding_mask;
/// let batch = Sequence::collate(vec![Sequence::from_ids(&[5, 6, 7])?, Sequence::from_ids(&[8])?])?;
/// assert_eq!(padding_mask(&batch)?.to_vec2::<u32>()?, [[1, 1, 1], [1, 0, 0]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn padding_mask(tokens: &Padded) -> Result<Tensor> {
    let shape = tokens.values.dims2()?;
    let row = |&length: &usize| (0..shape.1).map(move |place| u32::from(place < length));
    let mask: Vec<u32> = tokens.lengths.iter().flat_map(row).collect();
    Ok(Tensor::from_vec(mask, shape, tokens.values.device())?)
}

/// What can be copied.
struct Copied<'a> {
    /// (batch, source_len, width).
    states: &'a Tensor,
    /// (batch, source_len).
    words: &'a Tensor,
    mask: Option<&'a Tensor>,
}

/// The mixture of writing and copying.
struct PointerHead {
    query: Linear,
    key: Linear,
    gate: Linear,
    num_copied: usize,
}

impl PointerHead {
    fn new(width: usize, num_copied: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            query: Linear::new(width, width, vb.pp("query"))?,
            key: Linear::no_bias(width, width, vb.pp("key"))?,
            gate: Linear::new(3 * width, 1, vb.pp("gate"))?,
            num_copied,
        })
    }

    /// The logarithms of the probabilities of all words after `xs` (batch, len, width), where `inputs` came before.
    fn forward(
        &self,
        xs: &Tensor,
        inputs: &Tensor,
        embedding: &Tensor,
        copied: &Copied,
        pass: &Pass,
    ) -> Result<Tensor> {
        let (batch, len, width) = xs.dims3()?;
        let source_len = copied.states.dim(1)?;
        let keys = self.key.forward(copied.states, pass)?.transpose(1, 2)?.contiguous()?;
        let scores = (self.query.forward(xs, pass)?.matmul(&keys)? * (1.0 / (width as f64).sqrt()))?;
        let scores = match copied.mask {
            Some(mask) => {
                let hidden = (mask.to_device(xs.device())?.ne(0u32)?.to_dtype(xs.dtype())? - 1.0)? * 1e30;
                scores.broadcast_add(&hidden?.unsqueeze(1)?)?
            }
            None => scores,
        };
        let places = scores.softmax(2)?;
        let context = places.matmul(copied.states)?;
        let gate = self.gate.forward(&concat(&[&context, xs, inputs], 2)?, pass)?;
        // 1 / (1 + exp(−x)), and 1 less that, without a difference that cancels.
        let both = concat(&[gate.clone(), gate.zeros_like()?], 2)?.softmax(2)?;
        let (writes, copies) = (both.narrow(2, 0, 1)?, both.narrow(2, 1, 1)?);
        let written =
            glassbox_kernels::linear::linear(xs, embedding, None, None)?.softmax(2)?.broadcast_mul(&writes)?;
        let none = Tensor::zeros((batch, len, self.num_copied), xs.dtype(), xs.device())?;
        let ids = copied.words.unsqueeze(1)?.broadcast_as((batch, len, source_len))?.contiguous()?;
        let all = scatter_add(&concat(&[written, none], 2)?, &ids, &places.broadcast_mul(&copies)?, 2)?;
        // A word that is neither known nor in the text has no logarithm, and must have a gradient.
        Ok((all + 1e-10)?.log()?)
    }
}

/// The ids of a text's words where those that the vocabulary lacks have ids from `vocab_size` on, in the order in which they
/// first come; and those words. From `num_copied` of them on they are `unknown`.
///
/// ```
/// use glassbox_transformer::copied_ids;
/// // A vocabulary of 3 words, the first unknown.
/// let known = |word: &str| ["", "the", "met"].iter().position(|other| *other == word).map(|id| id as u32);
/// let (ids, copied) = copied_ids(["Ada", "met", "the", "Bob", "Ada"], known, 3, 2, 0);
/// assert_eq!((ids, copied), (vec![3, 2, 1, 4, 3], vec!["Ada", "Bob"]));
/// ```
pub fn copied_ids<'a>(
    words: impl IntoIterator<Item = &'a str>,
    known: impl Fn(&str) -> Option<u32>,
    vocab_size: usize,
    num_copied: usize,
    unknown: u32,
) -> (Vec<u32>, Vec<&'a str>) {
    let mut copied: Vec<&str> = vec![];
    let id = |word: &'a str| {
        if let Some(id) = known(word) {
            return id;
        }
        let place = copied.iter().position(|other| *other == word);
        let new = || {
            let place = (copied.len() < num_copied).then_some(copied.len())?;
            copied.push(word);
            Some(place)
        };
        place.or_else(new).map_or(unknown, |place| (vocab_size + place) as u32)
    };
    let ids = words.into_iter().map(id).collect();
    (ids, copied)
}

#[cfg(test)]
mod tests;
