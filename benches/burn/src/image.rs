//! Convolutional networks: a small CNN, ResNet-18 for small images, and a U-Net.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::loss::BinaryCrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};

use crate::train::{Step, cross_entropy, integers, normal, supervised};

/// A convolution of 3×3 that keeps height and width when the stride is 1.
fn conv3x3(inputs: usize, outputs: usize, stride: usize, bias: bool, device: &Device) -> Conv2d {
    Conv2dConfig::new([inputs, outputs], [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(bias)
        .init(device)
}

fn halve() -> MaxPool2d {
    MaxPool2dConfig::new([2, 2]).init()
}

#[derive(Module, Debug)]
struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        Self {
            conv1: conv3x3(1, 32, 1, true, device),
            conv2: conv3x3(32, 64, 1, true, device),
            pool: halve(),
            fc1: LinearConfig::new(64 * 7 * 7, 128).init(device),
            fc2: LinearConfig::new(128, 10).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(images)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        self.fc2.forward(relu(self.fc1.forward(x.flatten(1, 3))))
    }
}

pub fn cnn(device: &Device) -> Step {
    let (images, labels) = (normal([64, 1, 28, 28], device), integers([64], 10, device));
    supervised(Cnn::new(device), move |model| cross_entropy(model.forward(images.clone()), labels.clone()))
}

/// Two convolutions with a connection around them, which is itself a 1×1 convolution where the shape changes.
#[derive(Module, Debug)]
struct ResidualBlock {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    around: Option<(Conv2d, BatchNorm)>,
}

impl ResidualBlock {
    fn new(inputs: usize, outputs: usize, stride: usize, device: &Device) -> Self {
        let around = (stride != 1 || inputs != outputs).then(|| {
            let conv = Conv2dConfig::new([inputs, outputs], [1, 1]).with_stride([stride, stride]).with_bias(false);
            (conv.init(device), BatchNormConfig::new(outputs).init(device))
        });
        Self {
            conv1: conv3x3(inputs, outputs, stride, false, device),
            norm1: BatchNormConfig::new(outputs).init(device),
            conv2: conv3x3(outputs, outputs, 1, false, device),
            norm2: BatchNormConfig::new(outputs).init(device),
            around,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.norm1.forward(self.conv1.forward(x.clone())));
        let y = self.norm2.forward(self.conv2.forward(y));
        let x = match &self.around {
            Some((conv, norm)) => norm.forward(conv.forward(x)),
            None => x,
        };
        relu(y + x)
    }
}

/// ResNet-18 (He et al., 2015) for images of 32×32: a first convolution of 3×3 with stride 1 and no pooling after it.
#[derive(Module, Debug)]
struct ResNet18 {
    conv: Conv2d,
    norm: BatchNorm,
    blocks: Vec<ResidualBlock>,
    fc: Linear,
}

impl ResNet18 {
    fn new(device: &Device) -> Self {
        let mut blocks = Vec::new();
        for (inputs, outputs, stride) in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)] {
            blocks.push(ResidualBlock::new(inputs, outputs, stride, device));
            blocks.push(ResidualBlock::new(outputs, outputs, 1, device));
        }
        Self {
            conv: conv3x3(3, 64, 1, false, device),
            norm: BatchNormConfig::new(64).init(device),
            blocks,
            fc: LinearConfig::new(512, 10).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.norm.forward(self.conv.forward(images)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.fc.forward(x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2))
    }
}

pub fn resnet18(device: &Device) -> Step {
    let (images, labels) = (normal([32, 3, 32, 32], device), integers([32], 10, device));
    supervised(ResNet18::new(device), move |model| cross_entropy(model.forward(images.clone()), labels.clone()))
}

/// Convolution, normalisation and ReLU, twice.
#[derive(Module, Debug)]
struct DoubleConv {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
}

impl DoubleConv {
    fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        Self {
            conv1: conv3x3(inputs, outputs, 1, true, device),
            norm1: BatchNormConfig::new(outputs).init(device),
            conv2: conv3x3(outputs, outputs, 1, true, device),
            norm2: BatchNormConfig::new(outputs).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = relu(self.norm1.forward(self.conv1.forward(x)));
        relu(self.norm2.forward(self.conv2.forward(x)))
    }
}

/// U-Net (Ronneberger et al., 2015) with 16, 32 and 64 channels on the way down and 128 in the middle.
#[derive(Module, Debug)]
struct UNet {
    down: Vec<DoubleConv>,
    pool: MaxPool2d,
    middle: DoubleConv,
    up: Vec<ConvTranspose2d>,
    merge: Vec<DoubleConv>,
    out: Conv2d,
}

impl UNet {
    fn new(device: &Device) -> Self {
        let double = |(inputs, outputs)| DoubleConv::new(inputs, outputs, device);
        let up =
            |channels| ConvTranspose2dConfig::new([channels, channels / 2], [2, 2]).with_stride([2, 2]).init(device);
        Self {
            down: [(1, 16), (16, 32), (32, 64)].map(double).into(),
            pool: halve(),
            middle: double((64, 128)),
            up: [128, 64, 32].map(up).into(),
            merge: [(128, 64), (64, 32), (32, 16)].map(double).into(),
            out: Conv2dConfig::new([16, 1], [1, 1]).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let (mut x, mut kept) = (images, Vec::new());
        for down in &self.down {
            let y = down.forward(x);
            kept.push(y.clone());
            x = self.pool.forward(y);
        }
        x = self.middle.forward(x);
        for ((up, merge), kept) in self.up.iter().zip(&self.merge).zip(kept.into_iter().rev()) {
            x = merge.forward(Tensor::cat(vec![up.forward(x), kept], 1));
        }
        self.out.forward(x)
    }
}

pub fn unet(device: &Device) -> Step {
    let shape = [4, 1, 128, 128];
    let images = normal(shape, device);
    let masks = Tensor::<4>::random(shape, Distribution::Uniform(0.0, 1.0), device).greater_scalar(0.5).int();
    let loss = BinaryCrossEntropyLossConfig::new().with_logits(true).init(device);
    supervised(UNet::new(device), move |model| loss.forward(model.forward(images.clone()), masks.clone()))
}
