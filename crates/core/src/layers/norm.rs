//! Normalisations over the elements of a sample: the same in training and evaluation.

use candle_core::{DType, Shape, Tensor};
use glassbox_kernels::norm::{group_norm, layer_norm, rms_norm};

use super::expect_count;
use crate::{Error, Init, Layer, Param, Pass, Result, Site, TensorExt, VarBuilder};

/// Options of [`LayerNorm`] and [`GroupNorm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormConfig {
    /// Added to the variance, above 0. PyTorch's 1e-5 by default.
    pub eps: f64,
    /// Whether there is a learned scale, `weight`.
    pub weight: bool,
    /// Whether there is a learned shift, `bias`.
    pub bias: bool,
}

impl Default for NormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, weight: true, bias: true }
    }
}

/// The learned scale and shift of a normalisation, as far as it has them.
#[derive(Debug)]
struct Affine {
    weight: Option<Param>,
    bias: Option<Param>,
}

impl Affine {
    fn new(shape: &Shape, config: NormConfig, vb: &VarBuilder) -> Result<Self> {
        expect_eps(config.eps).map_err(|e| e.at(vb.path()))?;
        let weight = config.weight.then(|| vb.param("weight", shape, Init::Ones)).transpose()?;
        let bias = config.bias.then(|| vb.param("bias", shape, Init::Zeros)).transpose()?;
        Ok(Self { weight, bias })
    }

    fn get(&self, pass: &Pass) -> (Option<Tensor>, Option<Tensor>) {
        (self.weight.as_ref().map(|p| p.get(pass)), self.bias.as_ref().map(|p| p.get(pass)))
    }
}

fn expect_eps(eps: f64) -> Result<()> {
    if eps > 0.0 && eps.is_finite() { Ok(()) } else { Err(Error::invalid("eps", "a number above 0", eps)) }
}

/// Layer normalisation (Ba et al. 2016, arXiv 1607.06450): y = (x − mean) / √(variance + eps) · weight + bias, mean and
/// biased variance over the last dimensions, `normalized_shape`.
///
/// Parameters: `weight`, initially ones, and `bias`, initially zeros, both of `normalized_shape`, as PyTorch's
/// `nn.LayerNorm`.
///
/// # Shapes
/// (…, normalized_shape); the output has the same.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, LayerNorm, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let ys = LayerNorm::new(2, params.root())?.forward(&Tensor::new(&[[3f32, 5.0]], &Device::Cpu)?, &Pass::eval())?;
/// assert!((ys.to_vec2::<f32>()?[0][1] - 1.0).abs() < 1e-5);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct LayerNorm {
    affine: Affine,
    normalized_shape: Shape,
    eps: f64,
    site: Site,
}

impl LayerNorm {
    /// Over the last dimensions `normalized_shape`: a number, or a tuple of them.
    ///
    /// # Errors
    /// An empty shape or one with a 0; parameters of the same name and another shape exist.
    pub fn new(normalized_shape: impl Into<Shape>, vb: VarBuilder) -> Result<Self> {
        Self::with_config(normalized_shape, NormConfig::default(), vb)
    }

    /// The same, with options.
    ///
    /// # Errors
    /// `eps` is not above 0; otherwise as [`new`](Self::new).
    pub fn with_config(normalized_shape: impl Into<Shape>, config: NormConfig, vb: VarBuilder) -> Result<Self> {
        let normalized_shape = normalized_shape.into();
        if normalized_shape.rank() == 0 || normalized_shape.elem_count() == 0 {
            let got = format!("{:?}", normalized_shape.dims());
            return Err(Error::invalid("normalized_shape", "sizes of 1 or more", got).at(vb.path()));
        }
        let affine = Affine::new(&normalized_shape, config, &vb)?;
        Ok(Self { affine, normalized_shape, eps: config.eps, site: Site::new(vb.path(), "LayerNorm") })
    }

    /// The learned scale, of the normalised shape.
    pub fn weight(&self) -> Option<&Param> {
        self.affine.weight.as_ref()
    }

    /// The last dimensions, over which it normalises.
    pub fn normalized_shape(&self) -> &Shape {
        &self.normalized_shape
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }
}

