//! In which order an epoch takes the samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::split::class_of;
use super::{BucketSampler, BudgetSampler, Dataset};
use crate::{Error, Result, Seed};

/// The order of an epoch's samples: a function of the number of samples, the seed and the epoch alone, so that a resumed
/// run goes on with the same one.
///
/// ```
/// use glassbox_core::{Seed, dataset::Sampler};
/// assert_eq!(Sampler::Sequential.order(3, 0)?, [0, 1, 2]);
/// let shuffled = Sampler::Shuffled(Seed(1));
/// assert_ne!(shuffled.order(100, 0)?, shuffled.order(100, 1)?);
/// assert_eq!(shuffled.order(100, 1)?, shuffled.order(100, 1)?);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub enum Sampler {
    /// 0, 1, 2, …, every epoch.
    #[default]
    Sequential,
    /// Every sample once, in a random order of each epoch's own.
    Shuffled(Seed),
    /// Drawn by weight, with replacement.
    Weighted(WeightedSampler),
    /// Every sample once, samples of similar length in the same batch.
    Bucketed(BucketSampler),
    /// Every sample once, as many in a batch as a number of tokens allows.
    Budgeted(BudgetSampler),
}

impl Sampler {
    /// Draws `num_samples` samples an epoch, each with a probability in proportion to its weight, with replacement.
    /// See [`class_balanced_weights`].
    ///
    /// # Errors
    /// A weight that is negative or not finite; weights that sum to 0 or not to a finite number; no samples to draw.
    pub fn weighted(weights: &[f64], num_samples: usize, seed: Seed) -> Result<Self> {
        WeightedSampler::new(weights, num_samples, seed).map(Self::Weighted)
    }

    /// Batches of `batch_size` samples of similar length, so that little of a padded batch is padding: random pools of a
    /// hundred batches are sorted by length, cut into batches, and the batches shuffled, anew each epoch. `lengths` has
    /// one for each sample; of pairs, `(source, target)` sorts by the first, then by the second. See
    /// [`DataLoader::bucket_by_length`](super::DataLoader::bucket_by_length).
    ///
    /// # Errors
    /// A batch size of 0.
    pub fn bucketed<K: Ord>(lengths: &[K], batch_size: usize, seed: Seed) -> Result<Self> {
        BucketSampler::new(lengths, batch_size, seed).map(Self::Bucketed)
    }

    /// Number of samples in an epoch over a dataset of `len`.
    pub fn num_samples(&self, len: usize) -> usize {
        match self {
            Self::Sequential | Self::Shuffled(_) | Self::Bucketed(_) | Self::Budgeted(_) => len,
            Self::Weighted(weighted) => weighted.num_samples,
        }
    }

    /// The indices of epoch number `epoch` over a dataset of `len` samples, in order.
    ///
    /// # Errors
    /// The number of weights or of lengths is not `len`.
    pub fn order(&self, len: usize, epoch: u64) -> Result<Vec<usize>> {
        match self {
            Self::Sequential => Ok((0..len).collect()),
            Self::Shuffled(seed) => Ok(stream(*seed, epoch).rng().permutation(len)),
            Self::Weighted(weighted) => weighted.order(len, epoch),
            Self::Bucketed(bucketed) => bucketed.order(len, epoch),
            Self::Budgeted(budgeted) => Ok(budgeted.batches(len, epoch)?.concat()),
        }
    }
}

pub(super) fn stream(seed: Seed, epoch: u64) -> Seed {
    seed.child("order").index(epoch)
}

/// Samples drawn by weight; made by [`Sampler::weighted`].
#[derive(Clone, Debug)]
pub struct WeightedSampler {
    /// Sums of the weights up to and with each.
    cumulative: Arc<[f64]>,
    num_samples: usize,
    seed: Seed,
}

impl WeightedSampler {
    fn new(weights: &[f64], num_samples: usize, seed: Seed) -> Result<Self> {
        if let Some((index, weight)) = weights.iter().enumerate().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
            return Err(Error::invalid(format!("weight of sample {index}"), "a finite number, 0 or more", weight));
        }
        let add = |sum: &mut f64, weight: &f64| {
            *sum += weight;
            Some(*sum)
        };
        let cumulative: Arc<[f64]> = weights.iter().scan(0.0, add).collect();
        let total = cumulative.last().copied().unwrap_or(0.0);
        if !(total.is_finite() && total > 0.0) {
            return Err(Error::invalid("sum of the samples' weights", "a finite number above 0", total));
        }
        if num_samples == 0 {
            return Err(Error::invalid("num_samples of the weighted sampler", "1 or more", 0));
        }
        Ok(Self { cumulative, num_samples, seed })
    }

    fn order(&self, len: usize, epoch: u64) -> Result<Vec<usize>> {
        if self.cumulative.len() != len {
            let expected = format!("{len}, one for each sample");
            return Err(Error::invalid("number of weights", expected, self.cumulative.len()));
        }
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        // A product that rounds up to the total still belongs to the last sample of a weight above 0.
        let last = self.cumulative.partition_point(|&sum| sum < total);
        let mut rng = stream(self.seed, epoch).rng();
        let mut draw = || {
            let point = rng.uniform() * total;
            self.cumulative.partition_point(|&sum| sum <= point).min(last)
        };
        let mut order = vec![];
        let unable = |e| Error::invalid("num_samples of the weighted sampler", "a number that memory can hold", e);
        order.try_reserve_exact(self.num_samples).map_err(unable)?;
        order.extend((0..self.num_samples).map(|_| draw()));
        Ok(order)
    }
}

/// A weight for each sample, one over the number of samples of its class: all classes are then drawn equally often.
///
/// # Errors
/// A sample without a class.
pub fn class_balanced_weights<D: Dataset>(dataset: &D) -> Result<Vec<f64>> {
    let class = |index| class_of(dataset, index, "weights that balance classes");
    let classes = (0..dataset.len()).map(class).collect::<Result<Vec<_>>>()?;
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    classes.iter().for_each(|class| *counts.entry(*class).or_default() += 1);
    Ok(classes.iter().map(|class| 1.0 / counts[class] as f64).collect())
}
