//! Linear layers and convolutions whose weight is scaled before it is used: spectral norm and equalised learning rate.

use candle_core::{D, Tensor};
use glassbox_cnn::{Conv2dConfig, Padding, Pair};
use glassbox_core::{Error, Init, Layer, Param, Pass, Result, Site, TensorExt, VarBuilder};
use glassbox_kernels::conv::{Conv2dParams, conv2d, same_padding};
use glassbox_kernels::linear::linear;

use super::expect_count;
use crate::input_gradient::{InputGradient, Pullback, conv2d_pullback, linear_pullback};

/// By what the weight of a [`ScaledLinear`] or [`ScaledConv2d`] is multiplied before it is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightScale {
    /// Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957): 1 / σ, σ the largest singular value of the weight as
    /// a matrix (out, rest), so that the layer's slope is at most 1. σ = uᵀ W v, with u and v from power iteration:
    /// `power_iterations` of them in each training forward, from where the last one ended. Both are constants to the
    /// gradient.
    ///
    /// Parameter `weight_orig`, buffers `weight_u` (out) and `weight_v` (rest): PyTorch's names and arithmetic
    /// (`nn.utils.spectral_norm`), except that u and v start from 15 iterations, as its newer `parametrizations` do.
    Spectral {
        /// PyTorch's is 1; 0 keeps u and v as they are.
        power_iterations: usize,
    },
    /// Equalised learning rate (Karras et al. 2017, arXiv 1710.10196): multiplier / √fan_in. The weight starts as normal of
    /// deviation 1 / multiplier, so that an optimizer which divides by the gradient's size moves all layers at one speed.
    /// The bias, initially zeros, is multiplied by the multiplier.
    Equalized {
        /// Above 0; 1 in most layers, 0.01 in StyleGAN's mapping network.
        multiplier: f64,
    },
}

impl WeightScale {
    /// Spectral normalisation with one power iteration a forward.
    pub const SPECTRAL: Self = Self::Spectral { power_iterations: 1 };
    /// Equalised learning rate with multiplier 1.
    pub const EQUALIZED: Self = Self::Equalized { multiplier: 1.0 };
}

/// A weight with its scale.
#[derive(Debug)]
struct Scaled {
    weight: Param,
    bias: Option<Param>,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    Spectral { u: Param, v: Param, power_iterations: usize },
    Equalized { scale: f64, multiplier: f64 },
}

/// Power iterations from the initial vector.
const FIRST_ITERATIONS: usize = 15;
/// PyTorch's, below each norm.
const EPS: f64 = 1e-12;

impl Scaled {
    fn new(shape: &[usize], scale: WeightScale, init: Init, with_bias: bool, vb: &VarBuilder) -> Result<Self> {
        let (out, rest) = (shape[0], shape[1..].iter().product::<usize>());
        match scale {
            WeightScale::Spectral { power_iterations } => {
                let weight = vb.param("weight_orig", shape, init)?;
                let u = vb.buffer("weight_u", out, Init::Zeros)?;
                let v = vb.buffer("weight_v", rest, Init::Zeros)?;
                let bias = with_bias.then(|| vb.param("bias", out, Init::UniformFan(rest))).transpose()?;
                let rule = Rule::Spectral { u, v, power_iterations };
                let scaled = Self { weight, bias, rule };
                scaled.start()?;
                Ok(scaled)
            }
            WeightScale::Equalized { multiplier } => {
                if !(multiplier > 0.0 && multiplier.is_finite()) {
                    return Err(Error::invalid("multiplier", "a number above 0", multiplier).at(vb.path()));
                }
                let weight = vb.param("weight", shape, Init::Normal { mean: 0.0, std: 1.0 / multiplier })?;
                let bias = with_bias.then(|| vb.param("bias", out, Init::Zeros)).transpose()?;
                let scale = multiplier / (rest as f64).sqrt();
                Ok(Self { weight, bias, rule: Rule::Equalized { scale, multiplier } })
            }
        }
    }

