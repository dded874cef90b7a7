//! Features of length one.

use candle_core::Tensor;
use glassbox_core::{Error, Layer, Pass, Result};

/// Pixel normalisation (Karras et al. 2017, arXiv 1710.10196): y = x / √(mean_c x² + 1e-8), the mean over the channels of a
/// position.
///
/// # Shapes
/// (batch, channels, …) to the same.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, Pass};
/// use glassbox_gan::PixelNorm;
/// let ys = PixelNorm.forward(&Tensor::new(&[[1f32, 7.0]], &Device::Cpu)?, &Pass::eval())?.to_vec2::<f32>()?;
/// assert!((ys[0][0] - 0.2).abs() < 1e-6 && (ys[0][1] - 1.4).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PixelNorm;

impl Layer for PixelNorm {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        if xs.rank() < 2 {
            return Err(Error::invalid("input", "(batch, channels, …)", format!("{:?}", xs.dims())));
        }
        Ok(xs.broadcast_div(&(xs.sqr()?.mean_keepdim(1)? + 1e-8)?.sqrt()?)?)
    }
}
