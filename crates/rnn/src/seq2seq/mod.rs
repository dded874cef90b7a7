//! Sequence to sequence: an encoder, a decoder that attends to it, its training and its search.

mod config;
mod search;
mod state;

use candle_core::Tensor;
use glassbox_core::dataset::Padded;
use glassbox_core::train::Seq2seqModel;
use glassbox_core::{Activation, concat};
use glassbox_core::{Dropout, Embedding, Error, Init, Layer, Linear, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::activation::activation;
use glassbox_kernels::linear::linear;

use crate::network::Network;
use crate::{EncoderAttention, NetworkState, RecurrentKind, RecurrentState};

pub use config::Seq2seqConfig;
pub use search::{Hypothesis, SearchConfig};
pub use state::Seq2seqState;

/// A recurrent encoder and decoder with attention (Luong et al. 2015, arXiv 1508.04025): translation, spelling,
/// pronunciation, anything from one sequence of tokens to another.
///
/// The encoder reads the source in both directions: e_1 … e_n. The decoder starts from tanh(W_b [its last states of both
/// directions]); at each step it takes in the token before, h_t = cell(embedding(y_(t−1)), h_(t−1)), and attends:
/// c_t = Σ_i a_ti e_i with a_t = softmax_i(score(h_t, e_i)). Then u_t = tanh(W_c [c_t; h_t]), and the next token's logits
/// are W_o u_t + b_o, where W_o is the target's embedding unless [`Seq2seqConfig::tie_weights`] is false.
///
/// The attention comes after the recurrence and is not fed into its next step (no "input feeding"), so in training the
/// decoder runs over all steps in one operation, as the encoder does. Against the paper, the encoder has both directions
/// and u_t the embedding's size.
///
/// Parameters: `source_embedding.weight`, `encoder.*` and `decoder.*` as a [`Gru`](crate::Gru)'s or
/// [`Lstm`](crate::Lstm)'s, `bridge.hidden` (weight, bias) and for LSTMs `bridge.cell`, `target_embedding.weight`,
/// `attention.*` as an [`EncoderAttention`]'s, `combine.weight` and `.bias`, `output.bias` and, untied, `output.weight`.
///
/// Sources are best ended by the token `eos`; targets start with `bos` and end with `eos`, as
/// `glassbox_data::text::ParallelCorpus` makes them. It is trained by a
/// [`Seq2seqStep`](glassbox_core::train::Seq2seqStep).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::dataset::Padded;
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_rnn::{SearchConfig, Seq2seq, Seq2seqConfig};
///
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let sizes = Seq2seqConfig { embedding_dim: 8, hidden_size: 16, ..Seq2seqConfig::new(20, 30) };
/// let model = Seq2seq::new(sizes, params.root())?;
/// let source = Padded { values: Tensor::new(&[[5u32, 6, 3], [7, 3, 0]], &Device::Cpu)?, lengths: vec![3, 2] };
/// let inputs = Tensor::new(&[[2u32, 9, 8, 4], [2, 10, 0, 0]], &Device::Cpu)?;
/// assert_eq!(model.forward(&source, &inputs, &Pass::eval())?.dims(), [2, 4, 30]);
///
/// let search = SearchConfig { beam_size: 3, max_length: 10, ..Default::default() };
/// let best = model.beam_search(&source, &search)?;
/// assert_eq!((best.len(), best[0].len()), (2, 3));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Seq2seq {
    config: Seq2seqConfig,
    source_embedding: Embedding,
    encoder: Network,
    bridge: Linear,
    cell_bridge: Option<Linear>,
    target_embedding: Embedding,
    decoder: Network,
    attention: EncoderAttention,
    combine: Linear,
    output_bias: Param,
    /// None where it is the target's embedding.
    output_weight: Option<Param>,
    dropout: Dropout,
    site: Site,
}

/// What a decoder says at one step or at many.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Of the next token: (batch, steps, target_vocab_size).
    pub logits: Tensor,
    /// How much each step attends to each token of the source: (batch, steps, seq_len).
    pub attention: Tensor,
}

impl Seq2seq {
    /// A model of this configuration.
    ///
    /// # Errors
    /// A configuration that does not fit together; parameters of the same name and another shape exist.
    pub fn new(config: Seq2seqConfig, vb: VarBuilder) -> Result<Self> {
        config.check().map_err(|e| e.at(vb.path()))?;
        let Seq2seqConfig { embedding_dim, hidden_size, .. } = config;
        let cell_bridge = || Linear::new(hidden_size, config.decoder_layers * hidden_size, vb.pp("bridge.cell"));
        let output_shape = (config.target_vocab_size, embedding_dim);
        let output_weight = || vb.pp("output").param("weight", output_shape, Init::UniformFan(embedding_dim));
        Ok(Self {
            source_embedding: embedding(config.source_vocab_size, embedding_dim, vb.pp("source_embedding"))?,
            encoder: Network::new(embedding_dim, hidden_size / 2, config.encoder(), vb.pp("encoder"))?,
            bridge: Linear::new(hidden_size, config.decoder_layers * hidden_size, vb.pp("bridge.hidden"))?,
            cell_bridge: (config.kind == RecurrentKind::Lstm).then(cell_bridge).transpose()?,
            target_embedding: embedding(config.target_vocab_size, embedding_dim, vb.pp("target_embedding"))?,
            decoder: Network::new(embedding_dim, hidden_size, config.decoder(), vb.pp("decoder"))?,
            attention: EncoderAttention::new(config.attention, hidden_size, hidden_size, vb.pp("attention"))?,
            combine: Linear::new(2 * hidden_size, embedding_dim, vb.pp("combine"))?,
            output_bias: vb.pp("output").param("bias", config.target_vocab_size, Init::Zeros)?,
            output_weight: (!config.tie_weights).then(output_weight).transpose()?,
            dropout: Dropout::new(config.dropout)?,
            site: Site::new(vb.path(), "Seq2seq"),
            config,
        })
    }

