//! The recurrent network in a model, of the kind that its configuration names.

use candle_core::Tensor;
use glassbox_core::{Pass, Result, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::{Gru, GruConfig, Lstm, LstmConfig, Recurrent, RecurrentSizes, RecurrentState, Rnn, RnnConfig};

/// A kind of recurrent network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecurrentKind {
    /// An [`Lstm`], whose forget gates start open.
    #[default]
    Lstm,
    /// A [`Gru`]: three quarters of an LSTM's parameters and time.
    Gru,
}

impl RecurrentKind {
    /// A network of this kind with the options that both kinds have.
    pub(crate) fn config(self, num_layers: usize, bidirectional: bool, dropout: f64) -> RecurrentConfig {
        match self {
            Self::Lstm => {
                let forget = LstmConfig { unit_forget_bias: true, ..Default::default() };
                RecurrentConfig::Lstm(LstmConfig { num_layers, bidirectional, dropout, ..forget })
            }
            Self::Gru => RecurrentConfig::Gru(GruConfig { num_layers, bidirectional, dropout, ..Default::default() }),
        }
    }
}

/// A kind of recurrent network, with its options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RecurrentConfig {
    /// An [`Rnn`].
    Rnn(RnnConfig),
    /// A [`Gru`].
    Gru(GruConfig),
    /// An [`Lstm`].
    Lstm(LstmConfig),
}

#[derive(Debug)]
pub(crate) enum Network {
    Rnn(Rnn),
    Gru(Gru),
    Lstm(Lstm),
}

impl Network {
    pub fn new(input_size: usize, hidden_size: usize, config: RecurrentConfig, vb: VarBuilder) -> Result<Self> {
        match config {
            RecurrentConfig::Rnn(config) => Rnn::new(input_size, hidden_size, config, vb).map(Self::Rnn),
            RecurrentConfig::Gru(config) => Gru::new(input_size, hidden_size, config, vb).map(Self::Gru),
            RecurrentConfig::Lstm(config) => Lstm::new(input_size, hidden_size, config, vb).map(Self::Lstm),
        }
    }

    pub fn sizes(&self) -> RecurrentSizes {
        match self {
            Self::Rnn(network) => network.sizes(),
            Self::Gru(network) => network.sizes(),
            Self::Lstm(network) => network.sizes(),
        }
    }

    /// As [`Recurrent::forward_with`].
    pub fn run(
        &self,
        xs: &Tensor,
        state: Option<&NetworkState>,
        lengths: Option<&[usize]>,
        pass: &Pass,
    ) -> Result<(Tensor, NetworkState)> {
        match self {
            Self::Rnn(network) => run(network, xs, state, lengths, pass),
            Self::Gru(network) => run(network, xs, state, lengths, pass),
            Self::Lstm(network) => run(network, xs, state, lengths, pass),
        }
    }
}

fn run<R: Recurrent>(
    network: &R,
    xs: &Tensor,
    state: Option<&NetworkState>,
    lengths: Option<&[usize]>,
    pass: &Pass,
) -> Result<(Tensor, NetworkState)> {
    let state = state.map(convert::<R::State>).transpose()?;
    let (sequence, last) = network.forward_with(xs, state.as_ref(), lengths, pass)?;
    Ok((sequence, convert(&last)?))
}

/// The same state as another type.
fn convert<S: RecurrentState>(state: &impl RecurrentState) -> Result<S> {
    let (hidden, cell) = state.parts();
    S::from_parts(hidden.clone(), cell.cloned())
}

/// The state of a network whose kind its configuration names: what a [`LanguageModel`](crate::LanguageModel) remembers of
/// the tokens that it has read.
#[derive(Clone, Debug)]
pub struct NetworkState {
    /// The hidden states, (num_layers · num_directions, batch, hidden_size).
    pub hidden: Tensor,
    /// An LSTM's cell states, (num_layers · num_directions, batch, hidden_size).
    pub cell: Option<Tensor>,
}

impl RecurrentState for NetworkState {
    fn parts(&self) -> (&Tensor, Option<&Tensor>) {
        (&self.hidden, self.cell.as_ref())
    }

    fn from_parts(hidden: Tensor, cell: Option<Tensor>) -> Result<Self> {
        Ok(Self { hidden, cell })
    }

    fn map<E>(&self, mut f: impl FnMut(&Tensor) -> std::result::Result<Tensor, E>) -> std::result::Result<Self, E> {
        Ok(Self { hidden: f(&self.hidden)?, cell: self.cell.as_ref().map(f).transpose()? })
    }
}
