//! Convolution, batch normalisation, activation.

use candle_core::Tensor;
use glassbox_core::{Activation, Layer, Pass, Result, VarBuilder};

use super::{Shown, conv_norm_act};
use crate::{BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, Pair};

/// What a [`ConvNormAct`] is made of; the default is a plain convolution and a ReLU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNormActConfig {
    /// Step of the window, at least 1. Default 1.
    pub stride: Pair,
    /// Distance between the taps of the kernel, at least 1. Default 1.
    pub dilation: Pair,
    /// Blocks of channels that are convolved separately; divides both numbers of channels. Default 1.
    pub groups: usize,
    /// What follows the normalisation, if anything. Default ReLU.
    pub activation: Option<Activation>,
}

impl Default for ConvNormActConfig {
    fn default() -> Self {
        Self { stride: 1.into(), dilation: 1.into(), groups: 1, activation: Some(Activation::Relu) }
    }
}

/// `y = activation(norm(conv(x)))`: the convolution without a bias, padded by (kernel_size − 1) / 2 · dilation on each side.
///
/// Parameters, named as in torchvision's `Conv2dNormActivation`: `0.weight` of the [`Conv2d`], `1.*` of the
/// [`BatchNorm2d`].
///
/// # Shapes
/// (batch, in_channels, height, width) to (batch, out_channels, height / stride, width / stride), rounded up, for kernels
/// of odd size.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{ConvNormAct, ConvNormActConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = ConvNormActConfig { stride: 2.into(), ..Default::default() };
/// let block = ConvNormAct::new(3, 8, 3, config, params.root())?;
/// let images = Tensor::zeros((2, 3, 9, 9), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward(&images, &Pass::eval())?.dims(), [2, 8, 5, 5]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct ConvNormAct {
    conv: Conv2d,
    norm: BatchNorm2d,
    activation: Option<Shown<Activation>>,
}

impl ConvNormAct {
    /// A block with a kernel of `kernel_size`.
    ///
    /// # Errors
    /// Those of [`Conv2d::new`].
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Pair>,
        config: ConvNormActConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let ConvNormActConfig { stride, dilation, groups, activation } = config;
        let kernel_size = kernel_size.into();
        let side = |kernel: usize, dilation: usize| (kernel.saturating_sub(1) / 2).saturating_mul(dilation);
        let padding = (side(kernel_size.height, dilation.height), side(kernel_size.width, dilation.width)).into();
        let conv = Conv2dConfig { stride, padding, dilation, groups, bias: false, ..Default::default() };
        Ok(Self {
            conv: Conv2d::new(in_channels, out_channels, kernel_size, conv, vb.pp(0))?,
            norm: BatchNorm2d::new(out_channels, BatchNormConfig::default(), vb.pp(1))?,
            activation: activation.map(|activation| Shown::new(activation, vb.pp(2))),
        })
    }
}

impl Layer for ConvNormAct {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let activation = self.activation.as_ref().map(|activation| activation as &dyn Layer);
        conv_norm_act(&self.conv, &self.norm, None, activation, xs, pass)
    }
}
