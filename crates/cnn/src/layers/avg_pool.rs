//! Average pooling: by windows, to a given size, and of whole images.

use candle_core::Tensor;
use glassbox_core::{Layer, Pass, Result};
use glassbox_kernels::pool::{self, Pool1dParams, Pool2dParams};

use crate::Pair;

/// The mean of each window of an image, as PyTorch's `nn.AvgPool2d` (without `divisor_override`).
///
/// # Shapes
/// (batch, channels, height, width) to (batch, channels, height', width') with `height' = (height + 2 · padding −
/// kernel_size) / stride + 1`, rounded down (up with [`ceil_mode`](Self::ceil_mode)); likewise width'.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_cnn::AvgPool2d;
/// use glassbox_core::{Layer, Pass};
/// let image = Tensor::new(&[[[[1f32, 2.0], [3.0, 6.0]]]], &Device::Cpu)?;
/// let mean = AvgPool2d::new(2).forward(&image, &Pass::eval())?;
/// assert_eq!(mean.flatten_all()?.to_vec1::<f32>()?, [3.0]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d {
    params: Pool2dParams,
    count_include_pad: bool,
}

impl AvgPool2d {
    /// Windows of `kernel_size` side by side, without padding.
    pub fn new(kernel_size: impl Into<Pair>) -> Self {
        Self { params: Pool2dParams::new(kernel_size.into().array()), count_include_pad: true }
    }

    /// The same with windows `stride` apart, at least 1. Default: kernel_size.
    pub fn stride(self, stride: impl Into<Pair>) -> Self {
        Self { params: Pool2dParams { stride: stride.into().array(), ..self.params }, ..self }
    }

    /// The same with `padding` zeros on each side, at most half the kernel. Default 0.
    pub fn padding(self, padding: impl Into<Pair>) -> Self {
        Self { params: Pool2dParams { padding: padding.into().array(), ..self.params }, ..self }
    }

    /// The same, where a last window that reaches beyond the input counts too. Default: it does not.
    pub fn ceil_mode(self) -> Self {
        Self { params: Pool2dParams { ceil_mode: true, ..self.params }, ..self }
    }

    /// Whether the zeros of the padding count as elements of a window. Default true.
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }
}

impl Layer for AvgPool2d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(pool::avg_pool2d(xs, &self.params, self.count_include_pad)?)
    }
}

/// The mean of each window of a sequence, as PyTorch's `nn.AvgPool1d`; see [`AvgPool2d`].
///
/// # Shapes
/// (batch, channels, length) to (batch, channels, length').
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_cnn::AvgPool1d;
/// use glassbox_core::{Layer, Pass};
/// let xs = Tensor::new(&[[[1f32, 4.0, 2.0, 3.0]]], &Device::Cpu)?;
/// let ys = AvgPool1d::new(2).stride(1).forward(&xs, &Pass::eval())?;
/// assert_eq!(ys.to_vec3::<f32>()?, [[[2.5, 3.0, 2.5]]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AvgPool1d {
    params: Pool1dParams,
    count_include_pad: bool,
}

impl AvgPool1d {
    /// Windows of `kernel_size` side by side, without padding.
    pub fn new(kernel_size: usize) -> Self {
        Self { params: Pool1dParams::new(kernel_size), count_include_pad: true }
    }

    /// The same with windows `stride` apart, at least 1. Default: kernel_size.
    pub fn stride(self, stride: usize) -> Self {
        Self { params: Pool1dParams { stride, ..self.params }, ..self }
    }

    /// The same with `padding` zeros on each side, at most half the kernel. Default 0.
    pub fn padding(self, padding: usize) -> Self {
        Self { params: Pool1dParams { padding, ..self.params }, ..self }
    }

    /// The same, where a last window that reaches beyond the input counts too. Default: it does not.
    pub fn ceil_mode(self) -> Self {
        Self { params: Pool1dParams { ceil_mode: true, ..self.params }, ..self }
    }

    /// Whether the zeros of the padding count as elements of a window. Default true.
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }
}

impl Layer for AvgPool1d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(pool::avg_pool1d(xs, &self.params, self.count_include_pad)?)
    }
}

/// Averages images of any size to a given size, as PyTorch's `nn.AdaptiveAvgPool2d`: row i of n is the mean of the rows
/// `floor(i · height / n)` up to `ceil((i + 1) · height / n)`; likewise columns.
///
/// # Shapes
/// (batch, channels, height, width) to (batch, channels, output height, output width).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::AdaptiveAvgPool2d;
/// use glassbox_core::{Layer, Pass};
/// let images = Tensor::zeros((2, 3, 10, 7), DType::F32, &Device::Cpu)?;
/// assert_eq!(AdaptiveAvgPool2d::new(3).forward(&images, &Pass::eval())?.dims(), [2, 3, 3, 3]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool2d(Pair);

impl AdaptiveAvgPool2d {
    /// Pooling to `output_size`, at least 1.
    pub fn new(output_size: impl Into<Pair>) -> Self {
        Self(output_size.into())
    }
}

impl Layer for AdaptiveAvgPool2d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        match *xs.dims() {
            // The mean of single elements: nothing to compute.
            [_, _, height, width] if self.0 == (Pair { height, width }) => Ok(xs.clone()),
            _ => Ok(pool::adaptive_avg_pool2d(xs, self.0.array())?),
        }
    }
}

/// Averages sequences of any length to a given length, as PyTorch's `nn.AdaptiveAvgPool1d`; see [`AdaptiveAvgPool2d`].
///
/// # Shapes
/// (batch, channels, length) to (batch, channels, output length).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_cnn::AdaptiveAvgPool1d;
/// use glassbox_core::{Layer, Pass};
/// let xs = Tensor::new(&[[[1f32, 2.0, 6.0]]], &Device::Cpu)?;
/// let ys = AdaptiveAvgPool1d::new(2).forward(&xs, &Pass::eval())?;
/// assert_eq!(ys.to_vec3::<f32>()?, [[[1.5, 4.0]]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool1d(usize);

impl AdaptiveAvgPool1d {
    /// Pooling to `output_size`, at least 1.
    pub fn new(output_size: usize) -> Self {
        Self(output_size)
    }
}

impl Layer for AdaptiveAvgPool1d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(pool::adaptive_avg_pool1d(xs, self.0)?)
    }
}

/// The mean of each channel over the whole image, flattened: PyTorch's `nn.AdaptiveAvgPool2d(1)` and `nn.Flatten()`.
///
/// # Shapes
/// (batch, channels, height, width) to (batch, channels).
///
/// # References
/// Lin et al. 2013, arXiv 1312.4400.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::GlobalAvgPool;
/// use glassbox_core::{Layer, Pass};
/// let images = Tensor::ones((2, 3, 10, 7), DType::F32, &Device::Cpu)?;
/// assert_eq!(GlobalAvgPool.forward(&images, &Pass::eval())?.dims(), [2, 3]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalAvgPool;

impl Layer for GlobalAvgPool {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(pool::global_avg_pool2d(xs)?)
    }
}