    /// How it was built.
    pub fn config(&self) -> &Seq2seqConfig {
        &self.config
    }

    /// The logits of each next token, the decoder being given the right ones before it (teacher forcing).
    ///
    /// # Shapes
    /// `source.values` (batch, seq_len) and `inputs` (batch, steps), ids of type u32 or i64, to
    /// (batch, steps, target_vocab_size).
    ///
    /// # Errors
    /// Shapes, lengths or ids that do not fit.
    pub fn forward(&self, source: &Padded, inputs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let state = self.encode(source, pass)?;
        Ok(self.decode(inputs, &state, pass)?.0.logits)
    }

    /// Reads the sources: what the decoder starts from.
    ///
    /// # Errors
    /// Shapes, lengths or ids that do not fit.
    pub fn encode(&self, source: &Padded, pass: &Pass) -> Result<Seq2seqState> {
        let ids = self.expect_ids(&source.values, "source")?;
        let embedded = self.dropout.forward(&self.source_embedding.forward(ids, pass)?, pass)?;
        let (states, last) = self.encoder.run(&embedded, None, Some(&source.lengths), pass)?;
        let memory = self.attention.remember(&states, Some(&source.lengths), pass)?;
        Ok(Seq2seqState { memory, network: self.bridged(&last, pass)? })
    }

    /// Goes on from `state` with the tokens `inputs`, (batch, steps), the first of them `bos` where it starts: what it says
    /// after each, and the state after all.
    ///
    /// # Errors
    /// Shapes or ids that do not fit.
    pub fn decode(&self, inputs: &Tensor, state: &Seq2seqState, pass: &Pass) -> Result<(Decoded, Seq2seqState)> {
        let ids = self.expect_ids(inputs, "inputs of the decoder")?;
        let embedded = self.dropout.forward(&self.target_embedding.forward(ids, pass)?, pass)?;
        let (hidden, network) = self.decoder.run(&embedded, Some(&state.network), None, pass)?;
        let attended = self.attention.attend(&hidden, &state.memory, pass)?;
        let both = concat(&[&attended.context, &hidden], 2)?;
        let combined = activation(&self.combine.forward(&both, pass)?, Activation::Tanh)?;
        let logits = self.output(&self.dropout.forward(&combined, pass)?, pass)?;
        let next = Seq2seqState { memory: state.memory.clone(), network };
        Ok((Decoded { logits, attention: attended.weights }, next))
    }

    fn output(&self, combined: &Tensor, pass: &Pass) -> Result<Tensor> {
        let weight = self.output_weight.as_ref().unwrap_or(self.target_embedding.weight()).get(pass);
        Ok(linear(combined, &weight, Some(&self.output_bias.get(pass)), None)?)
    }

    /// The decoder's first state, from the states of the encoder's last layer after the last token of each direction.
    fn bridged(&self, last: &NetworkState, pass: &Pass) -> Result<NetworkState> {
        let (hidden, cell) = last.parts();
        let hidden = self.start(&self.bridge, hidden, pass)?;
        let bridged = self.cell_bridge.as_ref().zip(cell);
        let cell = bridged.map(|(bridge, cell)| self.start(bridge, cell, pass)).transpose()?;
        NetworkState::from_parts(activation(&hidden, Activation::Tanh)?, cell)
    }

    /// (layers · 2, batch, hidden_size / 2) of the encoder to (layers, batch, hidden_size) of the decoder.
    fn start(&self, bridge: &Linear, last: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (states, batch, _) = last.dims3()?;
        let both = concat(&[&last.get(states - 2)?, &last.get(states - 1)?], 1)?;
        let shape = (batch, self.config.decoder_layers, self.config.hidden_size);
        Ok(bridge.forward(&both, pass)?.reshape(shape)?.transpose(0, 1)?.contiguous()?)
    }

    fn expect_ids<'a>(&self, ids: &'a Tensor, what: &str) -> Result<&'a Tensor> {
        match *ids.dims() {
            [batch, steps] if batch > 0 && steps > 0 => Ok(ids),
            _ => {
                let error = Error::invalid(what, "ids (batch, steps), at least one", format!("{:?}", ids.dims()));
                Err(error.at(self.site.path()))
            }
        }
    }
}

/// An embedding whose vectors have a length of about 1, so that they serve as the output's weight, too.
fn embedding(num_embeddings: usize, embedding_dim: usize, vb: VarBuilder) -> Result<Embedding> {
    let std = (embedding_dim as f64).powf(-0.5);
    vb.param("weight", (num_embeddings, embedding_dim), Init::Normal { mean: 0.0, std })?;
    Embedding::new(num_embeddings, embedding_dim, vb)
}

impl Seq2seqModel for Seq2seq {
    fn logits(&self, source: &Padded, inputs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.forward(source, inputs, pass)
    }

    fn pad(&self) -> u32 {
        self.config.pad
    }
}

#[cfg(test)]
mod tests;
