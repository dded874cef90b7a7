//! Cross-entropy that counts what is already right less.

use candle_core::Tensor;
use glassbox_kernels::activation::activation;
use glassbox_kernels::index::index_select;
use glassbox_kernels::loss::cross_entropy;

use super::{Loss, Reduction, expect_classes, expect_shape, expect_targets, reduce, targets_like};
use crate::{Activation, Error, Result};

/// PyTorch's vision package and the paper both take 2.
const GAMMA: f64 = 2.0;
/// 1 − p is kept above it: a power of 0 has no finite gradient.
const TINY: f64 = 1e-30;

fn expect_gamma(gamma: f64) -> Result<()> {
    if gamma >= 0.0 && gamma.is_finite() { Ok(()) } else { Err(Error::invalid("gamma", "0 or more", gamma)) }
}

/// Focal loss of logits with classes: −alpha_y (1 − p_y)^gamma ln p_y, p the softmax of the logits and y the class
/// (Lin et al. 2017, arXiv 1708.02002). With gamma 0 it is cross-entropy. The mean divides by the number of targets,
/// whatever alpha is. PyTorch has no such loss.
///
/// # Shapes
/// Logits (batch, …, classes); targets (batch, …) of type u32 or i64; without a reduction the loss has the targets' shape.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::Focal};
/// let logits = Tensor::new(&[[0f32, 0.0]], &Device::Cpu)?;
/// let loss = Focal::default().forward(&logits, &Tensor::new(&[1u32], &Device::Cpu)?)?;
/// assert!((loss.to_scalar::<f32>()? - 0.25 * 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Focal {
    gamma: f64,
    alpha: Option<Tensor>,
    pub(super) reduction: Reduction,
}

impl Default for Focal {
    /// Gamma 2, no class weights.
    fn default() -> Self {
        Self { gamma: GAMMA, alpha: None, reduction: Reduction::Mean }
    }
}

impl Focal {
    /// How much less what is right counts: 0 or more.
    pub fn gamma(self, gamma: f64) -> Self {
        Self { gamma, ..self }
    }

    /// Weighs each class: (classes), of a float type.
    pub fn alpha(self, alpha: Tensor) -> Self {
        Self { alpha: Some(alpha), ..self }
    }
}

impl Loss for Focal {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        expect_gamma(self.gamma)?;
        let classes = expect_classes(outputs, targets)?;
        let surprise = cross_entropy(outputs, targets, None, 0.0, None, Reduction::None)?;
        let wrong = surprise.neg()?.exp()?.affine(-1.0, 1.0)?.maximum(TINY)?;
        let mut losses = (surprise * wrong.powf(self.gamma)?)?;
        if let Some(alpha) = &self.alpha {
            expect_shape("alpha", alpha, &[classes])?;
            let alpha = index_select(&alpha.to_dtype(outputs.dtype())?, &targets.flatten_all()?, 0)?;
            losses = (losses * alpha.reshape(targets.shape())?)?;
        }
        reduce(&losses, self.reduction)
    }
}

/// Focal loss of logits with labels 0 and 1: −alpha_y (1 − p_y)^gamma ln p_y, p_1 = σ(x), p_0 = 1 − p_1, alpha_1 = alpha,
/// alpha_0 = 1 − alpha, as torchvision's `sigmoid_focal_loss` (Lin et al. 2017, arXiv 1708.02002).
///
/// # Shapes
/// Logits of any shape; labels of the same, of the same type or whole numbers. Without a reduction the loss has that shape
/// too.
///
/// # Differences from torchvision
/// Labels between 0 and 1 are refused.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::BinaryFocal};
/// let (logits, labels) = (Tensor::new(&[0f32, 0.0], &Device::Cpu)?, Tensor::new(&[0u32, 1], &Device::Cpu)?);
/// let loss = BinaryFocal::default().no_alpha().forward(&logits, &labels)?;
/// assert!((loss.to_scalar::<f32>()? - 0.25 * 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryFocal {
    gamma: f64,
    alpha: Option<f64>,
    pub(super) reduction: Reduction,
}

impl Default for BinaryFocal {
    /// The paper's gamma 2 and alpha 0.25.
    fn default() -> Self {
        Self { gamma: GAMMA, alpha: Some(0.25), reduction: Reduction::Mean }
    }
}

impl BinaryFocal {
    /// How much less what is right counts: 0 or more.
    pub fn gamma(self, gamma: f64) -> Self {
        Self { gamma, ..self }
    }

    /// The weight of label 1, in [0, 1]; that of label 0 is 1 − alpha.
    pub fn alpha(self, alpha: f64) -> Self {
        Self { alpha: Some(alpha), ..self }
    }

    /// Both labels weigh 1.
    pub fn no_alpha(self) -> Self {
        Self { alpha: None, ..self }
    }
}

impl Loss for BinaryFocal {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        expect_gamma(self.gamma)?;
        let labels = targets_like(outputs, targets)?;
        expect_targets(&labels, "labels 0 or 1", |label| label == 0.0 || label == 1.0)?;
        // The logit of the right label.
        let logits = (outputs * labels.affine(2.0, -1.0)?)?;
        let right = activation(&logits, Activation::LogSigmoid)?;
        let wrong = activation(&logits.neg()?, Activation::LogSigmoid)?;
        let mut losses = (right.neg()? * (wrong * self.gamma)?.exp()?)?;
        if let Some(alpha) = self.alpha {
            if !(0.0..=1.0).contains(&alpha) {
                return Err(Error::invalid("alpha", "a weight in [0, 1]", alpha));
            }
            losses = (losses * labels.affine(2.0 * alpha - 1.0, 1.0 - alpha)?)?;
        }
        reduce(&losses, self.reduction)
    }
}