    /// The first u and v of a new layer; those of one that exists are left alone.
    fn start(&self) -> Result<()> {
        let Rule::Spectral { u, v, .. } = &self.rule else { return Ok(()) };
        if u.value().to_f64_vec()?.iter().any(|&u| u != 0.0) {
            return Ok(());
        }
        u.set(&unit(&u.value().ones_like()?)?)?;
        let matrix = self.weight.value().flatten_from(1)?;
        iterate(&matrix, u, v, FIRST_ITERATIONS)
    }

    /// The weight to compute with.
    fn weight(&self, pass: &Pass) -> Result<Tensor> {
        let weight = self.weight.get(pass);
        match &self.rule {
            Rule::Equalized { scale, .. } => Ok((weight * *scale)?),
            Rule::Spectral { u, v, power_iterations } => {
                if pass.is_training() {
                    iterate(&self.weight.value().flatten_from(1)?, u, v, *power_iterations)?;
                }
                // Copies: the buffers change in place, while the gradient wants those of this forward.
                let (row, column) = (u.value().copy()?.unsqueeze(0)?, v.value().copy()?.unsqueeze(1)?);
                let sigma = row.matmul(&weight.flatten_from(1)?)?.matmul(&column)?;
                let ones = vec![1; weight.rank()];
                Ok(weight.broadcast_div(&sigma.reshape(ones)?)?)
            }
        }
    }

    fn bias(&self, pass: &Pass) -> Result<Option<Tensor>> {
        let bias = self.bias.as_ref().map(|bias| bias.get(pass));
        Ok(match self.rule {
            Rule::Equalized { multiplier, .. } if multiplier != 1.0 => {
                bias.map(|bias| bias * multiplier).transpose()?
            }
            _ => bias,
        })
    }
}

/// v = Wᵀ u, u = W v, each of length 1, `count` times.
fn iterate(matrix: &Tensor, u: &Param, v: &Param, count: usize) -> Result<()> {
    for _ in 0..count {
        v.set(&unit(&u.value().unsqueeze(0)?.matmul(matrix)?.squeeze(0)?)?)?;
        u.set(&unit(&matrix.matmul(&v.value().unsqueeze(1)?)?.squeeze(1)?)?)?;
    }
    Ok(())
}

fn unit(vector: &Tensor) -> Result<Tensor> {
    let norm = vector.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    Ok(vector.broadcast_div(&norm.maximum(EPS)?)?)
}

/// `y = x · (scale · weight)ᵀ + bias`: a linear layer with spectral normalisation or an equalised learning rate; see
/// [`WeightScale`] for parameters and buffers.
///
/// # Shapes
/// (…, in_features) to (…, out_features).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_gan::{ScaledLinear, WeightScale};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = ScaledLinear::new(3, 2, WeightScale::SPECTRAL, params.root())?;
/// let ys = layer.forward(&Tensor::zeros((4, 3), DType::F32, &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.dims(), [4, 2]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ScaledLinear {
    scaled: Scaled,
    in_features: usize,
    site: Site,
}

impl ScaledLinear {
    /// A layer with a bias.
    ///
    /// # Errors
    /// A size of 0, a multiplier out of range, or parameters of the same name and another shape.
    pub fn new(in_features: usize, out_features: usize, scale: WeightScale, vb: VarBuilder) -> Result<Self> {
        let sizes = expect_count("in_features", in_features).and(expect_count("out_features", out_features));
        sizes.map_err(|e| e.at(vb.path()))?;
        let scaled = Scaled::new(&[out_features, in_features], scale, Init::WEIGHT, true, &vb)?;
        Ok(Self { scaled, in_features, site: Site::new(vb.path(), "ScaledLinear") })
    }

    /// The bias, (out_features).
    pub fn bias(&self) -> Option<&Param> {
        self.scaled.bias.as_ref()
    }

    fn apply(&self, xs: &Tensor, weight: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            xs.expect_last_dim(self.in_features, "in_features")?;
            Ok(linear(xs, weight, self.scaled.bias(pass)?.as_ref(), None)?)
        })
    }
}

