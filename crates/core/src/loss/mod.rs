//! Outputs and targets to a scalar.

mod bce;
mod cross_entropy;
mod focal;
mod hinge;
mod kl;
mod quantile;
mod regression;
mod similarity;

use candle_core::{DType, Tensor};
use glassbox_kernels::reduce::{find, mean_all, sum_all};

pub use bce::BceWithLogits;
pub use cross_entropy::CrossEntropy;
pub use focal::{BinaryFocal, Focal};
pub use glassbox_kernels::loss::Reduction;
pub use hinge::{Hinge, HingeEmbedding};
pub use kl::KlDiv;
pub use quantile::Quantile;
pub use regression::{Huber, L1, Mse, SmoothL1};
pub use similarity::{CosineEmbedding, TripletMargin};

use crate::{Error, Result};

/// What training makes small.
pub trait Loss: Send + Sync {
    /// The loss of `outputs` against `targets`: a scalar, unless the loss was told not to reduce.
    ///
    /// # Errors
    /// Shapes or types that do not suit the loss.
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor>;
}

/// Reduces unweighted `losses`.
fn reduce(losses: &Tensor, reduction: Reduction) -> Result<Tensor> {
    Ok(match reduction {
        Reduction::Mean => mean_all(losses)?,
        Reduction::Sum => sum_all(losses)?,
        Reduction::None => losses.clone(),
    })
}

/// The method that every loss has.
macro_rules! with_reduction {
    ($($loss:ty),*) => {$(
        impl $loss {
            /// Reduces in this way; by [`Reduction::Mean`] unless told otherwise.
            pub fn reduction(mut self, reduction: Reduction) -> Self {
                self.reduction = reduction;
                self
            }
        }
    )*};
}
with_reduction!(BceWithLogits, CrossEntropy, BinaryFocal, Focal, Hinge, HingeEmbedding, KlDiv);
with_reduction!(Huber, L1, Mse, Quantile, SmoothL1, CosineEmbedding, TripletMargin);

/// `targets` in the type of `outputs`, whose shape they must have. Whole numbers are converted; another float type is an
/// error, since one of the two is then not what was meant.
fn targets_like(outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
    expect_shape("targets", targets, outputs.dims())?;
    match targets.dtype() {
        dtype if dtype == outputs.dtype() => Ok(targets.clone()),
        DType::U8 | DType::U32 | DType::I64 => Ok(targets.to_dtype(outputs.dtype())?),
        dtype => Err(Error::invalid("targets", format!("type {:?}", outputs.dtype()), format!("{dtype:?}"))),
    }
}

fn expect_shape(what: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.dims() == expected {
        return Ok(());
    }
    Err(Error::invalid(what, format!("shape {expected:?}"), format!("{:?}", tensor.dims())))
}

/// Fails where a target is not `allowed`.
fn expect_targets(targets: &Tensor, expected: &str, allowed: impl Fn(f64) -> bool + Sync) -> Result<()> {
    match find(targets, |target| !allowed(target))? {
        Some(target) => Err(Error::invalid("targets", expected, target)),
        None => Ok(()),
    }
}

/// Fails where a loss's parameter is not a number above 0.
fn expect_positive(what: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err(Error::invalid(what, "a number above 0", value)) }
}

/// `xs` where it is above 0, else 0, with gradient 0 there.
fn positive_part(xs: &Tensor) -> Result<Tensor> {
    Ok(glassbox_kernels::activation::activation(xs, crate::Activation::Relu)?)
}

/// Fails unless these are logits (…, classes) and classes (…); gives the number of classes.
fn expect_classes(logits: &Tensor, targets: &Tensor) -> Result<usize> {
    let Some((&classes, leading)) = logits.dims().split_last().filter(|(_, leading)| !leading.is_empty()) else {
        return Err(Error::invalid("outputs", "logits (batch, …, classes)", format!("{:?}", logits.dims())));
    };
    expect_shape("targets", targets, leading)?;
    if !matches!(targets.dtype(), DType::U32 | DType::I64) {
        return Err(Error::invalid("targets", "classes of type u32 or i64", format!("{:?}", targets.dtype())));
    }
    Ok(classes)
}
