//! Batches that go on where the one before ended.

use candle_core::{Device, Tensor};

use super::Collate;
use crate::{Error, Result};

/// One step along all parts of a stream: row b goes on where row b of the batch before ended, so that a recurrent network's
/// state can be carried over.
#[derive(Clone, Debug)]
pub struct StreamBatch {
    /// (batch, seq_len), u32 for tokens.
    pub input: Tensor,
    /// What is to be predicted at each step, such as the input moved on by one token.
    pub target: Tensor,
    /// Its place in the epoch, counted from 0: the state that it starts from is that after batch `step - 1`, and a fresh
    /// one at 0.
    pub step: usize,
}

/// A sample is a whole batch already: its loader takes them one by one.
impl Collate for StreamBatch {
    type Batch = Self;

    fn collate(items: Vec<Self>) -> Result<Self> {
        let one = |items: [Self; 1]| items.into_iter().next();
        let count = items.len();
        let only = <[Self; 1]>::try_from(items).ok().and_then(one);
        only.ok_or_else(|| Error::invalid("batch size of a stream's loader", "1: a sample is a whole batch", count))
    }

    fn to_device(batch: Self, device: &Device) -> Result<Self> {
        let (input, target) = (batch.input.to_device(device)?, batch.target.to_device(device)?);
        Ok(Self { input, target, ..batch })
    }
}