impl Layer for ScaledLinear {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.apply(xs, &self.scaled.weight(pass)?, pass)
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

impl InputGradient for ScaledLinear {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let weight = self.scaled.weight(pass)?;
        Ok((self.apply(xs, &weight, pass)?, linear_pullback(weight)))
    }
}

/// A convolution of images with spectral normalisation or an equalised learning rate; see [`WeightScale`] for parameters
/// and buffers, and `Conv2d` for the rest.
///
/// # Shapes
/// As `Conv2d`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::Conv2dConfig;
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_gan::{ScaledConv2d, WeightScale};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = Conv2dConfig { stride: 2.into(), padding: 1.into(), ..Default::default() };
/// let layer = ScaledConv2d::new(3, 8, 4, config, WeightScale::EQUALIZED, params.root())?;
/// let ys = layer.forward(&Tensor::zeros((2, 3, 8, 8), DType::F32, &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.dims(), [2, 8, 4, 4]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ScaledConv2d {
    scaled: Scaled,
    in_channels: usize,
    params: Conv2dParams,
    site: Site,
}

impl ScaledConv2d {
    /// A convolution with a kernel of `kernel_size`. The config's initial value is that of a spectral weight alone.
    ///
    /// # Errors
    /// A size, stride, dilation or number of channels of 0, groups that do not divide the channels, padding `Same` with a
    /// stride above 1, a multiplier out of range, or parameters of the same name and another shape.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Pair>,
        config: Conv2dConfig,
        scale: WeightScale,
        vb: VarBuilder,
    ) -> Result<Self> {
        let kernel_size = kernel_size.into();
        let params = layout(in_channels, out_channels, kernel_size, &config).map_err(|e| e.at(vb.path()))?;
        let shape = [out_channels, in_channels / config.groups, kernel_size.height, kernel_size.width];
        let scaled = Scaled::new(&shape, scale, config.weight_init, config.bias, &vb)?;
        Ok(Self { scaled, in_channels, params, site: Site::new(vb.path(), "ScaledConv2d") })
    }

    fn apply(&self, xs: &Tensor, weight: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            if xs.rank() != 4 || xs.dims()[1] != self.in_channels {
                let expected = format!("(batch, {}, height, width)", self.in_channels);
                return Err(Error::invalid("input", expected, format!("{:?}", xs.dims())));
            }
            Ok(conv2d(xs, weight, self.scaled.bias(pass)?.as_ref(), &self.params)?)
        })
    }
}

/// How the convolution is laid over its input, with every number checked.
fn layout(in_channels: usize, out_channels: usize, kernel: Pair, config: &Conv2dConfig) -> Result<Conv2dParams> {
    let pairs = [("kernel_size", kernel), ("stride", config.stride), ("dilation", config.dilation)];
    for (what, Pair { height, width }) in pairs {
        expect_count(what, height.min(width))?;
    }
    expect_count("in_channels and out_channels", in_channels.min(out_channels))?;
    let groups = config.groups;
    if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
        return Err(Error::invalid("groups", "a divisor of both numbers of channels", groups));
    }
    let (stride, dilation) = (config.stride, config.dilation);
    let padding = match config.padding {
        Padding::Zeros(Pair { height, width }) => [[height; 2], [width; 2]],
        Padding::Same if stride == Pair::square(1) => {
            [same_padding(kernel.height, dilation.height), same_padding(kernel.width, dilation.width)]
        }
        Padding::Same => return Err(Error::invalid("stride of a convolution with padding Same", "1", "more")),
    };
    let both = |pair: Pair| [pair.height, pair.width];
    Ok(Conv2dParams { stride: both(stride), padding, dilation: both(dilation), groups })
}

impl Layer for ScaledConv2d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.apply(xs, &self.scaled.weight(pass)?, pass)
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

impl InputGradient for ScaledConv2d {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        let weight = self.scaled.weight(pass)?;
        Ok((self.apply(xs, &weight, pass)?, conv2d_pullback(xs, weight, self.params)?))
    }
}
