//! Activations as layers.

use candle_core::Tensor;
use glassbox_kernels::activation::{Activation, activation, prelu};

use super::expect_count;
use crate::fusion::Follower;
use crate::{Error, Init, Layer, Param, Pass, Result, Site, TensorExt, VarBuilder};

/// Elementwise; any shape.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Activation, Layer, Pass};
/// let xs = Tensor::new(&[-1f32, 2.0], &Device::Cpu)?;
/// assert_eq!(Activation::LeakyRelu(0.1).forward(&xs, &Pass::eval())?.to_vec1::<f32>()?, [-0.1, 2.0]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
impl Layer for Activation {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        Ok(activation(xs, *self)?)
    }

    fn follower(&self) -> Option<Follower<'_>> {
        Some(Follower::Activation(*self))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Relu => "Relu",
            Self::LeakyRelu(_) => "LeakyRelu",
            Self::Elu(_) => "Elu",
            Self::Gelu | Self::GeluTanh => "Gelu",
            Self::Silu => "Silu",
            Self::Softplus { .. } => "Softplus",
            Self::Mish => "Mish",
            Self::HardSwish => "HardSwish",
            Self::HardSigmoid => "HardSigmoid",
            Self::LogSigmoid => "LogSigmoid",
        }
    }
}

/// Softmax along a dimension: y_i = e^(x_i) / Σ_j e^(x_j).
///
/// # Shapes
/// Any of one dimension or more; the output has the same.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, Pass, Softmax};
/// let ys = Softmax::new(-1).forward(&Tensor::new(&[1f32, 1.0], &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.to_vec1::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    dim: isize,
}

impl Softmax {
    /// Along dimension `dim`; negative ones count from the end, so that -1 is the last.
    pub fn new(dim: isize) -> Self {
        Self { dim }
    }
}

impl Layer for Softmax {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        xs.softmax(dimension(xs, self.dim)?)
    }
}

/// Logarithm of the softmax along a dimension: y_i = x_i − ln Σ_j e^(x_j). Exact where the softmax itself rounds to 0 or 1.
///
/// # Shapes
/// Any of one dimension or more; the output has the same.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, LogSoftmax, Pass};
/// let ys = LogSoftmax::new(-1).forward(&Tensor::new(&[0f32, 1e4], &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.to_vec1::<f32>()?, [-1e4, 0.0]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSoftmax {
    dim: isize,
}

impl LogSoftmax {
    /// Along dimension `dim`; negative ones count from the end, so that -1 is the last.
    pub fn new(dim: isize) -> Self {
        Self { dim }
    }
}

impl Layer for LogSoftmax {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        xs.log_softmax(dimension(xs, self.dim)?)
    }
}

/// The dimension that `dim` stands for, where negative ones count from the end.
fn dimension(xs: &Tensor, dim: isize) -> Result<usize> {
    let rank = xs.rank();
    let index = if dim < 0 { rank.checked_add_signed(dim) } else { Some(dim.unsigned_abs()) };
    index
        .filter(|&i| i < rank)
        .ok_or_else(|| Error::invalid("input", format!("a shape with a dimension {dim}"), format!("{:?}", xs.dims())))
}

/// The leaky ReLU with a learned slope: x where x > 0, else weight · x (He et al. 2015, arXiv 1502.01852).
///
/// Parameter: `weight`, of one element or one for each channel, initially 0.25, as PyTorch's `nn.PReLU`. Keep weight decay
/// off it, as the paper does.
///
/// # Shapes
/// With one slope, any; with one for each channel, (batch, num_channels, …). The output has the same.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, PRelu, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let ys = PRelu::new(params.root())?.forward(&Tensor::new(&[-4f32, 4.0], &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.to_vec1::<f32>()?, [-1.0, 4.0]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct PRelu {
    weight: Param,
    site: Site,
}

impl PRelu {
    /// One slope for all elements.
    ///
    /// # Errors
    /// A parameter of the same name and another shape exists.
    pub fn new(vb: VarBuilder) -> Result<Self> {
        Self::per_channel(1, vb)
    }

    /// One slope for each of `num_channels` channels.
    ///
    /// # Errors
    /// No channels; otherwise as [`new`](Self::new).
    pub fn per_channel(num_channels: usize, vb: VarBuilder) -> Result<Self> {
        expect_count("num_channels", num_channels).map_err(|e| e.at(vb.path()))?;
        let weight = vb.param("weight", num_channels, Init::Constant(0.25))?;
        Ok(Self { weight, site: Site::new(vb.path(), "PRelu") })
    }

    /// The slopes, (1) or (num_channels).
    pub fn weight(&self) -> &Param {
        &self.weight
    }
}

impl Layer for PRelu {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || Ok(prelu(xs, &self.weight.get(pass))?))
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
