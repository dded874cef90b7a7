//! Distances between predicted and true values.

use candle_core::Tensor;

use super::classes::expect_shape;
use super::{Mean, Metric, nothing_taken_in};
use crate::{Error, Result, TensorExt};

/// Predicted and true values in row-major order. A last dimension of 1 that only one of the two has is let pass; other
/// shapes never broadcast, since (batch) against (batch, 1) would then compare every sample with every other.
fn read_values(outputs: &Tensor, targets: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    match outputs.dims() {
        [samples @ .., 1] if samples == targets.dims() => {}
        samples => expect_shape(samples, targets)?,
    }
    Ok((outputs.to_f64_vec()?, targets.to_f64_vec()?))
}

/// Mean squared error, `mean((output − target)²)` over all elements.
///
/// # Shapes
/// Outputs and targets alike, but for a last dimension of 1.
#[derive(Clone, Debug, Default)]
pub struct Mse(Mean);

impl Metric for Mse {
    fn name(&self) -> &str {
        "mse"
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let (outputs, targets) = read_values(outputs, targets)?;
        outputs.iter().zip(targets).for_each(|(output, target)| self.0.update((output - target).powi(2), 1.0));
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        self.0.compute_as(self.name())
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn higher_is_better(&self) -> bool {
        false
    }
}

/// Mean absolute error, `mean(|output − target|)` over all elements.
///
/// # Shapes
/// Outputs and targets alike, but for a last dimension of 1.
#[derive(Clone, Debug, Default)]
pub struct Mae(Mean);

impl Metric for Mae {
    fn name(&self) -> &str {
        "mae"
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let (outputs, targets) = read_values(outputs, targets)?;
        outputs.iter().zip(targets).for_each(|(output, target)| self.0.update((output - target).abs(), 1.0));
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        self.0.compute_as(self.name())
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn higher_is_better(&self) -> bool {
        false
    }
}

/// Coefficient of determination, `1 − Σ (output − target)² / Σ (target − mean target)²`: the share of the targets'
/// variance that the outputs explain. 1 is perfect, 0 is as good as the mean, below 0 is worse.
///
/// With several values a sample it is the plain mean over them. Where a value's targets are all equal it is 1 if they are
/// met exactly, else 0. Both as in scikit-learn's `r2_score`.
///
/// # Shapes
/// Outputs and targets alike, (batch) or (batch, …), but for a last dimension of 1.
///
/// # Errors
/// [`compute`](Metric::compute) fails with fewer than two samples.
#[derive(Clone, Debug, Default)]
pub struct R2 {
    samples: u64,
    /// One for each value of a sample; empty until the first batch tells their number.
    values: Vec<Deviation>,
}

/// Sums over one value of the samples. The spread is Welford's (1962), which does not cancel where the mean is large.
#[derive(Clone, Copy, Debug, Default)]
struct Deviation {
    /// Σ (output − target)².
    residual: f64,
    mean: f64,
    /// Σ (target − mean)².
    spread: f64,
}

impl Deviation {
    /// Takes in the `count`-th sample.
    fn add(&mut self, output: f64, target: f64, count: f64) {
        self.residual += (output - target).powi(2);
        let before = target - self.mean;
        self.mean += before / count;
        self.spread += before * (target - self.mean);
    }

    fn explained(&self) -> f64 {
        match (self.residual == 0.0, self.spread == 0.0) {
            (true, _) => 1.0,
            (false, true) => 0.0,
            (false, false) => 1.0 - self.residual / self.spread,
        }
    }
}

impl Metric for R2 {
    fn name(&self) -> &str {
        "r2"
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let num_values: usize = outputs.dims().iter().skip(1).product();
        if outputs.rank() == 0 || num_values == 0 {
            return Err(Error::invalid("outputs", "shape (batch, …)", format!("{:?}", outputs.dims())));
        }
        if !self.values.is_empty() && self.values.len() != num_values {
            let expected = format!("{} values a sample, as in the batches before", self.values.len());
            return Err(Error::invalid("outputs", expected, num_values));
        }
        let (outputs, targets) = read_values(outputs, targets)?;
        self.values.resize(num_values, Deviation::default());
        for (outputs, targets) in outputs.chunks_exact(num_values).zip(targets.chunks_exact(num_values)) {
            self.samples += 1;
            for ((value, output), target) in self.values.iter_mut().zip(outputs).zip(targets) {
                value.add(*output, *target, self.samples as f64);
            }
        }
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        match self.samples {
            0 => Err(nothing_taken_in(self.name())),
            1 => Err(Error::invalid("metric `r2`", "at least two samples", 1)),
            _ => Ok(self.values.iter().map(Deviation::explained).sum::<f64>() / self.values.len() as f64),
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
