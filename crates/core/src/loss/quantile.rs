//! The loss whose minimum is a quantile.

use candle_core::Tensor;

use super::{Loss, Reduction, expect_shape, reduce};
use crate::{Error, Result};

/// Pinball loss, whose minimum is a quantile (Koenker and Bassett 1978): for the level q and d = target − output,
/// q · d where d is above 0, else (q − 1) · d. At d = 0 the gradient is ½ − q, the middle of the two sides.
///
/// With levels 0.05, 0.5 and 0.95 the outputs are the ends of a prediction interval that holds 90 % of the targets, and
/// between them the median. At 0.5 it is half of [`L1`](super::L1). PyTorch has no such loss.
///
/// # Shapes
/// Outputs (…, num_levels), in the order of the levels; targets (…), of the same type. Without a reduction the loss has
/// the outputs' shape.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::Quantile};
/// let outputs = Tensor::new(&[[1f64, 1.0]], &Device::Cpu)?;
/// let targets = Tensor::new(&[3f64], &Device::Cpu)?;
/// let loss = Quantile::new(&[0.1, 0.9])?.forward(&outputs, &targets)?;
/// assert!((loss.to_scalar::<f64>()? - (0.1 * 2.0 + 0.9 * 2.0) / 2.0).abs() < 1e-12);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Quantile {
    levels: Vec<f64>,
    pub(super) reduction: Reduction,
}

impl Quantile {
    /// The loss of quantiles at these levels, each above 0 and below 1, in ascending order.
    ///
    /// # Errors
    /// No level, one out of range, or levels out of order.
    pub fn new(levels: &[f64]) -> Result<Self> {
        let inside = levels.iter().all(|&level| level > 0.0 && level < 1.0);
        if levels.is_empty() || !inside || !levels.is_sorted_by(|a, b| a < b) {
            let expected = "at least one number above 0 and below 1, in ascending order";
            return Err(Error::invalid("levels of the quantiles", expected, format!("{levels:?}")));
        }
        Ok(Self { levels: levels.to_vec(), reduction: Reduction::Mean })
    }

    /// The levels.
    pub fn levels(&self) -> &[f64] {
        &self.levels
    }
}

impl Loss for Quantile {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let Some((_, leading)) = outputs.dims().split_last().filter(|(last, _)| **last == self.levels.len()) else {
            let expected = format!("shape (…, {}), one value for each level", self.levels.len());
            return Err(Error::invalid("outputs", expected, format!("{:?}", outputs.dims())));
        };
        expect_shape("targets", targets, leading)?;
        if targets.dtype() != outputs.dtype() {
            let (expected, got) = (format!("type {:?}", outputs.dtype()), format!("{:?}", targets.dtype()));
            return Err(Error::invalid("targets", expected, got));
        }
        // d (sign d + 2 q − 1) / 2: both sides in one formula, in which the sign is a constant.
        let distance = targets.unsqueeze(targets.rank())?.broadcast_sub(outputs)?;
        let tilt: Vec<f64> = self.levels.iter().map(|q| q - 0.5).collect();
        let tilt = Tensor::from_vec(tilt, self.levels.len(), outputs.device())?.to_dtype(outputs.dtype())?;
        let slope = (distance.detach().sign()? * 0.5)?.broadcast_add(&tilt)?;
        reduce(&(distance * slope)?, self.reduction)
    }
}
