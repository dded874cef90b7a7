//! The multilayer perceptron.

use candle_core::Tensor;

use super::expect_count;
use crate::{Activation, Dropout, Layer, Linear, Pass, Result, Sequential, VarBuilder};

/// What an [`Mlp`] is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpConfig {
    /// Features of a sample. There is no default: 0 is refused.
    pub in_features: usize,
    /// Features of each hidden layer; none makes a linear model.
    pub hidden: Vec<usize>,
    /// Outputs: classes, or values. There is no default: 0 is refused.
    pub out_features: usize,
    /// After each hidden layer.
    pub activation: Activation,
    /// Probability of dropout after each activation, in [0, 1).
    pub dropout: f64,
}

impl Default for MlpConfig {
    /// One hidden layer of 64 features, ReLU, no dropout.
    fn default() -> Self {
        Self { in_features: 0, hidden: vec![64], out_features: 0, activation: Activation::Relu, dropout: 0.0 }
    }
}

/// A multilayer perceptron: linear layers with an activation, and dropout if asked for, between them.
///
/// Parameters: `fc1.weight`, `fc1.bias`, `fc2.weight`, …, as [`Linear`]'s.
///
/// # Shapes
/// (…, in_features) to (…, out_features).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, Mlp, MlpConfig, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = MlpConfig { in_features: 30, hidden: vec![16], out_features: 2, ..Default::default() };
/// let model = Mlp::new(config, params.root())?;
/// assert_eq!(params.names(), ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
/// let ys = model.forward(&Tensor::zeros((4, 30), DType::F32, &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.dims(), [4, 2]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct Mlp {
    layers: Sequential,
}

impl Mlp {
    /// The model that `config` describes.
    ///
    /// # Errors
    /// A number of features that is 0; a dropout outside [0, 1); parameters of the same name and another shape exist.
    pub fn new(config: MlpConfig, vb: VarBuilder) -> Result<Self> {
        config.validate().map_err(|e| e.at(vb.path()))?;
        let mut layers = Sequential::new(vb);
        let mut features = config.in_features;
        for (i, &hidden) in config.hidden.iter().enumerate() {
            let number = i + 1;
            layers = layers
                .add_named(&format!("fc{number}"), |vb| Linear::new(features, hidden, vb))?
                .add_named(&format!("act{number}"), |_| Ok(config.activation))?;
            if config.dropout > 0.0 {
                layers = layers.add_named(&format!("drop{number}"), |_| Dropout::new(config.dropout))?;
            }
            features = hidden;
        }
        let last = format!("fc{}", config.hidden.len() + 1);
        let layers = layers.add_named(&last, |vb| Linear::new(features, config.out_features, vb))?;
        Ok(Self { layers })
    }
}

impl MlpConfig {
    fn validate(&self) -> Result<()> {
        expect_count("in_features", self.in_features)?;
        expect_count("out_features", self.out_features)?;
        self.hidden.iter().try_for_each(|&features| expect_count("hidden", features))?;
        Dropout::new(self.dropout).map(|_| ())
    }
}

impl Layer for Mlp {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.layers.forward(xs, pass)
    }
}
