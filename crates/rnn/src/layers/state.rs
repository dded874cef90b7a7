//! What a recurrent network remembers.

use std::convert::Infallible;
use std::fmt::Debug;

use candle_core::Tensor;
use glassbox_core::{Error, Result};

/// The state of a recurrent network between two steps, for all layers and directions.
pub trait RecurrentState: Clone + Debug + Send + Sync + Sized {
    /// The hidden state and, of an LSTM, the cell state.
    fn parts(&self) -> (&Tensor, Option<&Tensor>);

    /// The state of these parts.
    ///
    /// # Errors
    /// No cell state for an LSTM.
    fn from_parts(hidden: Tensor, cell: Option<Tensor>) -> Result<Self>;

    /// The state with `f` applied to each tensor.
    ///
    /// # Errors
    /// Those of `f`.
    fn map<E>(&self, f: impl FnMut(&Tensor) -> std::result::Result<Tensor, E>) -> std::result::Result<Self, E>;

    /// The same values, through which no gradient flows: what truncated backpropagation through time carries from one
    /// batch to the next.
    fn detach(&self) -> Self {
        let Ok(detached) = self.map(|tensor| Ok::<_, Infallible>(tensor.detach()));
        detached
    }

    /// The states of the samples `indices`, (n) u32 or i64, in their order and as often as each is named: what a beam
    /// search keeps of its hypotheses.
    ///
    /// # Errors
    /// An index that is not below the batch size.
    fn index_select(&self, indices: &Tensor) -> Result<Self> {
        self.map(|tensor| Ok(tensor.contiguous()?.index_select(indices, 1)?))
    }

    /// The number of samples.
    fn batch_size(&self) -> usize {
        self.parts().0.dims().get(1).copied().unwrap_or(0)
    }
}

/// The state of an [`Rnn`](crate::Rnn) or a [`Gru`](crate::Gru).
#[derive(Clone, Debug)]
pub struct RnnState {
    /// The hidden states, (num_layers · num_directions, batch, hidden_size): layer by layer, forward before backward, as
    /// PyTorch's `h_n`.
    pub hidden: Tensor,
}

impl RecurrentState for RnnState {
    fn parts(&self) -> (&Tensor, Option<&Tensor>) {
        (&self.hidden, None)
    }

    fn from_parts(hidden: Tensor, _: Option<Tensor>) -> Result<Self> {
        Ok(Self { hidden })
    }

    fn map<E>(&self, mut f: impl FnMut(&Tensor) -> std::result::Result<Tensor, E>) -> std::result::Result<Self, E> {
        Ok(Self { hidden: f(&self.hidden)? })
    }
}

/// The state of an [`Lstm`](crate::Lstm).
#[derive(Clone, Debug)]
pub struct LstmState {
    /// The hidden states, (num_layers · num_directions, batch, hidden_size, or proj_size where they are projected): layer
    /// by layer, forward before backward, as PyTorch's `h_n`.
    pub hidden: Tensor,
    /// The cell states, (num_layers · num_directions, batch, hidden_size), as PyTorch's `c_n`.
    pub cell: Tensor,
}

impl RecurrentState for LstmState {
    fn parts(&self) -> (&Tensor, Option<&Tensor>) {
        (&self.hidden, Some(&self.cell))
    }

    fn from_parts(hidden: Tensor, cell: Option<Tensor>) -> Result<Self> {
        let cell = cell.ok_or_else(|| Error::invalid("state of an LSTM", "a cell state", "none"))?;
        Ok(Self { hidden, cell })
    }

    fn map<E>(&self, mut f: impl FnMut(&Tensor) -> std::result::Result<Tensor, E>) -> std::result::Result<Self, E> {
        Ok(Self { hidden: f(&self.hidden)?, cell: f(&self.cell)? })
    }
}
