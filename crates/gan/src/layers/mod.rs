//! Layers of adversarial networks.

mod attention;
mod cond_batch_norm;
mod dropout;
mod gumbel;
mod minibatch_std;
mod noise;
mod pixel_norm;
mod projection;
mod scaled;

pub use attention::SelfAttention;
pub use cond_batch_norm::ConditionalBatchNorm2d;
pub use dropout::CriticDropout;
pub use gumbel::GumbelSoftmax;
pub(crate) use gumbel::one_hot;
pub use minibatch_std::MinibatchStd;
pub use noise::NoiseInjection;
pub use pixel_norm::PixelNorm;
pub use projection::ProjectionHead;
pub use scaled::{ScaledConv2d, ScaledLinear, WeightScale};

use candle_core::{DType, Tensor};
use glassbox_core::{Error, Result};

/// The classes of a batch of `batch` samples, which `who` needs.
pub(crate) fn expect_labels<'a>(who: &str, labels: Option<&'a Tensor>, batch: usize) -> Result<&'a Tensor> {
    let expected = format!("the classes of {batch} samples, u32");
    let labels = labels.ok_or_else(|| Error::invalid(who, &expected, "no condition"))?;
    if labels.dims() != [batch] || !matches!(labels.dtype(), DType::U32 | DType::I64) {
        return Err(Error::invalid(who, expected, format!("{:?} {:?}", labels.dims(), labels.dtype())));
    }
    Ok(labels)
}

/// Fails where a number of something is 0.
pub(crate) fn expect_count(what: &str, count: usize) -> Result<()> {
    if count > 0 { Ok(()) } else { Err(Error::invalid(what, "1 or more", count)) }
}
