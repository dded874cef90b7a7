//! How a [`Seq2seq`](super::Seq2seq) is built.

use glassbox_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{AttentionScore, RecurrentConfig, RecurrentKind};

/// How a [`Seq2seq`](super::Seq2seq) is built: [`new`](Self::new) gives a size for corpora of some ten thousand sentences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seq2seqConfig {
    /// Number of the source's token ids.
    pub source_vocab_size: usize,
    /// Number of the target's token ids.
    pub target_vocab_size: usize,
    /// Features of a token. 256.
    pub embedding_dim: usize,
    /// Features of a decoder's state, and of the encoder's states of both directions together, half from each: even. 512.
    pub hidden_size: usize,
    /// Layers of the encoder, at least 1. 1.
    pub encoder_layers: usize,
    /// Layers of the decoder, at least 1. 1.
    pub decoder_layers: usize,
    /// GRU or LSTM. GRU.
    pub kind: RecurrentKind,
    /// How well a state of the decoder suits one of the encoder. [`AttentionScore::General`]. The additive score takes
    /// (batch, steps, seq_len, attention_size) numbers in training.
    pub attention: AttentionScore,
    /// Probability, in [0, 1), with which features of the embeddings, between layers and before the output are dropped in
    /// training. 0.3.
    pub dropout: f64,
    /// Whether the target's embedding is also the weight of the output (Press and Wolf 2017, arXiv 1608.05859): fewer
    /// parameters, and better ones where data are few. True.
    pub tie_weights: bool,
    /// The id that fills up shorter sequences; as a target it counts for nothing. 0.
    pub pad: u32,
    /// The id that starts a target. 2.
    pub bos: u32,
    /// The id that ends a sequence. 3.
    pub eos: u32,
}

impl Seq2seqConfig {
    /// A model between vocabularies of these sizes, with the special ids of `glassbox_data::text::WordVocab`.
    pub fn new(source_vocab_size: usize, target_vocab_size: usize) -> Self {
        Self {
            source_vocab_size,
            target_vocab_size,
            embedding_dim: 256,
            hidden_size: 512,
            encoder_layers: 1,
            decoder_layers: 1,
            kind: RecurrentKind::Gru,
            attention: AttentionScore::General,
            dropout: 0.3,
            tie_weights: true,
            pad: 0,
            bos: 2,
            eos: 3,
        }
    }

    /// Other sizes and probabilities are checked by the parts that they are of.
    pub(super) fn check(&self) -> Result<()> {
        if self.embedding_dim == 0 {
            return Err(Error::invalid("embedding_dim", "at least 1", 0));
        }
        if self.hidden_size == 0 || !self.hidden_size.is_multiple_of(2) {
            return Err(Error::invalid("hidden_size", "an even number, half for each direction", self.hidden_size));
        }
        let special = [("pad", self.pad), ("bos", self.bos), ("eos", self.eos)];
        if let Some((name, id)) = special.iter().find(|(_, id)| *id as usize >= self.target_vocab_size) {
            return Err(Error::invalid(*name, format!("below target_vocab_size {}", self.target_vocab_size), id));
        }
        if self.pad == self.bos || self.pad == self.eos || self.bos == self.eos {
            let got = format!("{}, {} and {}", self.pad, self.bos, self.eos);
            return Err(Error::invalid("pad, bos and eos", "three different ids", got));
        }
        Ok(())
    }

    pub(super) fn encoder(&self) -> RecurrentConfig {
        self.kind.config(self.encoder_layers, true, self.dropout)
    }

    pub(super) fn decoder(&self) -> RecurrentConfig {
        self.kind.config(self.decoder_layers, false, self.dropout)
    }
}
