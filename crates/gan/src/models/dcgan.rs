//! Deep convolutional networks for images.

use candle_core::Tensor;
use glassbox_cnn::{BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use glassbox_core::{Activation, Error, Flatten, Init, Layer, LayerNorm, Pass, Result, Sequential, VarBuilder, concat};

use super::critic::{Body, ClassHead, ImageCritic};
use crate::layers::{expect_count, expect_labels, one_hot};
use crate::{Chain, Generator, ScaledConv2d, WeightScale};

/// What a [`DcganGenerator`] and its critic are made of. Its defaults are the paper's, for images of 64 × 64.
#[derive(Clone, Debug, PartialEq)]
pub struct DcganConfig {
    /// Height and width: an even number that halves to `start_size`, such as 28 (to 7), 32 or 64 (to 4). Default 64.
    pub image_size: usize,
    /// Of the images: 1 for grey, 3 for colour. Default 3.
    pub channels: usize,
    /// Random numbers that an image is made from. Default 100.
    pub latent_size: usize,
    /// Channels at half the size of the image; each halving doubles them. Default 64.
    pub width: usize,
    /// Size of the smallest maps; none for the first of 7 or less that the image's size halves to. Default none.
    pub start_size: Option<usize>,
    /// Number of classes, and how the critic looks at them, for a conditional game. Default none.
    pub classes: Option<(usize, ClassHead)>,
    /// Samples that the critic sees at once (PacGAN). Default 1.
    pub pack: usize,
    /// What normalises the critic. Default batch normalisation.
    pub critic_norm: CriticNorm,
}

impl Default for DcganConfig {
    fn default() -> Self {
        Self {
            image_size: 64,
            channels: 3,
            latent_size: 100,
            width: 64,
            start_size: None,
            classes: None,
            pack: 1,
            critic_norm: CriticNorm::Batch,
        }
    }
}

/// What normalises a critic of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CriticNorm {
    /// Batch normalisation behind each convolution but the first, as DCGAN. Excludes a gradient penalty.
    #[default]
    Batch,
    /// Layer normalisation in its place, as WGAN-GP.
    Layer,
    /// Spectral normalisation of every weight, as SNGAN.
    Spectral,
    /// Nothing.
    None,
}

impl DcganConfig {
    /// The smallest maps' size, and how often it doubles.
    fn sizes(&self) -> Result<(usize, usize)> {
        let (mut size, mut doublings) = (self.image_size, 0);
        let done = |size: usize, doublings: usize| match self.start_size {
            Some(start) => size == start,
            None => doublings > 0 && size <= 7,
        };
        while !done(size, doublings) {
            if size < 2 || !size.is_multiple_of(2) {
                let start = self.start_size.map_or("7 or less".to_string(), |start| start.to_string());
                let expected = format!("an even size that halves to {start}");
                return Err(Error::invalid("image_size", expected, self.image_size));
            }
            (size, doublings) = (size / 2, doublings + 1);
        }
        expect_count("halvings of image_size", doublings)?;
        let counts = [("channels", self.channels), ("latent_size", self.latent_size), ("width", self.width)];
        counts.into_iter().chain([("pack", self.pack)]).try_for_each(|(what, count)| expect_count(what, count))?;
        if self.classes.is_some_and(|(num_classes, _)| num_classes == 0) {
            return Err(Error::invalid("num_classes", "1 or more", 0));
        }
        Ok((size, doublings))
    }
}

/// DCGAN's initial values of convolutions.
const CONV_INIT: Init = Init::Normal { mean: 0.0, std: 0.02 };

fn batch_norm(features: usize, vb: VarBuilder) -> Result<BatchNorm2d> {
    let weight_init = Init::Normal { mean: 1.0, std: 0.02 };
    BatchNorm2d::new(features, BatchNormConfig { weight_init, ..Default::default() }, vb)
}

/// The generator of DCGAN (Radford et al. 2015, arXiv 1511.06434): transposed convolutions of 4 × 4 and stride 2, each but
/// the last followed by batch normalisation and ReLU, and tanh at the end. Classes are appended to the latents, as 1 among
/// zeros.
///
/// Parameters: `0.weight`, `1.…` and so on, as in PyTorch's `nn.Sequential` of these layers.
///
/// # Shapes
/// Latents (batch, latent_size) and, where there are classes, these (batch), u32, to images (batch, channels, image_size,
/// image_size) within [−1, 1].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_gan::{DcganConfig, DcganGenerator, Generator};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = DcganConfig { image_size: 28, channels: 1, width: 8, ..Default::default() };
/// let generator = DcganGenerator::new(config, params.root())?;
/// let latents = Tensor::zeros((2, 100), DType::F32, &Device::Cpu)?;
/// assert_eq!(generator.generate(&latents, None, &Pass::eval())?.dims(), [2, 1, 28, 28]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct DcganGenerator {
    layers: Sequential,
    latent_size: usize,
    num_classes: Option<usize>,
}

