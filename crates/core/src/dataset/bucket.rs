//! Batches of samples that are alike in length.

use std::sync::Arc;

use super::sampler::stream;
use crate::{Error, Result, Seed};

/// Batches that are sorted together. More of them would waste less padding, fewer would mix better; torchtext's
/// `BucketIterator` takes as many.
const POOL_BATCHES: usize = 100;

/// Every sample once an epoch, samples of similar length in the same batch; made by
/// [`Sampler::bucketed`](super::Sampler::bucketed).
#[derive(Clone, Debug)]
pub struct BucketSampler {
    /// The place of each sample's length among all lengths.
    ranks: Arc<[usize]>,
    pub(super) batch_size: usize,
    seed: Seed,
}

impl BucketSampler {
    pub(super) fn new<K: Ord>(lengths: &[K], batch_size: usize, seed: Seed) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::invalid("batch size of the bucket sampler", "at least 1", 0));
        }
        let mut sorted: Vec<&K> = lengths.iter().collect();
        sorted.sort_unstable();
        let ranks = lengths.iter().map(|length| sorted.partition_point(|other| *other < length)).collect();
        Ok(Self { ranks, batch_size, seed })
    }

    /// Random pools, each sorted and cut into batches; then the batches in random order. A batch that is not full stays
    /// last, so that the loader cuts where this did.
    pub(super) fn order(&self, len: usize, epoch: u64) -> Result<Vec<usize>> {
        if self.ranks.len() != len {
            return Err(Error::invalid("number of lengths", format!("{len}, one for each sample"), self.ranks.len()));
        }
        let mut rng = stream(self.seed, epoch).rng();
        let mut order = rng.permutation(len);
        for pool in order.chunks_mut(self.batch_size.saturating_mul(POOL_BATCHES)) {
            pool.sort_by_key(|&index| self.ranks[index]);
        }
        let full = order.chunks_exact(self.batch_size);
        let short = full.remainder();
        let mut batches: Vec<&[usize]> = full.collect();
        rng.shuffle(&mut batches);
        batches.push(short);
        Ok(batches.concat())
    }
}

#[cfg(test)]
mod tests {
    use crate::dataset::{DataLoader, Sampler, VecDataset};
    use crate::{Error, Seed};

    fn lengths(count: usize) -> Vec<usize> {
        let mut rng = Seed(9).rng();
        (0..count).map(|_| 1 + rng.below(80)).collect()
    }

    #[test]
    fn every_sample_comes_once_and_batches_are_alike_in_length() {
        let lengths = lengths(1003);
        let sampler = Sampler::bucketed(&lengths, 16, Seed(1)).unwrap();
        let order = sampler.order(1003, 0).unwrap();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1003).collect::<Vec<_>>());
        assert_eq!(sampler.num_samples(1003), 1003);
        let padding = |order: &[usize]| -> usize {
            let batch = |b: &[usize]| b.iter().map(|&i| lengths[i]).max().unwrap_or(0) * b.len();
            order.chunks(16).map(batch).sum::<usize>() - lengths.iter().sum::<usize>()
        };
        let shuffled = Sampler::Shuffled(Seed(1)).order(1003, 0).unwrap();
        // One pool here: a batch spans 16 of 1003 sorted lengths, 1.3 of the 80; random batches pad to about 75.
        assert!(padding(&order) * 20 < padding(&shuffled), "{} of {}", padding(&order), padding(&shuffled));
        // The batches themselves come in no order of length.
        let firsts: Vec<usize> = order.chunks(16).map(|b| lengths[b[0]]).collect();
        assert!(!firsts.is_sorted());
    }

    #[test]
    fn an_epoch_has_its_own_order_and_keeps_it() {
        let lengths = lengths(200);
        let order = |seed, epoch| Sampler::bucketed(&lengths, 8, Seed(seed)).unwrap().order(200, epoch).unwrap();
        assert_eq!(order(1, 3), order(1, 3));
        assert_ne!(order(1, 3), order(1, 4));
        assert_ne!(order(1, 3), order(2, 3));
    }

    #[test]
    fn pairs_are_sorted_by_the_first_length_then_by_the_second() {
        let pairs = [(2, 9), (1, 5), (2, 1), (1, 4), (2, 8)];
        let order = Sampler::bucketed(&pairs, 5, Seed(1)).unwrap().order(5, 0).unwrap();
        assert_eq!(order, [3, 1, 2, 4, 0]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error = |result: Result<Vec<usize>, Error>| result.unwrap_err().to_string();
        let sampler = Sampler::bucketed(&[1, 2], 2, Seed(1)).unwrap();
        assert_eq!(error(sampler.order(3, 0)), "number of lengths: expected 3, one for each sample, got 2");
        assert!(Sampler::bucketed(&[1], 0, Seed(1)).is_err());
        assert!(Sampler::bucketed::<usize>(&[], 4, Seed(1)).unwrap().order(0, 0).unwrap().is_empty());
        assert_eq!(Sampler::bucketed(&[3, 1], usize::MAX, Seed(1)).unwrap().order(2, 0).unwrap(), [1, 0]);
        let loader = DataLoader::new(VecDataset(vec![1u32, 2]), 4).sampler(sampler);
        let message = loader.num_batches().unwrap_err().to_string();
        assert_eq!(message, "batch size of the bucket sampler: expected 4, the loader's, got 2");
    }
}
