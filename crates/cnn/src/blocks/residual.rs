//! The two residual blocks of ResNet.

use candle_core::Tensor;
use glassbox_core::init::{Fan, gain};
use glassbox_core::{Activation, Init, Layer, Pass, Result, Sequential, VarBuilder};

use super::{Shown, conv_norm_act};
use crate::{BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, Pair};

/// How a residual block changes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidualConfig {
    /// Step of the block's 3 × 3 convolution (of a basic block's first), at least 1. Default 1.
    pub stride: usize,
    /// Whether the last normalisation's weight starts at 0, so that the block starts as its shortcut (Goyal et al. 2017,
    /// arXiv 1706.02677). Default false.
    pub zero_init_residual: bool,
}

impl Default for ResidualConfig {
    fn default() -> Self {
        Self { stride: 1, zero_init_residual: false }
    }
}

/// `y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`, with two 3 × 3 convolutions.
///
/// The shortcut is the identity, or a 1 × 1 convolution with normalisation where the stride or the number of channels
/// changes. Parameters are named as in torchvision: `conv1`, `bn1`, `conv2`, `bn2`, `downsample.0`, `downsample.1`.
/// Convolutions have no bias and start normal with deviation √(2 / fan_out).
///
/// # Shapes
/// (batch, in_channels, height, width) to (batch, out_channels, height / stride, width / stride), rounded up.
///
/// # References
/// He et al. 2015, arXiv 1512.03385.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{BasicBlock, ResidualConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let block = BasicBlock::new(8, 16, ResidualConfig { stride: 2, ..Default::default() }, params.root())?;
/// let maps = Tensor::zeros((2, 8, 6, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward(&maps, &Pass::eval())?.dims(), [2, 16, 3, 3]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    relu1: Shown<Activation>,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl BasicBlock {
    /// A block to `out_channels` channels.
    ///
    /// # Errors
    /// Those of [`Conv2d::new`].
    pub fn new(in_channels: usize, out_channels: usize, config: ResidualConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            conv1: conv(in_channels, out_channels, 3, config.stride, vb.pp("conv1"))?,
            bn1: norm(out_channels, vb.pp("bn1"))?,
            relu1: Shown::new(Activation::Relu, vb.pp("relu1")),
            conv2: conv(out_channels, out_channels, 3, 1, vb.pp("conv2"))?,
            bn2: last_norm(out_channels, config, vb.pp("bn2"))?,
            downsample: downsample(in_channels, out_channels, config.stride, vb.pp("downsample"))?,
        })
    }
}

impl Layer for BasicBlock {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let ys = conv_norm_act(&self.conv1, &self.bn1, None, Some(&self.relu1), xs, pass)?;
        join(&self.conv2, &self.bn2, &ys, xs, self.downsample.as_ref(), pass)
    }
}

/// `y = relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut(x))`, with convolutions of 1 × 1 to `width`
/// channels, 3 × 3, and 1 × 1 to four times as many.
///
/// The stride is in the 3 × 3 convolution, as in torchvision and unlike the paper, which has it in the first. Otherwise as
/// [`BasicBlock`], with `conv3` and `bn3` besides.
///
/// # Shapes
/// (batch, in_channels, height, width) to (batch, 4 · width, height / stride, width / stride), rounded up.
///
/// # References
/// He et al. 2015, arXiv 1512.03385.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{Bottleneck, ResidualConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let block = Bottleneck::new(8, 4, ResidualConfig::default(), params.root())?;
/// let maps = Tensor::zeros((2, 8, 6, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward(&maps, &Pass::eval())?.dims(), [2, 16, 6, 6]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct Bottleneck {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    relu1: Shown<Activation>,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    relu2: Shown<Activation>,
    conv3: Conv2d,
    bn3: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl Bottleneck {
    /// Output channels for each channel of the width.
    pub const EXPANSION: usize = 4;

    /// A block with `width` channels in its middle.
    ///
    /// # Errors
    /// Those of [`Conv2d::new`].
    pub fn new(in_channels: usize, width: usize, config: ResidualConfig, vb: VarBuilder) -> Result<Self> {
        let out_channels = width * Self::EXPANSION;
        Ok(Self {
            conv1: conv(in_channels, width, 1, 1, vb.pp("conv1"))?,
            bn1: norm(width, vb.pp("bn1"))?,
            relu1: Shown::new(Activation::Relu, vb.pp("relu1")),
            conv2: conv(width, width, 3, config.stride, vb.pp("conv2"))?,
            bn2: norm(width, vb.pp("bn2"))?,
            relu2: Shown::new(Activation::Relu, vb.pp("relu2")),
            conv3: conv(width, out_channels, 1, 1, vb.pp("conv3"))?,
            bn3: last_norm(out_channels, config, vb.pp("bn3"))?,
            downsample: downsample(in_channels, out_channels, config.stride, vb.pp("downsample"))?,
        })
    }
}

impl Layer for Bottleneck {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let ys = conv_norm_act(&self.conv1, &self.bn1, None, Some(&self.relu1), xs, pass)?;
        let ys = conv_norm_act(&self.conv2, &self.bn2, None, Some(&self.relu2), &ys, pass)?;
        join(&self.conv3, &self.bn3, &ys, xs, self.downsample.as_ref(), pass)
    }
}

/// ResNet's convolution: no bias, padded to keep the size at stride 1.
pub(crate) fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize, vb: VarBuilder) -> Result<Conv2d> {
    let config = Conv2dConfig {
        stride: Pair::square(stride),
        padding: (kernel / 2).into(),
        bias: false,
        weight_init: Init::KaimingNormal { gain: gain::RELU, fan: Fan::Out },
        ..Default::default()
    };
    Conv2d::new(inputs, outputs, kernel, config, vb)
}

pub(crate) fn norm(channels: usize, vb: VarBuilder) -> Result<BatchNorm2d> {
    BatchNorm2d::new(channels, BatchNormConfig::default(), vb)
}

fn last_norm(channels: usize, config: ResidualConfig, vb: VarBuilder) -> Result<BatchNorm2d> {
    let weight_init = if config.zero_init_residual { Init::Zeros } else { Init::Ones };
    BatchNorm2d::new(channels, BatchNormConfig { weight_init, ..Default::default() }, vb)
}

fn downsample(inputs: usize, outputs: usize, stride: usize, vb: VarBuilder) -> Result<Option<Sequential>> {
    if stride == 1 && inputs == outputs {
        return Ok(None);
    }
    let shortcut = Sequential::new(vb).add(|vb| conv(inputs, outputs, 1, stride, vb))?.add(|vb| norm(outputs, vb))?;
    Ok(Some(shortcut))
}

/// `relu(norm(conv(ys)) + shortcut(xs))`.
fn join(
    conv: &Conv2d,
    norm: &BatchNorm2d,
    ys: &Tensor,
    xs: &Tensor,
    downsample: Option<&Sequential>,
    pass: &Pass,
) -> Result<Tensor> {
    let shortcut = downsample.map_or(Ok(xs.clone()), |downsample| downsample.forward(xs, pass))?;
    conv_norm_act(conv, norm, Some(&shortcut), Some(&Activation::Relu), ys, pass)
}
