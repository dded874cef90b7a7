//! Losses with a margin, for labels −1 and 1.

use candle_core::Tensor;

use super::{Loss, Reduction, expect_targets, positive_part, reduce, targets_like};
use crate::Result;

/// Hinge loss of scores: max(0, 1 − y x), y the label −1 or 1 (Cortes and Vapnik 1995). PyTorch has no such loss.
///
/// # Shapes
/// Scores of any shape; labels of the same, of the same type or whole numbers. Without a reduction the loss has that shape
/// too.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::Hinge};
/// let (scores, labels) = (Tensor::new(&[0.5f32, 3.0], &Device::Cpu)?, Tensor::new(&[-1i64, 1], &Device::Cpu)?);
/// assert_eq!(Hinge::default().forward(&scores, &labels)?.to_scalar::<f32>()?, 0.75);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hinge {
    pub(super) reduction: Reduction,
}

impl Loss for Hinge {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let labels = signs(outputs, targets)?;
        reduce(&positive_part(&(labels * outputs)?.affine(-1.0, 1.0)?)?, self.reduction)
    }
}

/// Hinge loss of distances: x where the label is 1, max(0, margin − x) where it is −1, as PyTorch's
/// `nn.HingeEmbeddingLoss`.
///
/// # Shapes
/// Distances of any shape; labels of the same, of the same type or whole numbers. Without a reduction the loss has that
/// shape too.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::HingeEmbedding};
/// let (distances, labels) = (Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?, Tensor::new(&[-1i64, 1], &Device::Cpu)?);
/// assert_eq!(HingeEmbedding::default().margin(2.0).forward(&distances, &labels)?.to_scalar::<f32>()?, 1.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HingeEmbedding {
    margin: f64,
    pub(super) reduction: Reduction,
}

impl Default for HingeEmbedding {
    /// PyTorch's margin of 1.
    fn default() -> Self {
        Self { margin: 1.0, reduction: Reduction::Mean }
    }
}

impl HingeEmbedding {
    /// How far apart a pair with label −1 should be.
    pub fn margin(self, margin: f64) -> Self {
        Self { margin, ..self }
    }
}

impl Loss for HingeEmbedding {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let similar = signs(outputs, targets)?.gt(0.0)?;
        let apart = positive_part(&outputs.affine(-1.0, self.margin)?)?;
        reduce(&similar.where_cond(outputs, &apart)?, self.reduction)
    }
}

/// The labels in the type of the outputs, all −1 or 1.
pub(super) fn signs(outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let labels = targets_like(outputs, targets)?;
    expect_targets(&labels, "labels -1 or 1", |label| label == 1.0 || label == -1.0)?;
    Ok(labels)
}
