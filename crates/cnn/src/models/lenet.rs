//! The network that read handwritten digits in 1998.

use candle_core::Tensor;
use glassbox_core::{Activation, Error, Flatten, Layer, Linear, Pass, Result, Sequential, VarBuilder};

use crate::check::wrong_input;
use crate::{AvgPool2d, Conv2d, Conv2dConfig};

/// What a [`LeNet5`] is made for. The default suits MNIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeNet5Config {
    /// Channels of the images. Default 1.
    pub in_channels: usize,
    /// Number of classes. Default 10.
    pub num_classes: usize,
    /// Height and width of the images: 32 as in the paper, or 28 as in MNIST's files, which the first convolution pads by
    /// two pixels on each side. Default 28.
    pub image_size: usize,
}

impl Default for LeNet5Config {
    fn default() -> Self {
        Self { in_channels: 1, num_classes: 10, image_size: 28 }
    }
}

/// LeNet-5: two 5 × 5 convolutions to 6 and 16 channels, each with tanh and 2 × 2 average pooling, then fully connected
/// layers of 120, 84 and the classes, with tanh between.
///
/// Parameters: `conv1`, `conv2`, `fc1`, `fc2`, `fc3`; 61,706 of them for ten classes. Unlike the paper's, the second
/// convolution sees all channels, pooling has no learned scale, tanh is not stretched, and the output is plain logits
/// instead of distances to fixed codes: the form that is usual today.
///
/// # Shapes
/// (batch, in_channels, image_size, image_size) to logits (batch, num_classes).
///
/// # References
/// LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{LeNet5, LeNet5Config};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let model = LeNet5::new(LeNet5Config::default(), params.root())?;
/// let images = Tensor::zeros((2, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward(&images, &Pass::eval())?.dims(), [2, 10]);
/// assert_eq!(params.num_params(), 61_706);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct LeNet5 {
    body: Sequential,
    head: Linear,
    input: [usize; 3],
    path: String,
}

impl LeNet5 {
    /// The network with seeded initial values.
    ///
    /// # Errors
    /// An `image_size` other than 28 and 32, or a number of 0.
    pub fn new(config: LeNet5Config, vb: VarBuilder) -> Result<Self> {
        let LeNet5Config { in_channels, num_classes, image_size } = config;
        if image_size != 28 && image_size != 32 {
            return Err(Error::invalid("image_size", "28 or 32", image_size).at(vb.path()));
        }
        let plain = Conv2dConfig::default();
        let padded = Conv2dConfig { padding: ((32 - image_size) / 2).into(), ..plain };
        let body = Sequential::new(vb.clone())
            .add_named("conv1", |vb| Conv2d::new(in_channels, 6, 5, padded, vb))?
            .add_named("act1", |_| Ok(Activation::Tanh))?
            .add_named("pool1", |_| Ok(AvgPool2d::new(2)))?
            .add_named("conv2", |vb| Conv2d::new(6, 16, 5, plain, vb))?
            .add_named("act2", |_| Ok(Activation::Tanh))?
            .add_named("pool2", |_| Ok(AvgPool2d::new(2)))?
            .add_named("flatten", |_| Ok(Flatten))?
            .add_named("fc1", |vb| Linear::new(16 * 5 * 5, 120, vb))?
            .add_named("act3", |_| Ok(Activation::Tanh))?
            .add_named("fc2", |vb| Linear::new(120, 84, vb))?
            .add_named("act4", |_| Ok(Activation::Tanh))?;
        let head = Linear::new(84, num_classes, vb.pp("fc3"))?;
        Ok(Self { body, head, input: [in_channels, image_size, image_size], path: vb.path().to_string() })
    }

    /// What the last layer sees, (batch, 84).
    ///
    /// # Errors
    /// As `forward`.
    pub fn features(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let [channels, height, width] = self.input;
        if xs.rank() != 4 || xs.dims()[1..] != self.input {
            return Err(wrong_input(format!("(batch, {channels}, {height}, {width})"), xs).at(&self.path));
        }
        self.body.forward(xs, pass)
    }
}

impl Layer for LeNet5 {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.head.forward(&self.features(xs, pass)?, pass)
    }
}
