//! The recurrent network in a language model, of the kind that its configuration names.

use candle_core::Tensor;
use glassbox_core::{Pass, Result, VarBuilder};
use serde::{Deserialize, Serialize};

use super::{LanguageModelConfig, LanguageModelState};
use crate::{Gru, GruConfig, Lstm, LstmConfig, Recurrent};

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

#[derive(Debug)]
pub(super) enum Network {
    Lstm(Lstm),
    Gru(Gru),
}

impl Network {
    pub fn new(config: &LanguageModelConfig, vb: VarBuilder) -> Result<Self> {
        let LanguageModelConfig { embedding_dim, hidden_size, num_layers, dropout, .. } = *config;
        match config.kind {
            RecurrentKind::Lstm => {
                let config = LstmConfig { num_layers, dropout, unit_forget_bias: true, ..Default::default() };
                Lstm::new(embedding_dim, hidden_size, config, vb).map(Self::Lstm)
            }
            RecurrentKind::Gru => {
                let config = GruConfig { num_layers, dropout, ..Default::default() };
                Gru::new(embedding_dim, hidden_size, config, vb).map(Self::Gru)
            }
        }
    }

    pub fn run(
        &self,
        xs: &Tensor,
        state: Option<&LanguageModelState>,
        pass: &Pass,
    ) -> Result<(Tensor, LanguageModelState)> {
        match self {
            Self::Lstm(lstm) => run(lstm, xs, state, pass),
            Self::Gru(gru) => run(gru, xs, state, pass),
        }
    }
}

fn run<R: Recurrent>(
    network: &R,
    xs: &Tensor,
    state: Option<&LanguageModelState>,
    pass: &Pass,
) -> Result<(Tensor, LanguageModelState)> {
    let state = state.map(LanguageModelState::convert::<R::State>).transpose()?;
    let (sequence, last) = network.forward_with(xs, state.as_ref(), None, pass)?;
    Ok((sequence, LanguageModelState::convert(&last)?))
}
