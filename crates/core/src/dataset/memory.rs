//! Samples in memory.

use candle_core::{DType, Device, Tensor};

use super::wrappers::expect_index;
use super::{Dataset, Sample};
use crate::{Error, Result, Rng};

/// Inputs and targets held as two tensors on the CPU, sample by sample along their first dimensions. A sample is a view:
/// nothing is copied.
///
/// Where the targets are integers, one a sample, they are the samples' classes.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Dataset, DatasetExt, Seed, TensorDataset};
/// let images = Tensor::zeros((10, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 0, 0, 0, 0, 1, 1, 1, 1, 1], &Device::Cpu)?;
/// let (train, test) = TensorDataset::new(images, labels)?.split_stratified(0.8, Seed(7))?;
/// assert_eq!((train.len(), test.len()), (8, 2));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset {
    inputs: Tensor,
    targets: Tensor,
    len: usize,
}

impl TensorDataset {
    /// Takes inputs (num_samples, …) with targets (num_samples, …).
    ///
    /// # Errors
    /// The tensors differ in their number of samples, or one has no dimension.
    pub fn new(inputs: Tensor, targets: Tensor) -> Result<Self> {
        let len = match (inputs.dims(), targets.dims()) {
            ([inputs, ..], [targets, ..]) if inputs == targets => *inputs,
            (inputs, targets) => {
                let got = format!("inputs {inputs:?} and targets {targets:?}");
                return Err(Error::invalid("dataset", "inputs and targets with the same first dimension", got));
            }
        };
        Ok(Self { inputs: rows(inputs)?, targets: rows(targets)?, len })
    }

    /// The inputs, (num_samples, …).
    pub fn inputs(&self) -> &Tensor {
        &self.inputs
    }

    /// The targets, (num_samples, …).
    pub fn targets(&self) -> &Tensor {
        &self.targets
    }
}

/// Contiguous, so that each sample is a view of one piece of memory; detached, so that no sample drags a graph along.
fn rows(tensor: Tensor) -> Result<Tensor> {
    Ok(tensor.detach().to_device(&Device::Cpu)?.contiguous()?)
}

impl Dataset for TensorDataset {
    type Item = Sample;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize, _: &mut Rng) -> Result<Sample> {
        expect_index(index, self.len)?;
        Ok(Sample { input: self.inputs.get(index)?, target: self.targets.get(index)? })
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        expect_index(index, self.len)?;
        if self.targets.rank() != 1 || !self.targets.dtype().is_int() {
            return Ok(None);
        }
        let class: i64 = self.targets.get(index)?.to_dtype(DType::I64)?.to_scalar()?;
        let error = |_| Error::invalid(format!("class of sample {index}"), "0 or more", class);
        usize::try_from(class).map(Some).map_err(error)
    }
}

/// Samples of any type in memory, without classes; a sample is a clone.
#[derive(Clone, Debug)]
pub struct VecDataset<T>(pub Vec<T>);

impl<T: Clone + Send + Sync> Dataset for VecDataset<T> {
    type Item = T;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize, _: &mut Rng) -> Result<T> {
        expect_index(index, self.len())?;
        Ok(self.0[index].clone())
    }
}
