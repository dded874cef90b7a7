//! Layers that move values about or add them up.

use candle_core::Tensor;
use glassbox_core::{Flatten, Layer, Pass, Result, TensorExt};
use glassbox_kernels::pool::{Pool2dParams, avg_pool2d};
use glassbox_kernels::upsample::upsample_nearest2d;

use super::{InputGradient, Pullback};

impl InputGradient for Flatten {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let shape = xs.shape().clone();
        Ok((self.forward(xs, pass)?, Box::new(move |g| Ok(g.reshape(&shape)?))))
    }
}

/// The mean of each 2 × 2 window of an image: half the size, the last row and column of an odd one left out.
///
/// # Shapes
/// (batch, channels, height, width) to (batch, channels, height / 2, width / 2), rounded down.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, Pass};
/// use glassbox_gan::HalveImage;
/// let image = Tensor::new(&[[[[1f32, 2.0], [3.0, 6.0]]]], &Device::Cpu)?;
/// assert_eq!(HalveImage.forward(&image, &Pass::eval())?.flatten_all()?.to_vec1::<f32>()?, [3.0]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HalveImage;

impl Layer for HalveImage {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        xs.expect_rank(4, "(batch, channels, height, width)")?;
        Ok(avg_pool2d(xs, &Pool2dParams::new([2, 2]), true)?)
    }
}

impl InputGradient for HalveImage {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let ys = self.forward(xs, pass)?;
        let (_, _, height, width) = xs.dims4()?;
        let pullback = move |g: &Tensor| {
            let (_, _, h, w) = g.dims4()?;
            let spread = (upsample_nearest2d(g, 2 * h, 2 * w)? * 0.25)?;
            Ok(spread.pad_with_zeros(2, 0, height - 2 * h)?.pad_with_zeros(3, 0, width - 2 * w)?)
        };
        Ok((ys, Box::new(pullback)))
    }
}

/// The sum of each channel over all positions: what the critic of SNGAN ends with (Miyato et al. 2018).
///
/// # Shapes
/// (batch, channels, …) to (batch, channels).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, Pass};
/// use glassbox_gan::SumPool;
/// let image = Tensor::new(&[[[[1f32, 2.0], [3.0, 6.0]]]], &Device::Cpu)?;
/// assert_eq!(SumPool.forward(&image, &Pass::eval())?.to_vec2::<f32>()?, [[12.0]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SumPool;

impl Layer for SumPool {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        let (batch, channels) = (xs.dim(0)?, xs.dim(1)?);
        let positions = xs.elem_count() / (batch * channels).max(1);
        Ok(glassbox_kernels::reduce::sum(&xs.reshape((batch, channels, positions))?, 2)?)
    }
}

impl InputGradient for SumPool {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let ys = self.forward(xs, pass)?;
        let shape = xs.shape().clone();
        let pullback = move |g: &Tensor| {
            let ones = vec![1; shape.rank() - 2];
            let kept = g.reshape([g.dims(), &ones].concat())?;
            Ok(kept.broadcast_as(&shape)?.contiguous()?)
        };
        Ok((ys, Box::new(pullback)))
    }
}
