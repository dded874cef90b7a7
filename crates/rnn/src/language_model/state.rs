//! What a language model remembers.

use candle_core::Tensor;
use glassbox_core::Result;

use crate::RecurrentState;

/// What a [`LanguageModel`](crate::LanguageModel) remembers of the tokens that it has read.
#[derive(Clone, Debug)]
pub struct LanguageModelState {
    /// The hidden states, (num_layers, batch, hidden_size).
    pub hidden: Tensor,
    /// An LSTM's cell states, (num_layers, batch, hidden_size).
    pub cell: Option<Tensor>,
}

impl RecurrentState for LanguageModelState {
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
