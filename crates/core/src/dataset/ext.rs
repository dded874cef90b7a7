//! What every dataset can be made into.

use std::sync::Arc;

use super::split::{self, Fold};
use super::{Concat, Dataset, Map, Subset};
use crate::{Result, Rng, Seed};

/// Maps, parts and concatenations of any [`Dataset`].
///
/// Each takes the dataset itself; to keep it too, wrap it in an [`Arc`] first. Parts share it.
///
/// ```
/// use glassbox_core::{Dataset, DatasetExt, Seed, dataset::VecDataset};
/// let numbers = VecDataset((0..100).collect());
/// let (train, test) = numbers.map(|n: i32, _| Ok(2 * n)).split(0.8, Seed(1))?;
/// assert_eq!((train.len(), test.len()), (80, 20));
/// assert_eq!(test.get(0, &mut Seed(0).rng())?, 2 * test.indices()[0] as i32);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub trait DatasetExt: Dataset + Sized {
    /// Each sample changed by `change` as it is taken. Its random numbers are those of [`Dataset::get`]: seeded per sample
    /// and epoch. Classes stay as they were.
    fn map<T, F>(self, change: F) -> Map<Self, F>
    where
        F: Fn(Self::Item, &mut Rng) -> Result<T> + Send + Sync,
        T: Send,
    {
        Map::new(self, change)
    }

    /// The samples at `indices`, in this order; an index may come several times.
    ///
    /// # Errors
    /// An index is out of range.
    fn subset(self, indices: Vec<usize>) -> Result<Subset<Self>> {
        Subset::new(Arc::new(self), indices)
    }

    /// Two random parts, the first with `fraction` of the samples, rounded to the nearest. Each keeps the dataset's order.
    ///
    /// # Errors
    /// A fraction that is not between 0 and 1, or that leaves a part without samples.
    fn split(self, fraction: f64, seed: Seed) -> Result<(Subset<Self>, Subset<Self>)> {
        let all = vec![(0..self.len()).collect()];
        split::split(self, all, fraction, seed)
    }

    /// As [`split`](Self::split), with every class's samples divided in the same proportion, to within one sample.
    ///
    /// # Errors
    /// As [`split`](Self::split); a sample without a class.
    fn split_stratified(self, fraction: f64, seed: Seed) -> Result<(Subset<Self>, Subset<Self>)> {
        let classes = split::samples_by_class(&self)?;
        split::split(self, classes, fraction, seed)
    }

    /// The `k` folds of a cross-validation: each sample is in exactly one fold's test part and in the training parts of
    /// all others. Sizes of the test parts differ by at most one; every part keeps the dataset's order.
    ///
    /// # Errors
    /// `k` is not from 2 to the number of samples.
    fn k_folds(self, k: usize, seed: Seed) -> Result<Vec<Fold<Self>>> {
        let all = vec![(0..self.len()).collect()];
        split::k_folds(self, all, k, seed)
    }

    /// As [`k_folds`](Self::k_folds), with each class's number of samples in the test parts differing by at most one too.
    ///
    /// # Errors
    /// As [`k_folds`](Self::k_folds); a sample without a class.
    fn k_folds_stratified(self, k: usize, seed: Seed) -> Result<Vec<Fold<Self>>> {
        let classes = split::samples_by_class(&self)?;
        split::k_folds(self, classes, k, seed)
    }

    /// These samples, then those of `other`.
    fn concat<D: Dataset<Item = Self::Item>>(self, other: D) -> Concat<Self, D> {
        Concat::new(self, other)
    }
}

impl<D: Dataset> DatasetExt for D {}
