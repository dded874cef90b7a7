//! Outputs and targets to a scalar.

use candle_core::Tensor;

use crate::Result;

/// What training makes small.
pub trait Loss: Send + Sync {
    /// The loss of `outputs` against `targets`: a scalar, unless the loss was told not to reduce.
    ///
    /// # Errors
    /// Shapes or types that do not suit the loss.
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor>;
}

/// How the losses of the elements become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean (weighted, where the loss has weights).
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// They stay as they are.
    None,
}

impl Reduction {
    /// Reduces unweighted `losses`.
    pub(crate) fn apply(self, losses: Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Mean => losses.mean_all()?,
            Self::Sum => losses.sum_all()?,
            Self::None => losses,
        })
    }
}
