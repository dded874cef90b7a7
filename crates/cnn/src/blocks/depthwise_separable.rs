//! A convolution split into one within channels and one across them.

use candle_core::Tensor;
use glassbox_core::{Activation, Layer, Pass, Result, VarBuilder};

use super::{ConvNormAct, ConvNormActConfig};
use crate::Pair;

/// What a [`DepthwiseSeparable`] is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthwiseSeparableConfig {
    /// Step of the depthwise window, at least 1. Default 1.
    pub stride: Pair,
    /// What follows each of the two normalisations. Default ReLU.
    pub activation: Activation,
}

impl Default for DepthwiseSeparableConfig {
    fn default() -> Self {
        Self { stride: 1.into(), activation: Activation::Relu }
    }
}

/// A convolution of each channel by itself (`depthwise`), then a 1 × 1 convolution across channels (`pointwise`), each with
/// batch normalisation and activation: nearly kernel height · kernel width times fewer multiply-adds than one convolution.
///
/// Parameters: `depthwise.*` and `pointwise.*`, each those of a [`ConvNormAct`].
///
/// # Shapes
/// (batch, in_channels, height, width) to (batch, out_channels, height / stride, width / stride), rounded up, for kernels
/// of odd size.
///
/// # References
/// Howard et al. 2017 (MobileNet), arXiv 1704.04861.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{DepthwiseSeparable, DepthwiseSeparableConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let block = DepthwiseSeparable::new(8, 16, 3, DepthwiseSeparableConfig::default(), params.root())?;
/// let maps = Tensor::zeros((2, 8, 6, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward(&maps, &Pass::eval())?.dims(), [2, 16, 6, 6]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct DepthwiseSeparable {
    depthwise: ConvNormAct,
    pointwise: ConvNormAct,
}

impl DepthwiseSeparable {
    /// A block with a depthwise kernel of `kernel_size`.
    ///
    /// # Errors
    /// Those of [`Conv2d::new`](crate::Conv2d::new).
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Pair>,
        config: DepthwiseSeparableConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let pointwise = ConvNormActConfig { activation: Some(config.activation), ..Default::default() };
        let depthwise = ConvNormActConfig { stride: config.stride, groups: in_channels, ..pointwise };
        Ok(Self {
            depthwise: ConvNormAct::new(in_channels, in_channels, kernel_size, depthwise, vb.pp("depthwise"))?,
            pointwise: ConvNormAct::new(in_channels, out_channels, 1, pointwise, vb.pp("pointwise"))?,
        })
    }
}

impl Layer for DepthwiseSeparable {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.pointwise.forward(&self.depthwise.forward(xs, pass)?, pass)
    }
}
