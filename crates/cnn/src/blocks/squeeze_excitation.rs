//! Channels weighted by what the whole image holds.

use candle_core::Tensor;
use glassbox_core::{Activation, Layer, Pass, Result, VarBuilder};

use super::Shown;
use crate::{AdaptiveAvgPool2d, Conv2d, Conv2dConfig};

/// Weights each channel by a number in (0, 1) that depends on all channels' means:
/// `y = x · sigmoid(fc2(relu(fc1(mean of x))))`.
///
/// Parameters, named and shaped as in torchvision's `SqueezeExcitation`: `fc1` and `fc2`, convolutions with kernels of
/// 1 × 1 and biases.
///
/// # Shapes
/// (batch, in_channels, height, width) to the same.
///
/// # References
/// Hu et al. 2017, arXiv 1709.01507.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::SqueezeExcitation;
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let block = SqueezeExcitation::new(16, 4, params.root())?;
/// let maps = Tensor::zeros((2, 16, 6, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward(&maps, &Pass::eval())?.dims(), [2, 16, 6, 6]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct SqueezeExcitation {
    pool: Shown<AdaptiveAvgPool2d>,
    fc1: Conv2d,
    activation: Shown<Activation>,
    fc2: Conv2d,
    scale_activation: Shown<Activation>,
}

impl SqueezeExcitation {
    /// A block that squeezes `in_channels` into `squeeze_channels`.
    ///
    /// # Errors
    /// Those of [`Conv2d::new`].
    pub fn new(in_channels: usize, squeeze_channels: usize, vb: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig::default();
        Ok(Self {
            pool: Shown::new(AdaptiveAvgPool2d::new(1), vb.pp("avgpool")),
            fc1: Conv2d::new(in_channels, squeeze_channels, 1, config, vb.pp("fc1"))?,
            activation: Shown::new(Activation::Relu, vb.pp("activation")),
            fc2: Conv2d::new(squeeze_channels, in_channels, 1, config, vb.pp("fc2"))?,
            scale_activation: Shown::new(Activation::Sigmoid, vb.pp("scale_activation")),
        })
    }
}

impl Layer for SqueezeExcitation {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let means = self.pool.forward(xs, pass)?;
        let squeezed = self.activation.forward(&self.fc1.forward(&means, pass)?, pass)?;
        let scale = self.scale_activation.forward(&self.fc2.forward(&squeezed, pass)?, pass)?;
        Ok(xs.broadcast_mul(&scale)?)
    }
}
