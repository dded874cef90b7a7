//! Pooling of volumes.

use candle_core::Tensor;
use glassbox_core::{Layer, Pass, Result};
use glassbox_kernels::pool::{self, Pool3dParams};

use crate::Triple;

/// The largest element of each window of a volume, as PyTorch's `nn.MaxPool3d` (without dilation). Among equal maxima the
/// first gets the gradient; padding never wins.
///
/// # Shapes
/// (batch, channels, depth, height, width) to (batch, channels, depth', height', width') with `depth' = (depth + 2 ·
/// padding − kernel_size) / stride + 1`, rounded down (up with [`ceil_mode`](Self::ceil_mode)); likewise height' and width'.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::MaxPool3d;
/// use glassbox_core::{Layer, Pass};
/// let clips = Tensor::zeros((2, 3, 4, 8, 8), DType::F32, &Device::Cpu)?;
/// let pool = MaxPool3d::new((1, 3, 3)).stride((1, 2, 2)).padding((0, 1, 1));
/// assert_eq!(pool.forward(&clips, &Pass::eval())?.dims(), [2, 3, 4, 4, 4]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MaxPool3d(Pool3dParams);

impl MaxPool3d {
    /// Windows of `kernel_size` side by side, without padding.
    pub fn new(kernel_size: impl Into<Triple>) -> Self {
        Self(Pool3dParams::new(kernel_size.into().array()))
    }

    /// The same with windows `stride` apart, at least 1. Default: kernel_size.
    pub fn stride(self, stride: impl Into<Triple>) -> Self {
        Self(Pool3dParams { stride: stride.into().array(), ..self.0 })
    }

    /// The same with `padding` on each side, at most half the kernel. Default 0.
    pub fn padding(self, padding: impl Into<Triple>) -> Self {
        Self(Pool3dParams { padding: padding.into().array(), ..self.0 })
    }

    /// The same, where a last window that reaches beyond the input counts too. Default: it does not.
    pub fn ceil_mode(self) -> Self {
        Self(Pool3dParams { ceil_mode: true, ..self.0 })
    }
}

impl Layer for MaxPool3d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(pool::max_pool3d(xs, &self.0)?)
    }
}

/// The mean of each window of a volume, as PyTorch's `nn.AvgPool3d` (without `divisor_override`).
///
/// # Shapes
/// As [`MaxPool3d`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_cnn::AvgPool3d;
/// use glassbox_core::{Layer, Pass};
/// let volume = Tensor::arange(0f32, 8.0, &Device::Cpu)?.reshape((1, 1, 2, 2, 2))?;
/// let mean = AvgPool3d::new(2).forward(&volume, &Pass::eval())?;
/// assert_eq!(mean.flatten_all()?.to_vec1::<f32>()?, [3.5]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AvgPool3d {
    params: Pool3dParams,
    count_include_pad: bool,
}

impl AvgPool3d {
    /// Windows of `kernel_size` side by side, without padding.
    pub fn new(kernel_size: impl Into<Triple>) -> Self {
        Self { params: Pool3dParams::new(kernel_size.into().array()), count_include_pad: true }
    }

    /// The same with windows `stride` apart, at least 1. Default: kernel_size.
    pub fn stride(self, stride: impl Into<Triple>) -> Self {
        Self { params: Pool3dParams { stride: stride.into().array(), ..self.params }, ..self }
    }

    /// The same with `padding` zeros on each side, at most half the kernel. Default 0.
    pub fn padding(self, padding: impl Into<Triple>) -> Self {
        Self { params: Pool3dParams { padding: padding.into().array(), ..self.params }, ..self }
    }

    /// The same, where a last window that reaches beyond the input counts too. Default: it does not.
    pub fn ceil_mode(self) -> Self {
        Self { params: Pool3dParams { ceil_mode: true, ..self.params }, ..self }
    }

    /// Whether the zeros of the padding count as elements of a window. Default true.
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }
}

impl Layer for AvgPool3d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(pool::avg_pool3d(xs, &self.params, self.count_include_pad)?)
    }
}

/// Averages volumes of any size to a given size, as PyTorch's `nn.AdaptiveAvgPool3d`: slice i of n is the mean of the
/// slices `floor(i · depth / n)` up to `ceil((i + 1) · depth / n)`; likewise rows and columns.
///
/// # Shapes
/// (batch, channels, depth, height, width) to (batch, channels, output depth, output height, output width).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::AdaptiveAvgPool3d;
/// use glassbox_core::{Layer, Pass};
/// let clips = Tensor::zeros((2, 3, 9, 10, 7), DType::F32, &Device::Cpu)?;
/// assert_eq!(AdaptiveAvgPool3d::new(1).forward(&clips, &Pass::eval())?.dims(), [2, 3, 1, 1, 1]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool3d(Triple);

impl AdaptiveAvgPool3d {
    /// Pooling to `output_size`, at least 1.
    pub fn new(output_size: impl Into<Triple>) -> Self {
        Self(output_size.into())
    }
}

impl Layer for AdaptiveAvgPool3d {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(pool::adaptive_avg_pool3d(xs, self.0.array())?)
    }
}
