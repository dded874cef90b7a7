//! Batches that cost alike.

use std::sync::Arc;

use super::sampler::stream;
use crate::{Error, Result, Seed};

/// Batches of as many samples as a number of tokens allows; made by
/// [`DataLoader::max_tokens`](super::DataLoader::max_tokens).
#[derive(Clone, Debug)]
pub struct BudgetSampler {
    /// The samples of each batch.
    batches: Arc<[Vec<usize>]>,
    num_samples: usize,
    seed: Seed,
}

impl BudgetSampler {
    /// Samples in order of length, of equal length in a random one, cut where one more would exceed `max_tokens`, padding
    /// included, or `max_samples`.
    pub(super) fn new(lengths: &[usize], max_tokens: usize, max_samples: usize, seed: Seed) -> Result<Self> {
        if max_samples == 0 {
            return Err(Error::invalid("batch size", "at least 1", 0));
        }
        if let Some((index, length)) = lengths.iter().enumerate().find(|(_, length)| **length > max_tokens) {
            let expected = format!("at most {max_tokens} tokens, those of a batch");
            return Err(Error::invalid(format!("sample {index}"), expected, length));
        }
        let mut order = seed.child("batches").rng().permutation(lengths.len());
        order.sort_by_key(|&index| lengths[index]);
        let mut batches: Vec<Vec<usize>> = vec![];
        for index in order {
            match batches.last_mut() {
                // In order of length, so this sample is the longest of its batch.
                Some(batch)
                    if batch.len() < max_samples && lengths[index].saturating_mul(batch.len() + 1) <= max_tokens =>
                {
                    batch.push(index);
                }
                _ => batches.push(vec![index]),
            }
        }
        Ok(Self { batches: batches.into(), num_samples: lengths.len(), seed })
    }

    /// The batches of an epoch, in an order of its own.
    pub(super) fn batches(&self, len: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        if self.num_samples != len {
            return Err(Error::invalid("number of lengths", format!("{len}, one for each sample"), self.num_samples));
        }
        let order = stream(self.seed, epoch).rng().permutation(self.batches.len());
        Ok(order.into_iter().map(|batch| self.batches[batch].clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use crate::dataset::{DataLoader, Padded, Position, Sequence, VecDataset};
    use crate::{Result, Seed};

    fn lengths() -> Vec<usize> {
        let mut rng = Seed(9).rng();
        (0..500).map(|_| 1 + rng.below(40)).collect()
    }

    fn loader(max_samples: usize, max_tokens: usize) -> Result<DataLoader<Padded>> {
        let lengths = lengths();
        let sequences = lengths.iter().zip(0u32..).map(|(&length, id)| Sequence::from_ids(&vec![id; length]));
        let dataset = VecDataset(sequences.collect::<Result<Vec<_>>>()?);
        DataLoader::new(dataset, max_samples).max_tokens(&lengths, max_tokens, Seed(1))
    }

    /// The samples of each batch of an epoch, and the batches' shapes.
    fn epoch(loader: &DataLoader<Padded>, epoch: u64, batch: usize) -> (Vec<Vec<u32>>, Vec<Vec<usize>>) {
        let batches = loader.batches(Position { epoch, batch }, &Device::Cpu).unwrap();
        let read = |batch: Result<Padded>| {
            let values = batch.unwrap().values;
            (values.to_vec2::<u32>().unwrap().iter().map(|row| row[0]).collect(), values.dims().to_vec())
        };
        batches.map(read).unzip()
    }

    #[test]
    fn no_batch_has_more_tokens_than_allowed_and_most_have_nearly_as_many() {
        let loader = loader(usize::MAX, 256).unwrap();
        let (samples, shapes) = epoch(&loader, 0, 0);
        assert!(shapes.iter().all(|shape| shape[0] * shape[1] <= 256), "{shapes:?}");
        // A batch lacks less than one sample of the next length, at most 40 tokens, but for where lengths jump.
        let full = shapes.iter().filter(|shape| shape[0] * shape[1] > 200).count();
        assert!(full * 10 >= shapes.len() * 9, "{shapes:?}");
        let mut all = samples.concat();
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<u32>>());
        assert_eq!(loader.num_batches().unwrap(), shapes.len());
        // Sorted, batches hold a few lengths that are near each other: little padding.
        let tokens: usize = lengths().iter().sum();
        let padded: usize = shapes.iter().map(|shape| shape[0] * shape[1]).sum();
        assert!(padded * 100 < tokens * 104, "{padded} of {tokens}");
    }

    #[test]
    fn an_epoch_has_its_own_order_and_keeps_it_whatever_the_workers() {
        let one = loader(8, 256).unwrap();
        let (samples, _) = epoch(&one, 0, 0);
        assert!(samples.iter().all(|batch| batch.len() <= 8));
        assert_ne!(samples, epoch(&one, 1, 0).0);
        assert_eq!(samples[5..], epoch(&loader(8, 256).unwrap().workers(3), 0, 5).0);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let longest = lengths().into_iter().max().unwrap();
        let place = lengths().iter().position(|&length| length == longest).unwrap();
        let message = loader(8, longest - 1).err().unwrap().to_string();
        let expected =
            format!("sample {place}: expected at most {} tokens, those of a batch, got {longest}", longest - 1);
        assert_eq!(message, expected);
        assert!(loader(0, 256).is_err());
        let short = DataLoader::new(VecDataset(vec![1u32, 2]), 4).max_tokens(&[1], 4, Seed(1)).unwrap();
        let message = short.num_batches().unwrap_err().to_string();
        assert_eq!(message, "number of lengths: expected 2, one for each sample, got 1");
    }
}
