//! Residual networks.

use candle_core::Tensor;
use glassbox_core::{Activation, Layer, Linear, Pass, Result, Sequential, VarBuilder};

use crate::blocks::{Shown, conv, norm};
use crate::check::expect_positive;
use crate::{BasicBlock, BatchNorm2d, Bottleneck, Conv2d, GlobalAvgPool, MaxPool2d, ResidualConfig};

/// Which block a [`ResNet`] repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResidualKind {
    /// [`BasicBlock`].
    Basic,
    /// [`Bottleneck`].
    Bottleneck,
}

impl ResidualKind {
    const fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => Bottleneck::EXPANSION,
        }
    }
}

/// What a [`ResNet`] begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// A 7 × 7 convolution of stride 2, then 3 × 3 max pooling of stride 2: for images of some 200 pixels.
    ImageNet,
    /// A 3 × 3 convolution of stride 1 and no pooling: for images of 32 pixels.
    Cifar,
}

/// What a [`ResNet`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// The block that is repeated.
    pub block: ResidualKind,
    /// Number of blocks in each of the four stages. Every stage but the first begins with a stride of 2.
    pub layers: [usize; 4],
    /// Channels of the images. Default 3.
    pub in_channels: usize,
    /// Number of classes. Default 1000.
    pub num_classes: usize,
    /// Width of the first stage; each following one has twice as much. Default 64.
    pub width: usize,
    /// What comes before the first stage. Default ImageNet's.
    pub stem: Stem,
    /// See [`ResidualConfig::zero_init_residual`]. Default false.
    pub zero_init_residual: bool,
}

impl ResNetConfig {
    /// ResNet-18: 11.7 million parameters for 1000 classes.
    pub const fn resnet18() -> Self {
        Self::of(ResidualKind::Basic, [2, 2, 2, 2])
    }

    /// ResNet-34: 21.8 million parameters for 1000 classes.
    pub const fn resnet34() -> Self {
        Self::of(ResidualKind::Basic, [3, 4, 6, 3])
    }

    /// ResNet-50: 25.6 million parameters for 1000 classes.
    pub const fn resnet50() -> Self {
        Self::of(ResidualKind::Bottleneck, [3, 4, 6, 3])
    }

    const fn of(block: ResidualKind, layers: [usize; 4]) -> Self {
        Self {
            block,
            layers,
            in_channels: 3,
            num_classes: 1000,
            width: 64,
            stem: Stem::ImageNet,
            zero_init_residual: false,
        }
    }

    /// Number of features that the last layer sees.
    const fn num_features(&self) -> usize {
        8 * self.width * self.block.expansion()
    }
}

/// A residual network: a stem, four stages of residual blocks, global average pooling, a fully connected layer.
///
/// Parameters are named, shaped and initialised as in torchvision, so that `torchvision.models.resnet18().state_dict()`,
/// written as safetensors, loads here and the other way round. Convolutions start normal with deviation √(2 / fan_out).
///
/// # Shapes
/// (batch, in_channels, height, width) to logits (batch, num_classes).
///
/// # References
/// He et al. 2015, arXiv 1512.03385.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{ResNet, ResNetConfig, Stem};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = ResNetConfig { num_classes: 10, width: 8, stem: Stem::Cifar, ..ResNetConfig::resnet18() };
/// let model = ResNet::new(config, params.root())?;
/// let images = Tensor::zeros((2, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward(&images, &Pass::eval())?.dims(), [2, 10]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    relu: Shown<Activation>,
    maxpool: Option<Shown<MaxPool2d>>,
    stages: Vec<Sequential>,
    avgpool: Shown<GlobalAvgPool>,
    fc: Linear,
}

impl ResNet {
    /// The network with seeded initial values.
    ///
    /// # Errors
    /// A stage without blocks, a number of channels or a width of 0.
    pub fn new(config: ResNetConfig, vb: VarBuilder) -> Result<Self> {
        expect_positive("layers", &config.layers).map_err(|e| e.at(vb.path()))?;
        let (kernel, stride) = if config.stem == Stem::ImageNet { (7, 2) } else { (3, 1) };
        let pool = || Shown::new(MaxPool2d::new(3).stride(2).padding(1), vb.pp("maxpool"));
        Ok(Self {
            conv1: conv(config.in_channels, config.width, kernel, stride, vb.pp("conv1"))?,
            bn1: norm(config.width, vb.pp("bn1"))?,
            relu: Shown::new(Activation::Relu, vb.pp("relu")),
            maxpool: (config.stem == Stem::ImageNet).then(pool),
            stages: (0..4).map(|i| stage(&config, i, vb.pp(format!("layer{}", i + 1)))).collect::<Result<_>>()?,
            avgpool: Shown::new(GlobalAvgPool, vb.pp("avgpool")),
            fc: Linear::new(config.num_features(), config.num_classes, vb.pp("fc"))?,
        })
    }

    /// What the last layer sees: the means of the last feature maps, (batch, 8 · width · expansion), where the expansion
    /// of bottleneck blocks is 4.
    ///
    /// # Errors
    /// As `forward`.
    pub fn features(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut xs = self.relu.forward(&self.bn1.forward(&self.conv1.forward(xs, pass)?, pass)?, pass)?;
        if let Some(maxpool) = &self.maxpool {
            xs = maxpool.forward(&xs, pass)?;
        }
        for stage in &self.stages {
            xs = stage.forward(&xs, pass)?;
        }
        self.avgpool.forward(&xs, pass)
    }
}

impl Layer for ResNet {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.fc.forward(&self.features(xs, pass)?, pass)
    }
}

/// The stage of `index` 0 to 3.
fn stage(config: &ResNetConfig, index: usize, vb: VarBuilder) -> Result<Sequential> {
    let width = config.width << index;
    let out_channels = width * config.block.expansion();
    let mut channels = if index == 0 { config.width } else { out_channels / 2 };
    let mut blocks = Sequential::new(vb);
    for i in 0..config.layers[index] {
        let stride = if i == 0 && index > 0 { 2 } else { 1 };
        let residual = ResidualConfig { stride, zero_init_residual: config.zero_init_residual };
        blocks = match config.block {
            ResidualKind::Basic => blocks.add(|vb| BasicBlock::new(channels, width, residual, vb))?,
            ResidualKind::Bottleneck => blocks.add(|vb| Bottleneck::new(channels, width, residual, vb))?,
        };
        channels = out_channels;
    }
    Ok(blocks)
}
