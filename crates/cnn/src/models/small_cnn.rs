//! A small configurable network.

use candle_core::Tensor;
use glassbox_core::{Activation, Dropout, Error, Flatten, Layer, Linear, Pass, Result, Sequential, VarBuilder};

use crate::{AdaptiveAvgPool2d, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, MaxPool2d, Padding, Pair};

/// What a [`SmallCnn`] is made of. The default suits grey digits of 8 × 8.
#[derive(Clone, Debug, PartialEq)]
pub struct SmallCnnConfig {
    /// Channels of the images: 1 for grey, 3 for colour. Default 1.
    pub in_channels: usize,
    /// Number of classes. Default 10.
    pub num_classes: usize,
    /// Output channels of each convolution; each is followed by a pooling that halves the image. Default 32, 64.
    pub channels: Vec<usize>,
    /// Size of the layer before the last. Default 128.
    pub hidden: usize,
    /// Size of the convolutions' kernels. Default 3.
    pub kernel_size: Pair,
    /// What follows each layer but the last. Default ReLU.
    pub activation: Activation,
    /// Probability of dropping an element before the last layer, in [0, 1). Default 0.
    pub dropout: f64,
    /// Whether batch normalisation follows each convolution, which then has no bias. Default false.
    pub batch_norm: bool,
    /// Size of the images. Those of another size are accepted too; their last feature maps are averaged to the same grid.
    /// Default 8 × 8.
    pub image_size: Pair,
}

impl Default for SmallCnnConfig {
    fn default() -> Self {
        Self {
            in_channels: 1,
            num_classes: 10,
            channels: vec![32, 64],
            hidden: 128,
            kernel_size: 3.into(),
            activation: Activation::Relu,
            dropout: 0.0,
            batch_norm: false,
            image_size: 8.into(),
        }
    }
}

impl SmallCnnConfig {
    /// The size of the last feature maps.
    fn grid(&self) -> Result<Pair> {
        let Pair { height, width } = self.image_size;
        let halvings = self.channels.len() as u32;
        let grid =
            Pair { height: height.checked_shr(halvings).unwrap_or(0), width: width.checked_shr(halvings).unwrap_or(0) };
        if halvings == 0 {
            return Err(Error::invalid("channels", "at least one convolution", "none"));
        }
        if grid.height == 0 || grid.width == 0 {
            let expected = format!("large enough to be halved {halvings} times");
            return Err(Error::invalid("image_size", expected, format!("{height} x {width}")));
        }
        Ok(grid)
    }
}

/// Convolutions with activation and 2 × 2 max pooling, then two fully connected layers.
///
/// Parameters: `conv1`, `bn1` (where configured), `conv2`, …, `fc1`, `fc2`. It has 53,002 of them by default, and
/// 421,642 for images of 28 × 28.
///
/// # Shapes
/// (batch, in_channels, height, width) to logits (batch, num_classes).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{SmallCnn, SmallCnnConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = SmallCnnConfig { in_channels: 3, image_size: 32.into(), batch_norm: true, ..Default::default() };
/// let model = SmallCnn::new(config, params.root())?;
/// let images = Tensor::zeros((2, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward(&images, &Pass::eval())?.dims(), [2, 10]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct SmallCnn {
    body: Sequential,
    head: Linear,
}

impl SmallCnn {
    /// The network with seeded initial values.
    ///
    /// # Errors
    /// No convolutions, images too small to be halved by each, dropout out of range, or a size of 0.
    pub fn new(config: SmallCnnConfig, vb: VarBuilder) -> Result<Self> {
        let grid = config.grid().map_err(|e| e.at(vb.path()))?;
        let activation = config.activation;
        let mut body = Sequential::new(vb.clone());
        let mut channels = config.in_channels;
        for (i, &out_channels) in (1..).zip(&config.channels) {
            body = add_convolution(body, i, channels, out_channels, &config)?;
            channels = out_channels;
        }
        let features = channels * grid.height * grid.width;
        let body = body
            .add_named("grid", |_| Ok(AdaptiveAvgPool2d::new(grid)))?
            .add_named("flatten", |_| Ok(Flatten))?
            .add_named("fc1", |vb| Linear::new(features, config.hidden, vb))?
            .add_named("act", |_| Ok(activation))?
            .add_named("dropout", |_| Dropout::new(config.dropout))?;
        Ok(Self { body, head: Linear::new(config.hidden, config.num_classes, vb.pp("fc2"))? })
    }

    /// What the last layer sees, (batch, hidden).
    ///
    /// # Errors
    /// As `forward`.
    pub fn features(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.body.forward(xs, pass)
    }
}

impl Layer for SmallCnn {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.head.forward(&self.features(xs, pass)?, pass)
    }
}

/// Adds the `i`-th convolution with all that follows it.
fn add_convolution(
    body: Sequential,
    i: usize,
    in_channels: usize,
    out_channels: usize,
    config: &SmallCnnConfig,
) -> Result<Sequential> {
    let conv = Conv2dConfig { padding: Padding::Same, bias: !config.batch_norm, ..Default::default() };
    let kernel_size = config.kernel_size;
    let mut body =
        body.add_named(&format!("conv{i}"), |vb| Conv2d::new(in_channels, out_channels, kernel_size, conv, vb))?;
    if config.batch_norm {
        let norm = BatchNormConfig::default();
        body = body.add_named(&format!("bn{i}"), |vb| BatchNorm2d::new(out_channels, norm, vb))?;
    }
    body.add_named(&format!("act{i}"), |_| Ok(config.activation))?
        .add_named(&format!("pool{i}"), |_| Ok(MaxPool2d::new(2)))
}
