//! A GRU or an LSTM, whichever the configuration says.

use candle_core::Tensor;
use glassbox_core::{Pass, Result, VarBuilder};

use super::{Seq2seqCell, Seq2seqConfig};
use crate::{Gru, GruConfig, Lstm, LstmConfig, Recurrent, RecurrentState};

/// A GRU or an LSTM.
#[derive(Debug)]
pub(super) enum Network {
    Gru(Gru),
    Lstm(Lstm),
}

/// The state of either.
#[derive(Clone, Debug)]
pub(super) struct NetworkState {
    hidden: Tensor,
    cell: Option<Tensor>,
}

impl Network {
    pub fn encoder(config: &Seq2seqConfig, vb: VarBuilder) -> Result<Self> {
        Self::new(config, config.hidden_size / 2, config.encoder_layers, true, vb)
    }

    pub fn decoder(config: &Seq2seqConfig, vb: VarBuilder) -> Result<Self> {
        Self::new(config, config.hidden_size, config.decoder_layers, false, vb)
    }

    fn new(
        config: &Seq2seqConfig,
        hidden_size: usize,
        num_layers: usize,
        bidirectional: bool,
        vb: VarBuilder,
    ) -> Result<Self> {
        let Seq2seqConfig { cell, embedding_dim, dropout, .. } = *config;
        match cell {
            Seq2seqCell::Gru => {
                let config = GruConfig { num_layers, bidirectional, dropout, ..Default::default() };
                Gru::new(embedding_dim, hidden_size, config, vb).map(Self::Gru)
            }
            Seq2seqCell::Lstm => {
                let config = LstmConfig { num_layers, bidirectional, dropout, ..Default::default() };
                Lstm::new(embedding_dim, hidden_size, config, vb).map(Self::Lstm)
            }
        }
    }

    pub fn forward(
        &self,
        xs: &Tensor,
        state: Option<&NetworkState>,
        lengths: Option<&[usize]>,
        pass: &Pass,
    ) -> Result<(Tensor, NetworkState)> {
        match self {
            Self::Gru(gru) => run(gru, xs, state, lengths, pass),
            Self::Lstm(lstm) => run(lstm, xs, state, lengths, pass),
        }
    }
}

fn run<R: Recurrent>(
    layer: &R,
    xs: &Tensor,
    state: Option<&NetworkState>,
    lengths: Option<&[usize]>,
    pass: &Pass,
) -> Result<(Tensor, NetworkState)> {
    let state = state.map(|state| R::State::from_parts(state.hidden.clone(), state.cell.clone())).transpose()?;
    let (sequence, last) = layer.forward_with(xs, state.as_ref(), lengths, pass)?;
    let (hidden, cell) = last.parts();
    Ok((sequence, NetworkState { hidden: hidden.clone(), cell: cell.cloned() }))
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
