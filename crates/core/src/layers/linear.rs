//! The fully connected layer.

use candle_core::Tensor;
use glassbox_kernels::graph::add;
use glassbox_kernels::linear::linear;

use crate::fusion::Follower;
use crate::probe::Cost;
use crate::{Activation, Init, Layer, Param, Pass, Result, Site, TensorExt, VarBuilder};

/// `y = x · weightᵀ + bias`, applied to the last dimension.
///
/// With a [`LowRank`](crate::LowRank) change of the weight, x · (weight + scale · B A)ᵀ.
///
/// Parameters: `weight` (out_features, in_features), `bias` (out_features), both initially uniform within
/// ± 1/√in_features, as PyTorch's `nn.Linear`.
///
/// # Shapes
/// (…, in_features) to (…, out_features).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, Linear, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = Linear::new(3, 2, params.root())?;
/// let ys = layer.forward(&Tensor::zeros((4, 3), DType::F32, &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.dims(), [4, 2]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Linear {
    weight: Param,
    bias: Option<Param>,
    in_features: usize,
    site: Site,
}

impl Linear {
    /// A layer with a bias.
    ///
    /// # Errors
    /// Parameters of the same name and another shape exist.
    pub fn new(in_features: usize, out_features: usize, vb: VarBuilder) -> Result<Self> {
        Self::build(in_features, out_features, true, vb)
    }

    /// A layer without a bias.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn no_bias(in_features: usize, out_features: usize, vb: VarBuilder) -> Result<Self> {
        Self::build(in_features, out_features, false, vb)
    }

    fn build(in_features: usize, out_features: usize, with_bias: bool, vb: VarBuilder) -> Result<Self> {
        let weight = vb.param("weight", (out_features, in_features), Init::WEIGHT)?;
        weight.mark_linear();
        let bias = with_bias.then(|| vb.param("bias", out_features, Init::UniformFan(in_features))).transpose()?;
        let site = Site::new(vb.path(), "Linear").with_cost(Cost::PerOutput(in_features as u64));
        Ok(Self { weight, bias, in_features, site })
    }

    fn apply(&self, xs: &Tensor, activation: Option<Activation>, pass: &Pass) -> Result<Tensor> {
        xs.expect_last_dim(self.in_features, "in_features")?;
        let bias = self.bias.as_ref().map(|bias| bias.get(pass));
        let weight = self.weight.get(pass);
        let Some(low_rank) = self.weight.low_rank() else { return Ok(linear(xs, &weight, bias.as_ref(), activation)?) };
        let ys = add(&linear(xs, &weight, bias.as_ref(), None)?, &low_rank.forward(xs, pass)?)?;
        activation.map_or(Ok(ys.clone()), |activation| activation.forward(&ys, pass))
    }

    /// The weight, (out_features, in_features).
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, (out_features).
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }
}

impl Layer for Linear {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || self.apply(xs, None, pass))
    }

    fn forward_fused(&self, xs: &Tensor, pass: &Pass, followers: &[Follower<'_>]) -> Result<(Tensor, usize)> {
        match followers.first() {
            Some(&Follower::Activation(activation)) => {
                let ys = self.apply(xs, Some(activation), pass).map_err(|e| e.at(self.site.path()))?;
                Ok((ys, 1))
            }
            _ => self.forward(xs, pass).map(|ys| (ys, 0)),
        }
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