impl DcganGenerator {
    /// The network with seeded initial values.
    ///
    /// # Errors
    /// A size that does not halve as it should, a number of 0.
    pub fn new(config: DcganConfig, vb: VarBuilder) -> Result<Self> {
        let (start, doublings) = config.sizes().map_err(|e| e.at(vb.path()))?;
        let num_classes = config.classes.map(|(num_classes, _)| num_classes);
        let inputs = config.latent_size + num_classes.unwrap_or(0);
        let plain = ConvTranspose2dConfig { bias: false, weight_init: CONV_INIT, ..Default::default() };
        let double = ConvTranspose2dConfig { stride: 2.into(), padding: 1.into(), ..plain };
        let mut channels = config.width << (doublings - 1);
        let mut layers = Sequential::new(vb)
            .add(|vb| ConvTranspose2d::new(inputs, channels, start, plain, vb))?
            .add(|vb| batch_norm(channels, vb))?
            .add(|_| Ok(Activation::Relu))?;
        for _ in 1..doublings {
            layers = layers
                .add(|vb| ConvTranspose2d::new(channels, channels / 2, 4, double, vb))?
                .add(|vb| batch_norm(channels / 2, vb))?
                .add(|_| Ok(Activation::Relu))?;
            channels /= 2;
        }
        let layers = layers
            .add(|vb| ConvTranspose2d::new(channels, config.channels, 4, double, vb))?
            .add(|_| Ok(Activation::Tanh))?;
        Ok(Self { layers, latent_size: config.latent_size, num_classes })
    }
}

impl Generator for DcganGenerator {
    fn latent_size(&self) -> usize {
        self.latent_size
    }

    fn generate(&self, latents: &Tensor, condition: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let inputs = with_classes(latents, self.num_classes, condition)?;
        let (batch, width) = inputs.dims2()?;
        self.layers.forward(&inputs.reshape((batch, width, 1, 1))?, pass)
    }
}

/// Latents with their classes appended, where there are `num_classes` of these.
pub(super) fn with_classes(latents: &Tensor, num_classes: Option<usize>, classes: Option<&Tensor>) -> Result<Tensor> {
    let Some(num_classes) = num_classes else { return Ok(latents.clone()) };
    let classes = expect_labels("conditional generator", classes, latents.dim(0)?)?;
    concat(&[latents, &one_hot(classes, num_classes, latents)?], 1)
}

/// The critic of DCGAN: convolutions of 4 × 4 and stride 2 with leaky ReLU of slope 0.2, the norm of the config, and a last
/// layer over all that is left.
///
/// # Errors
/// As [`DcganGenerator::new`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_gan::{Critic, DcganConfig, dcgan_critic};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = DcganConfig { image_size: 28, channels: 1, width: 8, ..Default::default() };
/// let images = Tensor::zeros((2, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// let verdict = dcgan_critic(config, params.root())?.judge(&images, None, &Pass::train(Seed(1)))?;
/// assert_eq!(verdict.scores.dims(), [2, 1]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn dcgan_critic(config: DcganConfig, vb: VarBuilder) -> Result<ImageCritic> {
    let (start, doublings) = config.sizes().map_err(|e| e.at(vb.path()))?;
    let norm = config.critic_norm;
    let inputs = config.channels * config.pack;
    let place = vb.pp("body");
    let body = if norm == CriticNorm::Batch {
        let mut body = Sequential::new(place);
        for (i, from, to) in widths(inputs, config.width, doublings) {
            body = body.add(|vb| Conv2d::new(from, to, 4, halving(i == 0), vb))?;
            if i > 0 {
                body = body.add(|vb| batch_norm(to, vb))?;
            }
            body = body.add(|_| Ok(Activation::LeakyRelu(0.2)))?;
        }
        Body::Plain(body.add(|_| Ok(Flatten))?)
    } else {
        let mut body = Chain::new(place);
        for (i, from, to) in widths(inputs, config.width, doublings) {
            let with_bias = halving(i == 0 || norm != CriticNorm::Layer);
            body = match norm {
                CriticNorm::Spectral => {
                    body.add(|vb| ScaledConv2d::new(from, to, 4, with_bias, WeightScale::SPECTRAL, vb))?
                }
                _ => body.add(|vb| Conv2d::new(from, to, 4, with_bias, vb))?,
            };
            if norm == CriticNorm::Layer && i > 0 {
                let size = config.image_size >> (i + 1);
                body = body.add(|vb| LayerNorm::new((to, size, size), vb))?;
            }
            body = body.add(|_| Ok(Activation::LeakyRelu(0.2)))?;
        }
        Body::Chain(body.add(|_| Ok(Flatten))?)
    };
    let features = (config.width << (doublings - 1)) * start * start;
    let scale = (norm == CriticNorm::Spectral).then_some(WeightScale::SPECTRAL);
    ImageCritic::with_heads(body, features, config.classes, scale, &vb)
}

/// Each convolution's place, and its channels in and out.
fn widths(inputs: usize, width: usize, count: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..count).map(move |i| (i, if i == 0 { inputs } else { width << (i - 1) }, width << i))
}

fn halving(bias: bool) -> Conv2dConfig {
    Conv2dConfig { stride: 2.into(), padding: 1.into(), bias, weight_init: CONV_INIT, ..Default::default() }
}
