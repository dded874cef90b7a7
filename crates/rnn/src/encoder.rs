//! What reads sequences for the models that classify them.

use candle_core::Tensor;
use glassbox_core::{Dropout, Embedding, Error, Layer, Linear, Pass, Result, VarBuilder, concat};

use crate::network::Network;
use crate::{GruConfig, RecurrentConfig};

/// What the steps of a sequence are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceInput {
    /// So many features: sequences are (batch, seq_len, features).
    Features(usize),
    /// Ids, each with a learned vector: sequences are (batch, seq_len), u32 or i64.
    Ids {
        /// Ids are below this number.
        num_embeddings: usize,
        /// Size of each id's vector.
        embedding_dim: usize,
    },
}

/// How a [`SequenceClassifier`](crate::SequenceClassifier) or a [`SequenceTagger`](crate::SequenceTagger) reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceEncoderConfig {
    /// Of the recurrent network's states, in each direction. Default 128.
    pub hidden_size: usize,
    /// The recurrent network. Default: a GRU of one layer in both directions.
    pub recurrent: RecurrentConfig,
    /// Probability with which elements of the ids' vectors and of what the classes are computed from are dropped in
    /// training, in [0, 1). Default 0. The recurrent network has a dropout of its own.
    pub dropout: f64,
}

impl Default for SequenceEncoderConfig {
    fn default() -> Self {
        let gru = GruConfig { bidirectional: true, ..Default::default() };
        Self { hidden_size: 128, recurrent: RecurrentConfig::Gru(gru), dropout: 0.0 }
    }
}

/// An embedding, where there are ids, and a recurrent network.
#[derive(Debug)]
pub(crate) struct SequenceEncoder {
    embedding: Option<Embedding>,
    recurrent: Network,
    dropout: Dropout,
}

/// What was read.
pub(crate) struct Encoded {
    /// The outputs of all steps, 0 past a sequence's end: (batch, seq_len, output_size).
    pub sequence: Tensor,
    /// The top layer's states after the last step, forward and backward: (batch, output_size).
    pub last: Tensor,
}

impl SequenceEncoder {
    /// Parameters: `embedding.weight`, and those of the network under `rnn`.
    pub fn new(input: SequenceInput, config: &SequenceEncoderConfig, vb: &VarBuilder) -> Result<Self> {
        let (embedding, size) = match input {
            SequenceInput::Features(size) => (None, size),
            SequenceInput::Ids { num_embeddings, embedding_dim } => {
                (Some(Embedding::new(num_embeddings, embedding_dim, vb.pp("embedding"))?), embedding_dim)
            }
        };
        let recurrent = Network::new(size, config.hidden_size, config.recurrent, vb.pp("rnn"))?;
        Ok(Self { embedding, recurrent, dropout: Dropout::new(config.dropout)? })
    }

    /// Features of a step's output.
    pub fn output_size(&self) -> usize {
        self.recurrent.sizes().output_size()
    }

    pub fn read(&self, xs: &Tensor, lengths: Option<&[usize]>, pass: &Pass) -> Result<Encoded> {
        let xs = match &self.embedding {
            Some(embedding) => self.dropout.forward(&embedding.forward(xs, pass)?, pass)?,
            None => xs.clone(),
        };
        let (sequence, state) = self.recurrent.run(&xs, None, lengths, pass)?;
        let sizes = self.recurrent.sizes();
        let top = sizes.num_states() - sizes.num_directions..sizes.num_states();
        let states = top.map(|index| state.hidden.get(index)).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Encoded { sequence, last: concat(&states, 1)? })
    }

    /// The layer that gives the logits of `num_classes`; its parameters are under `classes`.
    pub fn classes(&self, num_classes: usize, vb: &VarBuilder) -> Result<Linear> {
        if num_classes == 0 {
            return Err(Error::invalid("num_classes", "at least 1", 0).at(vb.path()));
        }
        Linear::new(self.output_size(), num_classes, vb.pp("classes"))
    }

    /// Drops elements of what the classes are computed from.
    pub fn drop(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.dropout.forward(xs, pass)
    }
}
