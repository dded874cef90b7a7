//! Samples by index, and batches of them.

mod bucket;
mod budget;
mod ext;
mod loader;
mod memory;
mod padded;
mod sampler;
mod split;
mod stream;
#[cfg(test)]
mod tests;
mod wrappers;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use glassbox_kernels::concat::concat;

use crate::{Error, Result, Rng};

pub use bucket::BucketSampler;
pub use budget::BudgetSampler;
pub use ext::DatasetExt;
pub use loader::{Batches, DataLoader, Position};
pub use memory::{TensorDataset, VecDataset};
pub use padded::{Padded, Sequence};
pub use sampler::{Sampler, WeightedSampler, class_balanced_weights};
pub use split::Fold;
pub use stream::StreamBatch;
pub use wrappers::{Concat, Map, Subset};

/// A sized, indexable collection of samples.
pub trait Dataset: Send + Sync {
    /// One sample.
    type Item: Send;

    /// Number of samples.
    fn len(&self) -> usize;

    /// The sample at `index`. `rng` is for augmentation: its numbers depend on the loader's seed, the epoch and the
    /// sample's place in it alone, so that the sample is the same whichever thread loads it. A plain dataset leaves it alone.
    ///
    /// # Errors
    /// The index is out of range, or the sample cannot be read.
    fn get(&self, index: usize, rng: &mut Rng) -> Result<Self::Item>;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Class of the sample at `index`, for stratified splits and weighted sampling; none where it has no class.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn class(&self, index: usize) -> Result<Option<usize>> {
        let _ = index;
        Ok(None)
    }
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize, rng: &mut Rng) -> Result<Self::Item> {
        (**self).get(index, rng)
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        (**self).class(index)
    }
}

/// An input and its target, on the CPU.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What the model is given, without the batch dimension.
    pub input: Tensor,
    /// What it should answer: a class (u32 scalar) or values.
    pub target: Tensor,
}

/// Inputs and targets stacked along a new first dimension.
#[derive(Clone, Debug)]
pub struct Batch {
    /// (batch, …).
    pub input: Tensor,
    /// (batch) of classes, or (batch, …) of values.
    pub target: Tensor,
}

/// Samples that make a batch.
pub trait Collate: Sized + Send {
    /// What a training step is given.
    type Batch: Send;

    /// One batch of `items`, on the CPU.
    ///
    /// # Errors
    /// Samples of different shapes.
    fn collate(items: Vec<Self>) -> Result<Self::Batch>;

    /// The batch on `device`.
    ///
    /// # Errors
    /// The device is out of memory.
    fn to_device(batch: Self::Batch, device: &Device) -> Result<Self::Batch>;
}

impl Collate for Sample {
    type Batch = Batch;

    fn collate(items: Vec<Self>) -> Result<Batch> {
        let (inputs, targets): (Vec<Tensor>, Vec<Tensor>) = items.into_iter().map(|s| (s.input, s.target)).unzip();
        Ok(Batch { input: stack(&inputs, "input")?, target: stack(&targets, "target")? })
    }

    fn to_device(batch: Batch, device: &Device) -> Result<Batch> {
        Ok(Batch { input: batch.input.to_device(device)?, target: batch.target.to_device(device)? })
    }
}

fn stack(tensors: &[Tensor], what: &str) -> Result<Tensor> {
    let first = tensors.first().ok_or_else(|| Error::invalid("batch", "at least one sample", "none"))?;
    if let Some(other) = tensors.iter().find(|t| t.dims() != first.dims()) {
        let expected = format!("{:?}, as the batch's first", first.dims());
        return Err(Error::invalid(format!("a sample's {what}"), expected, format!("{:?}", other.dims())));
    }
    let rows = tensors.iter().map(|t| t.unsqueeze(0)).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(concat(&rows, 0)?)
}
