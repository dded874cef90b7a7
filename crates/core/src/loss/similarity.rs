//! Losses of two or three embeddings, which are no [`Loss`](super::Loss): they compare outputs with each other.

use candle_core::Tensor;
use glassbox_kernels::reduce::sum;

use super::{Reduction, expect_shape, hinge::signs, positive_part, reduce};
use crate::{Error, Result};

/// Triplet margin loss: max(0, ‖anchor − positive‖ − ‖anchor − negative‖ + margin), as PyTorch's `nn.TripletMarginLoss`
/// with p = 2 (Balntas et al. 2016; Schroff et al. 2015, arXiv 1503.03832, with squared distances). As in PyTorch, 1e-6 is
/// added to every difference, so that equal embeddings have a gradient.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::loss::TripletMargin;
/// let at = |x: f32| Tensor::new(&[[x, 0.0]], &Device::Cpu);
/// let loss = TripletMargin::default().margin(2.0).forward(&at(0.0)?, &at(1.0)?, &at(2.0)?)?;
/// assert!((loss.to_scalar::<f32>()? - 1.0).abs() < 1e-5);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TripletMargin {
    margin: f64,
    pub(super) reduction: Reduction,
}

impl Default for TripletMargin {
    /// PyTorch's margin of 1.
    fn default() -> Self {
        Self { margin: 1.0, reduction: Reduction::Mean }
    }
}

impl TripletMargin {
    /// How much farther the negative should be than the positive, above 0.
    pub fn margin(self, margin: f64) -> Self {
        Self { margin, ..self }
    }

    /// The loss of embeddings.
    ///
    /// # Shapes
    /// All three (batch, features); without a reduction the loss is (batch).
    ///
    /// # Errors
    /// Shapes that differ or have no dimension; a margin that is not above 0.
    pub fn forward(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
        super::expect_positive("margin", self.margin)?;
        expect_vectors("anchor", anchor)?;
        expect_shape("positive", positive, anchor.dims())?;
        expect_shape("negative", negative, anchor.dims())?;
        let excess = (distance(anchor, positive)? - distance(anchor, negative)?)?;
        reduce(&positive_part(&(excess + self.margin)?)?, self.reduction)
    }
}

/// Euclidean distance along the last dimension.
fn distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let difference = ((a - b)? + 1e-6)?;
    Ok(sum_last(&difference.sqr()?)?.sqrt()?)
}

/// Cosine embedding loss: 1 − cos where the target is 1, max(0, cos − margin) where it is −1, as PyTorch's
/// `nn.CosineEmbeddingLoss`. As in PyTorch, 1e-12 is added to the squared lengths.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::loss::CosineEmbedding;
/// let (a, b) = (Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?, Tensor::new(&[[1f32, 0.0]], &Device::Cpu)?);
/// let loss = CosineEmbedding::default().forward(&a, &b, &Tensor::new(&[1i64], &Device::Cpu)?)?;
/// assert!((loss.to_scalar::<f32>()? - 0.4).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CosineEmbedding {
    margin: f64,
    pub(super) reduction: Reduction,
}

impl CosineEmbedding {
    /// Cosine up to which a pair with target −1 costs nothing, in [−1, 1]; 0 by default.
    pub fn margin(self, margin: f64) -> Self {
        Self { margin, ..self }
    }

    /// The loss of pairs of embeddings.
    ///
    /// # Shapes
    /// `x1` and `x2` (batch, features); `targets` (batch), −1 or 1, of the embeddings' type or whole numbers. Without a
    /// reduction the loss is (batch).
    ///
    /// # Errors
    /// Shapes that do not fit, other targets, a margin outside [−1, 1].
    pub fn forward(&self, x1: &Tensor, x2: &Tensor, targets: &Tensor) -> Result<Tensor> {
        if !(-1.0..=1.0).contains(&self.margin) {
            return Err(Error::invalid("margin", "a cosine in [-1, 1]", self.margin));
        }
        expect_vectors("x1", x1)?;
        expect_shape("x2", x2, x1.dims())?;
        let cosine = (sum_last(&(x1 * x2)?)? / (length(x1)? * length(x2)?)?)?;
        let similar = signs(&cosine, targets)?.gt(0.0)?;
        let apart = positive_part(&(&cosine - self.margin)?)?;
        reduce(&similar.where_cond(&cosine.affine(-1.0, 1.0)?, &apart)?, self.reduction)
    }
}

fn length(xs: &Tensor) -> Result<Tensor> {
    Ok((sum_last(&xs.sqr()?)? + 1e-12)?.sqrt()?)
}

fn sum_last(xs: &Tensor) -> Result<Tensor> {
    Ok(sum(xs, xs.rank().saturating_sub(1))?)
}

fn expect_vectors(what: &str, tensor: &Tensor) -> Result<()> {
    if tensor.rank() > 0 { Ok(()) } else { Err(Error::invalid(what, "embeddings (batch, features)", "a scalar")) }
}
