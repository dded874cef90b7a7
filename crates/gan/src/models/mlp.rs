//! Networks for points and other short vectors.

use candle_core::Tensor;
use glassbox_core::{Activation, Layer, Linear, Mlp, MlpConfig, Pass, Result, VarBuilder};

use crate::input_gradient::{Chain, InputGradient, Pullback};
use crate::layers::expect_count;
use crate::{Generator, MinibatchStd, ScaledLinear, WeightScale};

/// What an [`MlpGenerator`] and an [`MlpCritic`] are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpGanConfig {
    /// Random numbers that a sample is made from. Default 32.
    pub latent_size: usize,
    /// Numbers of a sample. Default 2.
    pub sample_size: usize,
    /// Size of each hidden layer, of both networks. Default 128, 128.
    pub hidden: Vec<usize>,
    /// Samples that the critic sees at once (PacGAN). Default 1.
    pub pack: usize,
    /// How the critic's weights are scaled; none for plain layers. Default none.
    pub critic_scale: Option<WeightScale>,
    /// Size of the groups whose spread the critic sees before its last layer (minibatch standard deviation); none for no
    /// such layer. Default none.
    pub minibatch_std: Option<usize>,
}

impl Default for MlpGanConfig {
    fn default() -> Self {
        Self {
            latent_size: 32,
            sample_size: 2,
            hidden: vec![128, 128],
            pack: 1,
            critic_scale: None,
            minibatch_std: None,
        }
    }
}

/// Linear layers with ReLU between them: latents to vectors.
///
/// Parameters: `fc1`, `fc2`, ….
///
/// # Shapes
/// (batch, latent_size) to (batch, sample_size).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_gan::{Generator, MlpGanConfig, MlpGenerator};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let generator = MlpGenerator::new(MlpGanConfig::default(), params.root())?;
/// let latents = Tensor::zeros((5, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(generator.generate(&latents, None, &Pass::eval())?.dims(), [5, 2]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct MlpGenerator {
    layers: Mlp,
    latent_size: usize,
}

impl MlpGenerator {
    /// The network with seeded initial values.
    ///
    /// # Errors
    /// A size of 0.
    pub fn new(config: MlpGanConfig, vb: VarBuilder) -> Result<Self> {
        let MlpGanConfig { latent_size, sample_size, hidden, .. } = config;
        let config = MlpConfig {
            in_features: latent_size,
            hidden,
            out_features: sample_size,
            activation: Activation::Relu,
            dropout: 0.0,
        };
        Ok(Self { layers: Mlp::new(config, vb)?, latent_size })
    }
}

impl Generator for MlpGenerator {
    fn latent_size(&self) -> usize {
        self.latent_size
    }

    fn generate(&self, latents: &Tensor, _: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.layers.forward(latents, pass)
    }
}

/// Linear layers with leaky ReLU of slope 0.2 between them: vectors to scores.
///
/// Parameters: `fc1`, `fc2`, ….
///
/// # Shapes
/// (batch, pack · sample_size) to (batch, 1).
pub struct MlpCritic {
    layers: Chain,
}

impl MlpCritic {
    /// The network with seeded initial values.
    ///
    /// # Errors
    /// A size of 0.
    pub fn new(config: MlpGanConfig, vb: VarBuilder) -> Result<Self> {
        expect_count("pack", config.pack).map_err(|e| e.at(vb.path()))?;
        let mut layers = Chain::new(vb);
        let mut features = config.pack * config.sample_size;
        let dense = |layers: Chain, i: usize, from: usize, to: usize| match config.critic_scale {
            Some(scale) => layers.add_named(&format!("fc{i}"), |vb| ScaledLinear::new(from, to, scale, vb)),
            None => layers.add_named(&format!("fc{i}"), |vb| Linear::new(from, to, vb)),
        };
        for (i, &hidden) in (1..).zip(&config.hidden) {
            layers = dense(layers, i, features, hidden)?
                .add_named(&format!("act{i}"), |_| Ok(Activation::LeakyRelu(0.2)))?;
            features = hidden;
        }
        if let Some(group_size) = config.minibatch_std {
            layers = layers.add_named("spread", |_| MinibatchStd::new(group_size))?;
            features += 1;
        }
        Ok(Self { layers: dense(layers, config.hidden.len() + 1, features, 1)? })
    }
}

impl Layer for MlpCritic {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.layers.forward(xs, pass)
    }
}

impl InputGradient for MlpCritic {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        self.layers.forward_with_pullback(xs, pass)
    }
}
