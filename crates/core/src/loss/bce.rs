//! Binary cross-entropy.

use candle_core::Tensor;
use glassbox_kernels::loss::bce_with_logits;

use super::{Loss, Reduction, expect_targets, targets_like};
use crate::Result;

/// Binary cross-entropy of logits: −(p y ln σ(x) + (1 − y) ln(1 − σ(x))), p the weight of positive targets, as PyTorch's
/// `nn.BCEWithLogitsLoss`. Finite with the right gradient however large a logit is.
///
/// # Shapes
/// Logits of any shape; targets of the same, in [0, 1], of the same type or whole numbers. Without a reduction the loss
/// has that shape too.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::BceWithLogits};
/// let logits = Tensor::new(&[0f32, -1e4], &Device::Cpu)?;
/// let loss = BceWithLogits::default().forward(&logits, &Tensor::new(&[1u32, 1], &Device::Cpu)?)?;
/// assert!((loss.to_scalar::<f32>()? - 5000.35).abs() < 0.01);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BceWithLogits {
    pos_weight: Option<Tensor>,
    pub(super) reduction: Reduction,
}

impl BceWithLogits {
    /// Weighs positive targets: a tensor that broadcasts to the logits. The number of negative samples by that of positive
    /// ones balances them.
    pub fn pos_weight(self, pos_weight: Tensor) -> Self {
        Self { pos_weight: Some(pos_weight), ..self }
    }
}

impl Loss for BceWithLogits {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let targets = targets_like(outputs, targets)?;
        expect_targets(&targets, "values in [0, 1]", |target| (0.0..=1.0).contains(&target))?;
        Ok(bce_with_logits(outputs, &targets, self.pos_weight.as_ref(), self.reduction)?)
    }
}
