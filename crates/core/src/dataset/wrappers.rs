//! Datasets made of datasets: mapped, a part, one after another.

use std::sync::Arc;

use super::Dataset;
use crate::{Error, Result, Rng};

/// Fails unless `index` is below `len`.
pub(super) fn expect_index(index: usize, len: usize) -> Result<()> {
    if index < len {
        return Ok(());
    }
    Err(Error::invalid("sample index", format!("below {len}, the number of samples"), index))
}

/// Each sample changed on its way out; made by [`map`](super::DatasetExt::map).
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    dataset: D,
    change: F,
}

impl<D, F> Map<D, F> {
    pub(super) fn new(dataset: D, change: F) -> Self {
        Self { dataset, change }
    }
}

impl<D, F, T> Dataset for Map<D, F>
where
    D: Dataset,
    F: Fn(D::Item, &mut Rng) -> Result<T> + Send + Sync,
    T: Send,
{
    type Item = T;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn get(&self, index: usize, rng: &mut Rng) -> Result<T> {
        (self.change)(self.dataset.get(index, rng)?, rng)
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        self.dataset.class(index)
    }
}

/// Some samples of a dataset, which it shares: cloning is cheap. Made by [`subset`](super::DatasetExt::subset) and by the
/// splits.
#[derive(Debug)]
pub struct Subset<D> {
    dataset: Arc<D>,
    indices: Arc<[usize]>,
}

// Derived, it would ask for `D: Clone`.
impl<D> Clone for Subset<D> {
    fn clone(&self) -> Self {
        Self { dataset: Arc::clone(&self.dataset), indices: Arc::clone(&self.indices) }
    }
}

impl<D: Dataset> Subset<D> {
    /// The samples of `dataset` at `indices`, in this order; an index may come several times.
    ///
    /// # Errors
    /// An index is out of range.
    pub fn new(dataset: Arc<D>, indices: Vec<usize>) -> Result<Self> {
        indices.iter().try_for_each(|&index| expect_index(index, dataset.len()))?;
        Ok(Self { dataset, indices: indices.into() })
    }

    /// Where its samples stand in the whole dataset.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The whole dataset.
    pub fn dataset(&self) -> &Arc<D> {
        &self.dataset
    }

    fn outer(&self, index: usize) -> Result<usize> {
        expect_index(index, self.indices.len())?;
        Ok(self.indices[index])
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize, rng: &mut Rng) -> Result<D::Item> {
        self.dataset.get(self.outer(index)?, rng)
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        self.dataset.class(self.outer(index)?)
    }
}

/// The samples of one dataset, then those of another; made by [`concat`](super::DatasetExt::concat).
#[derive(Clone, Debug)]
pub struct Concat<A, B> {
    first: A,
    second: B,
}

impl<A, B> Concat<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Dataset, B: Dataset<Item = A::Item>> Dataset for Concat<A, B> {
    type Item = A::Item;

    fn len(&self) -> usize {
        self.first.len().saturating_add(self.second.len())
    }

    fn get(&self, index: usize, rng: &mut Rng) -> Result<A::Item> {
        expect_index(index, self.len())?;
        match index.checked_sub(self.first.len()) {
            None => self.first.get(index, rng),
            Some(index) => self.second.get(index, rng),
        }
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        expect_index(index, self.len())?;
        match index.checked_sub(self.first.len()) {
            None => self.first.class(index),
            Some(index) => self.second.class(index),
        }
    }
}
