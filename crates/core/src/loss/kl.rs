//! Divergence of distributions.

use candle_core::Tensor;
use glassbox_kernels::reduce::sum_all;

use super::{Loss, Reduction, expect_targets, reduce, targets_like};
use crate::Result;

/// Below every probability that matters, and its logarithm is finite.
const TINY: f64 = 1e-30;

/// Kullback-Leibler divergence of the outputs from the targets: Σ p (ln p − x), with target probabilities p and outputs x
/// that are **log-probabilities**, as PyTorch's `nn.KLDivLoss` (Kullback and Leibler 1951). An element with p = 0 counts 0.
///
/// # Shapes
/// Outputs (batch, …); targets of the same shape and type. Without a reduction the loss has that shape too.
///
/// # Differences from PyTorch
/// The mean divides by the batch size, which is the mean divergence; PyTorch calls that `batchmean`, and its own `mean`
/// divides by the number of elements, which is no divergence.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::KlDiv};
/// let outputs = Tensor::new(&[[0.5f32, 0.5]], &Device::Cpu)?.log()?;
/// let targets = Tensor::new(&[[1f32, 0.0]], &Device::Cpu)?;
/// assert!((KlDiv::default().forward(&outputs, &targets)?.to_scalar::<f32>()? - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KlDiv {
    log_target: bool,
    pub(super) reduction: Reduction,
}

impl KlDiv {
    /// The targets are log-probabilities too.
    pub fn log_target(self) -> Self {
        Self { log_target: true, ..self }
    }
}

impl Loss for KlDiv {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let targets = targets_like(outputs, targets)?;
        let (p, log_p) = if self.log_target {
            (targets.exp()?, targets)
        } else {
            expect_targets(&targets, "probabilities, 0 or more", |target| target >= 0.0)?;
            let log_p = targets.maximum(TINY)?.log()?;
            (targets, log_p)
        };
        let losses = (p * (log_p - outputs)?)?;
        match self.reduction {
            Reduction::Mean => {
                let batch = outputs.dims().first().copied().unwrap_or(1);
                Ok((sum_all(&losses)? / batch.max(1) as f64)?)
            }
            other => reduce(&losses, other),
        }
    }
}