impl Layer for LayerNorm {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            let (weight, bias) = self.affine.get(pass);
            Ok(layer_norm(xs, weight.as_ref(), bias.as_ref(), self.normalized_shape.dims(), self.eps)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

/// Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467): y = x / √(mean(x²) + eps) · weight, the
/// mean over the last dimension.
///
/// Parameter: `weight` (hidden_size), initially ones. As PyTorch's `nn.RMSNorm` over one dimension.
///
/// # Shapes
/// (…, hidden_size); the output has the same.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, RmsNorm, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let ys = RmsNorm::new(2, params.root())?.forward(&Tensor::new(&[[1f32, 7.0]], &Device::Cpu)?, &Pass::eval())?;
/// assert!((ys.to_vec2::<f32>()?[0][1] - 1.4).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RmsNorm {
    weight: Param,
    hidden_size: usize,
    eps: f64,
    site: Site,
}

impl RmsNorm {
    /// Over a last dimension of `hidden_size`, with PyTorch's default eps: the machine epsilon of the parameters' type,
    /// 1.2e-7 for f32.
    ///
    /// # Errors
    /// A size of 0; a parameter of the same name and another shape exists.
    pub fn new(hidden_size: usize, vb: VarBuilder) -> Result<Self> {
        let eps = match vb.dtype() {
            DType::F64 => f64::EPSILON,
            DType::BF16 => 2f64.powi(-7),
            DType::F16 => 2f64.powi(-10),
            _ => f64::from(f32::EPSILON),
        };
        Self::with_eps(hidden_size, eps, vb)
    }

    /// The same, with `eps` of your choice, above 0.
    ///
    /// # Errors
    /// `eps` is not above 0; otherwise as [`new`](Self::new).
    pub fn with_eps(hidden_size: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        expect_count("hidden_size", hidden_size).and(expect_eps(eps)).map_err(|e| e.at(vb.path()))?;
        let weight = vb.param("weight", hidden_size, Init::Ones)?;
        Ok(Self { weight, hidden_size, eps, site: Site::new(vb.path(), "RmsNorm") })
    }
}

impl Layer for RmsNorm {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            xs.expect_last_dim(self.hidden_size, "hidden_size")?;
            Ok(rms_norm(xs, &self.weight.get(pass), self.eps)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

/// Group normalisation (Wu and He 2018, arXiv 1803.08494): y = (x − mean) / √(variance + eps) · weight + bias, mean and
/// biased variance over the channels of a group and all positions of a sample.
///
/// Parameters: `weight`, initially ones, and `bias`, initially zeros, both (num_channels), as PyTorch's `nn.GroupNorm`.
/// With as many groups as channels it is instance normalisation; with one group, layer normalisation over all of a sample.
///
/// # Shapes
/// (batch, num_channels, …); the output has the same.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{GroupNorm, Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = GroupNorm::new(2, 6, params.root())?;
/// let ys = layer.forward(&Tensor::ones((1, 6, 4, 4), DType::F32, &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.sum_all()?.to_scalar::<f32>()?, 0.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct GroupNorm {
    affine: Affine,
    num_groups: usize,
    num_channels: usize,
    eps: f64,
    site: Site,
}

impl GroupNorm {
    /// `num_groups` groups of `num_channels` channels in all.
    ///
    /// # Errors
    /// `num_groups` does not divide `num_channels`; parameters of the same name and another shape exist.
    pub fn new(num_groups: usize, num_channels: usize, vb: VarBuilder) -> Result<Self> {
        Self::with_config(num_groups, num_channels, NormConfig::default(), vb)
    }

    /// The same, with options.
    ///
    /// # Errors
    /// `eps` is not above 0; otherwise as [`new`](Self::new).
    pub fn with_config(num_groups: usize, num_channels: usize, config: NormConfig, vb: VarBuilder) -> Result<Self> {
        expect_count("num_channels", num_channels).map_err(|e| e.at(vb.path()))?;
        if num_groups == 0 || !num_channels.is_multiple_of(num_groups) {
            let expected = format!("a divisor of the {num_channels} channels");
            return Err(Error::invalid("num_groups", expected, num_groups).at(vb.path()));
        }
        let affine = Affine::new(&Shape::from(num_channels), config, &vb)?;
        Ok(Self { affine, num_groups, num_channels, eps: config.eps, site: Site::new(vb.path(), "GroupNorm") })
    }
}

impl Layer for GroupNorm {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            if xs.rank() < 2 || xs.dims()[1] != self.num_channels {
                let expected = format!("(batch, {}, …), the channels second", self.num_channels);
                return Err(Error::invalid("input", expected, format!("{:?}", xs.dims())));
            }
            let (weight, bias) = self.affine.get(pass);
            Ok(group_norm(xs, self.num_groups, weight.as_ref(), bias.as_ref(), self.eps)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
