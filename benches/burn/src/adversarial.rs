//! A deep convolutional GAN (Radford et al., 2015) on images of 32×32.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::loss::{BinaryCrossEntropyLoss, BinaryCrossEntropyLossConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::{leaky_relu, relu, tanh};
use burn::tensor::{Device, Int, Tensor};

use crate::train::{Step, Trained, normal};

const BATCH: usize = 64;

#[derive(Module, Debug)]
struct Generator {
    first: ConvTranspose2d,
    up: Vec<ConvTranspose2d>,
    norms: Vec<BatchNorm>,
}

impl Generator {
    fn new(device: &Device) -> Self {
        let conv = |channels| ConvTranspose2dConfig::new(channels, [4, 4]).with_bias(false);
        let up = |channels| conv(channels).with_stride([2, 2]).with_padding([1, 1]).init(device);
        Self {
            first: conv([64, 128]).init(device),
            up: [[128, 64], [64, 32], [32, 1]].map(up).into(),
            norms: [128, 64, 32].map(|channels| BatchNormConfig::new(channels).init(device)).into(),
        }
    }

    fn forward(&self, noise: Tensor<4>) -> Tensor<4> {
        let x = self.first.forward(noise);
        tanh(self.norms.iter().zip(&self.up).fold(x, |x, (norm, up)| up.forward(relu(norm.forward(x)))))
    }
}

#[derive(Module, Debug)]
struct Critic {
    first: Conv2d,
    down: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    last: Conv2d,
}

impl Critic {
    fn new(device: &Device) -> Self {
        let conv = |channels| Conv2dConfig::new(channels, [4, 4]).with_bias(false);
        let halving = PaddingConfig2d::Explicit(1, 1, 1, 1);
        let down = |channels| conv(channels).with_stride([2, 2]).with_padding(halving.clone()).init(device);
        Self {
            first: down([1, 32]),
            down: [[32, 64], [64, 128]].map(down).into(),
            norms: [64, 128].map(|channels| BatchNormConfig::new(channels).init(device)).into(),
            last: conv([128, 1]).init(device),
        }
    }

    /// A logit for each image, `[batch, 1]`.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = leaky_relu(self.first.forward(images), 0.2);
        let blocks = self.down.iter().zip(&self.norms);
        let x = blocks.fold(x, |x, (down, norm)| leaky_relu(norm.forward(down.forward(x)), 0.2));
        self.last.forward(x).flatten(1, 3)
    }

    fn loss(&self, images: Tensor<4>, labels: &Tensor<2, Int>, loss: &BinaryCrossEntropyLoss) -> Tensor<1> {
        loss.forward(self.forward(images), labels.clone())
    }
}

/// One step of each: the critic on real and generated images, then the generator through the updated critic.
pub fn dcgan(device: &Device) -> Step {
    let device = device.clone();
    let mut generator = Trained::new(Generator::new(&device), 2e-4);
    let mut critic = Trained::new(Critic::new(&device), 2e-4);
    let loss = BinaryCrossEntropyLossConfig::new().with_logits(true).init(&device);
    let real = normal([BATCH, 1, 32, 32], &device);
    let (ones, zeros) = (Tensor::ones([BATCH, 1], &device), Tensor::zeros([BATCH, 1], &device));
    Box::new(move || {
        let fake = generator.module().forward(normal([BATCH, 64, 1, 1], &device));
        let judge = critic.module();
        let real_loss = judge.loss(real.clone(), &ones, &loss);
        critic.minimize(real_loss + judge.loss(fake.clone().detach(), &zeros, &loss));
        generator.minimize(critic.module().loss(fake, &ones, &loss));
    })
}
