//! The recurrent network in a model, of the kind that its configuration names.

use candle_core::Tensor;
use glassbox_core::{Pass, Result, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::{Gru, GruConfig, Lstm, LstmConfig, Recurrent, RecurrentState};

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

/// How a [`Network`] is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkConfig {
    pub kind: RecurrentKind,
    pub input_size: usize,
    pub hidden_size: usize,
    pub num_layers: usize,
    pub bidirectional: bool,
    pub dropout: f64,
}

#[derive(Debug)]
pub(crate) enum Network {
    Lstm(Lstm),
    Gru(Gru),
}

impl Network {
    pub fn new(config: NetworkConfig, vb: VarBuilder) -> Result<Self> {
        let NetworkConfig { kind, input_size, hidden_size, num_layers, bidirectional, dropout } = config;
        match kind {
            RecurrentKind::Lstm => {
                let config =
                    LstmConfig { num_layers, bidirectional, dropout, unit_forget_bias: true, ..Default::default() };
                Lstm::new(input_size, hidden_size, config, vb).map(Self::Lstm)
            }
            RecurrentKind::Gru => {
                let config = GruConfig { num_layers, bidirectional, dropout, ..Default::default() };
                Gru::new(input_size, hidden_size, config, vb).map(Self::Gru)
            }
        }
    }

    /// As [`Recurrent::forward_with`], with any type of state that has a place for an LSTM's cell state.
    pub fn run<S: RecurrentState>(
        &self,
        xs: &Tensor,
        state: Option<&S>,
        lengths: Option<&[usize]>,
        pass: &Pass,
    ) -> Result<(Tensor, S)> {
        match self {
            Self::Lstm(lstm) => run(lstm, xs, state, lengths, pass),
            Self::Gru(gru) => run(gru, xs, state, lengths, pass),
        }
    }
}

fn run<R: Recurrent, S: RecurrentState>(
    network: &R,
    xs: &Tensor,
    state: Option<&S>,
    lengths: Option<&[usize]>,
    pass: &Pass,
) -> Result<(Tensor, S)> {
    let state = state.map(convert::<R::State>).transpose()?;
    let (sequence, last) = network.forward_with(xs, state.as_ref(), lengths, pass)?;
    Ok((sequence, convert(&last)?))
}

/// The same state as another type.
fn convert<S: RecurrentState>(state: &impl RecurrentState) -> Result<S> {
    let (hidden, cell) = state.parts();
    S::from_parts(hidden.clone(), cell.cloned())
}
