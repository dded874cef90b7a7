//! What a decoder goes on from.

use candle_core::Tensor;
use glassbox_core::Result;

use crate::{AttentionMemory, NetworkState, RecurrentState};

/// What a decoder goes on from: the encoder's states, which stay, and its own, which does not.
#[derive(Clone, Debug)]
pub struct Seq2seqState {
    pub(super) memory: AttentionMemory,
    pub(super) network: NetworkState,
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
