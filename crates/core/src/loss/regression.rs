//! Losses of the difference d = output − target, element by element.

use candle_core::Tensor;

use super::{Loss, Reduction, expect_positive, reduce, targets_like};
use crate::Result;

/// Squared error: d², as PyTorch's `nn.MSELoss`.
///
/// # Shapes
/// Outputs of any shape; targets of the same, of the same type or whole numbers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::Mse};
/// let (xs, ys) = (Tensor::new(&[1f32, 5.0], &Device::Cpu)?, Tensor::new(&[1f32, 3.0], &Device::Cpu)?);
/// assert_eq!(Mse::default().forward(&xs, &ys)?.to_scalar::<f32>()?, 2.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mse {
    pub(super) reduction: Reduction,
}

impl Loss for Mse {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        reduce(&(outputs - targets_like(outputs, targets)?)?.sqr()?, self.reduction)
    }
}

/// Absolute error: |d|, as PyTorch's `nn.L1Loss`. Its gradient at d = 0 is 0.
///
/// # Shapes
/// Outputs of any shape; targets of the same, of the same type or whole numbers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::L1};
/// let (xs, ys) = (Tensor::new(&[1f32, 5.0], &Device::Cpu)?, Tensor::new(&[1f32, 3.0], &Device::Cpu)?);
/// assert_eq!(L1::default().forward(&xs, &ys)?.to_scalar::<f32>()?, 1.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct L1 {
    pub(super) reduction: Reduction,
}

impl Loss for L1 {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        reduce(&distance(outputs, targets)?, self.reduction)
    }
}

/// Squared error near 0, absolute error beyond: d² / 2 where |d| < delta, else delta (|d| − delta / 2), as PyTorch's
/// `nn.HuberLoss` (Huber 1964).
///
/// # Shapes
/// Outputs of any shape; targets of the same, of the same type or whole numbers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::Huber};
/// let (xs, ys) = (Tensor::new(&[1f32, 5.0], &Device::Cpu)?, Tensor::new(&[2f32, 2.0], &Device::Cpu)?);
/// assert_eq!(Huber::default().forward(&xs, &ys)?.to_scalar::<f32>()?, 1.5);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Huber {
    delta: f64,
    pub(super) reduction: Reduction,
}

impl Default for Huber {
    /// PyTorch's delta of 1.
    fn default() -> Self {
        Self { delta: 1.0, reduction: Reduction::Mean }
    }
}

impl Huber {
    /// Where the parabola ends, above 0.
    pub fn delta(self, delta: f64) -> Self {
        Self { delta, ..self }
    }
}

impl Loss for Huber {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        expect_positive("delta", self.delta)?;
        reduce(&huber(&distance(outputs, targets)?, self.delta)?, self.reduction)
    }
}

/// [`Huber`] divided by its delta, which is here called beta: d² / (2 beta) where |d| < beta, else |d| − beta / 2, as
/// PyTorch's `nn.SmoothL1Loss` (Girshick 2015, arXiv 1504.08083).
///
/// # Shapes
/// Outputs of any shape; targets of the same, of the same type or whole numbers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::SmoothL1};
/// let (xs, ys) = (Tensor::new(&[0f32, 5.0], &Device::Cpu)?, Tensor::new(&[2f32, 2.0], &Device::Cpu)?);
/// assert_eq!(SmoothL1::default().beta(2.0).forward(&xs, &ys)?.to_scalar::<f32>()?, 1.5);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothL1 {
    beta: f64,
    pub(super) reduction: Reduction,
}

impl Default for SmoothL1 {
    /// PyTorch's beta of 1.
    fn default() -> Self {
        Self { beta: 1.0, reduction: Reduction::Mean }
    }
}

impl SmoothL1 {
    /// Where the parabola ends, above 0. PyTorch also takes 0, which is [`L1`].
    pub fn beta(self, beta: f64) -> Self {
        Self { beta, ..self }
    }
}

impl Loss for SmoothL1 {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        expect_positive("beta", self.beta)?;
        reduce(&(huber(&distance(outputs, targets)?, self.beta)? / self.beta)?, self.reduction)
    }
}

/// |d|. Candle's own absolute value has gradient 1 at 0.
fn distance(outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let difference = (outputs - targets_like(outputs, targets)?)?;
    let sign = difference.detach().sign()?;
    Ok((difference * sign)?)
}

/// With c = min(|d|, delta) as a constant, c (|d| − c / 2) has the value and the gradient of both branches.
fn huber(distance: &Tensor, delta: f64) -> Result<Tensor> {
    let constant = distance.detach().minimum(delta)?;
    Ok((&constant * (distance - (&constant * 0.5)?)?)?)
}
