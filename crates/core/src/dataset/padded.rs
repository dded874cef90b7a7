//! Batches of sequences of different lengths, and of several things at once.

use candle_core::{Device, Tensor};

use super::{Collate, stack};
use crate::{Error, Result};

/// A sequence of any length: token ids (seq_len), u32, or features (seq_len, …), on the CPU. A batch of them is
/// [`Padded`].
///
/// What goes together is a tuple: `(Sequence, u32)` of a sequence and its class makes a batch `(Padded, Tensor)`,
/// `(Sequence, Sequence)` of a source and its translation one of `(Padded, Padded)`.
///
/// ```
/// use glassbox_core::dataset::{Collate, Sequence};
/// let sequences = vec![Sequence::from_ids(&[5, 6, 7])?, Sequence::from_ids(&[8])?];
/// let batch = Sequence::collate(sequences)?;
/// assert_eq!(batch.values.to_vec2::<u32>()?, [[5, 6, 7], [8, 0, 0]]);
/// assert_eq!(batch.lengths, [3, 1]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequence(pub Tensor);

impl Sequence {
    /// The sequence of these token ids.
    ///
    /// # Errors
    /// Never on the CPU.
    pub fn from_ids(ids: &[u32]) -> Result<Self> {
        Ok(Self(Tensor::new(ids, &Device::Cpu)?))
    }
}

/// Sequences of different lengths in one tensor.
#[derive(Clone, Debug)]
pub struct Padded {
    /// (batch, max_len, …), 0 past the end of each sequence.
    pub values: Tensor,
    /// The length of each sequence, from 1 to max_len.
    pub lengths: Vec<usize>,
}

impl Collate for Sequence {
    type Batch = Padded;

    fn collate(items: Vec<Self>) -> Result<Padded> {
        let length = |(place, item): (usize, &Self)| match item.0.dims().first() {
            Some(&length) if length > 0 => Ok(length),
            _ => {
                let got = format!("shape {:?}", item.0.dims());
                Err(Error::invalid(format!("sequence {place} of the batch"), "at least one step", got))
            }
        };
        let lengths = items.iter().enumerate().map(length).collect::<Result<Vec<_>>>()?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let pad = |(item, length): (&Self, &usize)| item.0.pad_with_zeros(0, 0, longest - length);
        let padded = items.iter().zip(&lengths).map(pad).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Padded { values: stack(&padded, "sequence")?, lengths })
    }

    fn to_device(batch: Padded, device: &Device) -> Result<Padded> {
        Ok(Padded { values: batch.values.to_device(device)?, ..batch })
    }
}

/// Tensors of the same shape, stacked along a new first dimension.
impl Collate for Tensor {
    type Batch = Self;

    fn collate(items: Vec<Self>) -> Result<Self> {
        stack(&items, "tensor")
    }

    fn to_device(batch: Self, device: &Device) -> Result<Self> {
        Ok(Tensor::to_device(&batch, device)?)
    }
}

/// Classes: a tensor (batch), u32.
impl Collate for u32 {
    type Batch = Tensor;

    fn collate(items: Vec<Self>) -> Result<Tensor> {
        Ok(Tensor::new(items, &Device::Cpu)?)
    }

    fn to_device(batch: Tensor, device: &Device) -> Result<Tensor> {
        Ok(batch.to_device(device)?)
    }
}

/// Both parts' batches.
impl<A: Collate, B: Collate> Collate for (A, B) {
    type Batch = (A::Batch, B::Batch);

    fn collate(items: Vec<Self>) -> Result<Self::Batch> {
        let (first, second) = items.into_iter().unzip();
        Ok((A::collate(first)?, B::collate(second)?))
    }

    fn to_device((first, second): Self::Batch, device: &Device) -> Result<Self::Batch> {
        Ok((A::to_device(first, device)?, B::to_device(second, device)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::dataset::{DataLoader, Position, VecDataset};

    fn ids(ids: &[u32]) -> Sequence {
        Sequence::from_ids(ids).unwrap()
    }

    #[test]
    fn features_are_padded_step_by_step() {
        let features = |steps: usize| {
            Sequence(Tensor::arange(1f32, (2 * steps + 1) as f32, &Device::Cpu).unwrap().reshape((steps, 2)).unwrap())
        };
        let batch = Sequence::collate(vec![features(1), features(3)]).unwrap();
        let expected = [[[1., 2.], [0., 0.], [0., 0.]], [[1., 2.], [3., 4.], [5., 6.]]];
        assert_eq!(batch.values.to_vec3::<f32>().unwrap(), expected);
        assert_eq!(batch.lengths, [1, 3]);
    }

    #[test]
    fn what_cannot_be_padded_is_an_error() {
        let error = |items| Sequence::collate(items).unwrap_err().to_string();
        let message = "sequence 1 of the batch: expected at least one step, got shape [0]";
        assert_eq!(error(vec![ids(&[1]), ids(&[])]), message);
        let scalar = Sequence(Tensor::new(1u32, &Device::Cpu).unwrap());
        assert!(error(vec![scalar]).ends_with("got shape []"));
        let features = Sequence(Tensor::zeros((2, 3), candle_core::DType::U32, &Device::Cpu).unwrap());
        assert!(error(vec![ids(&[1]), features]).starts_with("a sample's sequence"));
        assert!(error(vec![]).starts_with("batch: expected at least one sample"));
    }

    #[test]
    fn tuples_go_through_a_loader_in_the_same_order_whatever_the_workers() {
        let item = |i: u32| ((ids(&vec![i; 1 + i as usize % 7]), ids(&vec![i; 1 + i as usize % 5])), i);
        let lengths: Vec<(u32, u32)> = (0..50).map(|i| (i % 7, i % 5)).collect();
        let read = |workers, batch| {
            let loader = DataLoader::new(VecDataset((0..50).map(item).collect()), 8);
            let loader = loader.bucket_by_length(&lengths, Seed(3)).unwrap().workers(workers);
            let batches = loader.batches(Position { epoch: 2, batch }, &Device::Cpu).unwrap();
            let row = |batch: Result<((Padded, Padded), Tensor)>| {
                let ((source, target), class) = batch.unwrap();
                let source = (source.values.to_vec2::<u32>().unwrap(), source.lengths);
                (source, target.values.to_vec2::<u32>().unwrap(), target.lengths, class.to_vec1::<u32>().unwrap())
            };
            batches.map(row).collect::<Vec<_>>()
        };
        let all = read(0, 0);
        assert_eq!((all.len(), all[6].3.len()), (7, 2));
        assert_eq!(all, read(3, 0));
        assert_eq!(all[4..], read(2, 4));
        for ((source, lengths), target, target_lengths, classes) in &all {
            for (row, &class) in classes.iter().enumerate() {
                assert_eq!((lengths[row], target_lengths[row]), (1 + class as usize % 7, 1 + class as usize % 5));
                assert!(source[row].iter().take(lengths[row]).all(|&id| id == class));
                assert!(target[row].iter().skip(target_lengths[row]).all(|&id| id == 0));
            }
        }
    }
}
