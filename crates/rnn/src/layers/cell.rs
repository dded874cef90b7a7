//! The three kinds of recurrence, each as one operation over all steps.

use candle_core::Tensor;
use glassbox_core::Result;
use glassbox_kernels::recurrent::{
    RecurrentParams, RecurrentWeights, RnnActivation, bidirectional_gru, bidirectional_lstm, bidirectional_rnn, gru,
    lstm, rnn,
};

/// What happens in a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    Rnn(RnnActivation),
    Gru,
    Lstm,
}

/// The hidden and the cell state of one layer in one direction: (batch, size) each.
pub(super) struct Start {
    pub hidden: Tensor,
    pub cell: Option<Tensor>,
}

/// What one layer gives: the sequence, and the final states of each direction.
pub(super) struct Outcome {
    pub sequence: Tensor,
    pub hidden: Vec<Tensor>,
    pub cell: Vec<Tensor>,
}

impl Cell {
    pub fn kind(self) -> &'static str {
        match self {
            Self::Rnn(_) => "Rnn",
            Self::Gru => "Gru",
            Self::Lstm => "Lstm",
        }
    }

    /// Blocks of hidden_size rows in the weights.
    pub fn num_gates(self) -> usize {
        match self {
            Self::Rnn(_) => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    pub fn has_cell_state(self) -> bool {
        matches!(self, Self::Lstm)
    }

    /// One layer from the first step to the last.
    pub fn forward(
        self,
        xs: &Tensor,
        weights: &RecurrentWeights,
        start: Option<&Start>,
        lengths: Option<&[usize]>,
    ) -> Result<Outcome> {
        let params = RecurrentParams { lengths, reverse: false };
        let h0 = start.map(|start| &start.hidden);
        let out = match self {
            Self::Rnn(activation) => rnn(xs, weights, h0, activation, &params)?,
            Self::Gru => gru(xs, weights, h0, &params)?,
            Self::Lstm => {
                let c0 = start.and_then(|start| start.cell.as_ref());
                let out = lstm(xs, weights, h0.zip(c0), &params)?;
                return Ok(Outcome { sequence: out.sequence, hidden: vec![out.hidden], cell: vec![out.cell] });
            }
        };
        Ok(Outcome { sequence: out.sequence, hidden: vec![out.hidden], cell: vec![] })
    }

    /// One layer in both directions.
    pub fn both(
        self,
        xs: &Tensor,
        weights: [&RecurrentWeights; 2],
        start: Option<&[Start; 2]>,
        lengths: Option<&[usize]>,
    ) -> Result<Outcome> {
        let h0 = start.map(|start| start.each_ref().map(|start| &start.hidden));
        let out = match self {
            Self::Rnn(activation) => bidirectional_rnn(xs, weights, h0, activation, lengths)?,
            Self::Gru => bidirectional_gru(xs, weights, h0, lengths)?,
            Self::Lstm => {
                let c0 = start.and_then(|[forward, reverse]| Some([forward.cell.as_ref()?, reverse.cell.as_ref()?]));
                let out = bidirectional_lstm(xs, weights, h0.zip(c0), lengths)?;
                return Ok(Outcome { sequence: out.sequence, hidden: out.hidden.into(), cell: out.cell.into() });
            }
        };
        Ok(Outcome { sequence: out.sequence, hidden: out.hidden.into(), cell: vec![] })
    }
}
