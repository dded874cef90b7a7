//! Max pooling.

use candle_core::Tensor;
use glassbox_core::fusion::Follower;
use glassbox_core::{Layer, Pass, Result};
use glassbox_kernels::pool::{Pool1dParams, Pool2dParams, max_pool1d, max_pool2d};

use crate::Pair;

/// The largest element of each window of an image, as PyTorch's `nn.MaxPool2d` (without dilation). Among equal maxima the
/// first gets the gradient; padding never wins.
///
/// # Shapes
/// (batch, channels, height, width) to (batch, channels, height', width') with `height' = (height + 2 · padding −
/// kernel_size) / stride + 1`, rounded down (up with [`ceil_mode`](Self::ceil_mode)); likewise width'.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::MaxPool2d;
/// use glassbox_core::{Layer, Pass};
/// let images = Tensor::zeros((2, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let pool = MaxPool2d::new(3).stride(2).padding(1);
/// assert_eq!(pool.forward(&images, &Pass::eval())?.dims(), [2, 3, 4, 4]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d(Pool2dParams);

impl MaxPool2d {
    /// Windows of `kernel_size` side by side, without padding.
    pub fn new(kernel_size: impl Into<Pair>) -> Self {
        Self(Pool2dParams::new(kernel_size.into().array()))
    }

    /// The same with windows `stride` apart, at least 1. Default: kernel_size.
    pub fn stride(self, stride: impl Into<Pair>) -> Self {
        Self(Pool2dParams { stride: stride.into().array(), ..self.0 })
    }

    /// The same with `padding` on each side, at most half the kernel. Default 0.
    pub fn padding(self, padding: impl Into<Pair>) -> Self {
        Self(Pool2dParams { padding: padding.into().array(), ..self.0 })
    }

    /// The same, where a last window that reaches beyond the input counts too. Default: it does not.
    pub fn ceil_mode(self) -> Self {
        Self(Pool2dParams { ceil_mode: true, ..self.0 })
    }
}

impl Layer for MaxPool2d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(max_pool2d(xs, &self.0)?)
    }

    fn follower(&self) -> Option<Follower<'_>> {
        Some(Follower::MaxPool(self.0))
    }
}

/// The largest element of each window of a sequence, as PyTorch's `nn.MaxPool1d` (without dilation); see [`MaxPool2d`].
///
/// # Shapes
/// (batch, channels, length) to (batch, channels, length').
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_cnn::MaxPool1d;
/// use glassbox_core::{Layer, Pass};
/// let xs = Tensor::new(&[[[1f32, 4.0, 2.0, 3.0]]], &Device::Cpu)?;
/// let ys = MaxPool1d::new(2).forward(&xs, &Pass::eval())?;
/// assert_eq!(ys.to_vec3::<f32>()?, [[[4.0, 3.0]]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MaxPool1d(Pool1dParams);

impl MaxPool1d {
    /// Windows of `kernel_size` side by side, without padding.
    pub fn new(kernel_size: usize) -> Self {
        Self(Pool1dParams::new(kernel_size))
    }

    /// The same with windows `stride` apart, at least 1. Default: kernel_size.
    pub fn stride(self, stride: usize) -> Self {
        Self(Pool1dParams { stride, ..self.0 })
    }

    /// The same with `padding` on each side, at most half the kernel. Default 0.
    pub fn padding(self, padding: usize) -> Self {
        Self(Pool1dParams { padding, ..self.0 })
    }

    /// The same, where a last window that reaches beyond the input counts too. Default: it does not.
    pub fn ceil_mode(self) -> Self {
        Self(Pool1dParams { ceil_mode: true, ..self.0 })
    }
}

impl Layer for MaxPool1d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(max_pool1d(xs, &self.0)?)
    }
}
