//! What a decoder goes on from.

use candle_core::Tensor;
use glassbox_core::Result;

use crate::{AttentionMemory, RecurrentState};

/// What a decoder goes on from: the encoder's states, which stay, and its own, which does not.
#[derive(Clone, Debug)]
pub struct Seq2seqState {
    pub(super) memory: AttentionMemory,
    pub(super) network: NetworkState,
}

/// The state of an encoder's or a decoder's network.
#[derive(Clone, Debug)]
pub(super) struct NetworkState {
    hidden: Tensor,
    cell: Option<Tensor>,
}

impl Seq2seqState {
    /// The state of other samples: for each of `ids`, u32 or i64, the one at this place of the batch.
    ///
    /// # Errors
    /// An id that is not below the batch size.
    pub fn select(&self, ids: &Tensor) -> Result<Self> {
        Ok(Self { memory: self.memory.select(ids)?, network: self.network.index_select(ids)? })
    }
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
