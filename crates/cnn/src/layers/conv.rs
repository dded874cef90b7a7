//! Convolution of sequences and of images.

use candle_core::Tensor;
use glassbox_core::fusion::{Follower, with_tail};
use glassbox_core::probe::Cost;
use glassbox_core::{Error, Init, Layer, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::conv::{Conv1dParams, Conv2dParams, conv1d, conv2d, conv2d_with, same_padding};

use crate::check::{expect_groups, expect_images, expect_positive, expect_sequences};
use crate::{Padding, Pair};

/// How a [`Conv2d`] is laid over its input; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dConfig {
    /// Step of the window, at least 1. Default 1.
    pub stride: Pair,
    /// Zeros around the input. Default none.
    pub padding: Padding<Pair>,
    /// Distance between the taps of the kernel, at least 1. Default 1.
    pub dilation: Pair,
    /// Blocks of channels that are convolved separately; divides both numbers of channels. Default 1.
    pub groups: usize,
    /// Whether a bias is added. Default true.
    pub bias: bool,
    /// Initial value of the weight. Default uniform within ± 1/√fan_in.
    pub weight_init: Init,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        let one = Pair::square(1);
        let weight_init = Init::WEIGHT;
        Self { stride: one, padding: 0.into(), dilation: one, groups: 1, bias: true, weight_init }
    }
}

impl Conv2dConfig {
    fn params(&self, kernel_size: Pair) -> Result<Conv2dParams> {
        let (kernel, stride, dilation) = (kernel_size.array(), self.stride.array(), self.dilation.array());
        expect_positive("kernel_size", &kernel)?;
        expect_positive("stride", &stride)?;
        expect_positive("dilation", &dilation)?;
        let padding = match self.padding {
            Padding::Zeros(Pair { height, width }) => [[height; 2], [width; 2]],
            Padding::Same => {
                expect_stride_1(&stride)?;
                [same_padding(kernel[0], dilation[0]), same_padding(kernel[1], dilation[1])]
            }
        };
        Ok(Conv2dParams { stride, padding, dilation, groups: self.groups })
    }
}

/// Slides `weight` over images: `y[o] = bias[o] + Σ_c weight[o, c] ⋆ x[c]`, ⋆ being cross-correlation over height and
/// width, c running over the input channels of o's group.
///
/// Parameters: `weight` (out_channels, in_channels / groups, kernel height, kernel width), `bias` (out_channels), both
/// initially uniform within ± 1/√fan_in with fan_in = in_channels / groups · kernel height · kernel width, as PyTorch's
/// `nn.Conv2d`. Padding is zeros; PyTorch's other padding modes and unbatched input are not offered.
///
/// # Shapes
/// (batch, in_channels, height, width) to (batch, out_channels, height', width') with `height' = (height + padding above
/// and below − dilation · (kernel − 1) − 1) / stride + 1`, rounded down; likewise width'.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{Conv2d, Conv2dConfig, Padding};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let same = Conv2dConfig { padding: Padding::Same, ..Default::default() };
/// let layer = Conv2d::new(3, 16, (3, 5), same, params.root())?;
/// let images = Tensor::zeros((2, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&images, &Pass::eval())?.dims(), [2, 16, 8, 8]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Conv2d {
    weight: Param,
    bias: Option<Param>,
    in_channels: usize,
    params: Conv2dParams,
    site: Site,
}

impl Conv2d {
    /// A convolution with a kernel of `kernel_size`.
    ///
    /// # Errors
    /// A size, stride, dilation or number of channels of 0, groups that do not divide the channels, padding `Same` with a
    /// stride above 1, or parameters of the same name and another shape.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Pair>,
        config: Conv2dConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let kernel_size = kernel_size.into();
        let checked = expect_groups(config.groups, in_channels, out_channels);
        let params = checked.and_then(|()| config.params(kernel_size)).map_err(|e| e.at(vb.path()))?;
        let group_channels = in_channels / config.groups;
        let fan_in = group_channels * kernel_size.height * kernel_size.width;
        let shape = (out_channels, group_channels, kernel_size.height, kernel_size.width);
        let weight = vb.param("weight", shape, config.weight_init)?;
        let bias = config.bias.then(|| vb.param("bias", out_channels, Init::UniformFan(fan_in))).transpose()?;
        let site = Site::new(vb.path(), "Conv2d").with_cost(Cost::PerOutput(fan_in as u64));
        Ok(Self { weight, bias, in_channels, params, site })
    }

    /// The forward with `residual` added, if there is one, and as many `followers` as one operation does.
    pub(crate) fn forward_with(
        &self,
        xs: &Tensor,
        pass: &Pass,
        residual: Option<&Tensor>,
        followers: &[Follower<'_>],
    ) -> Result<(Tensor, usize)> {
        let run = || {
            expect_images(xs, self.in_channels)?;
            let (weight, bias) = (self.weight.get(pass), self.bias.as_ref().map(|b| b.get(pass)));
            with_tail(self.weight.shape().dims()[0], pass, residual, followers, |tail| {
                Ok(conv2d_with(xs, &weight, bias.as_ref(), &self.params, tail)?)
            })
        };
        run().map_err(|e| e.at(self.site.path()))
    }

    /// The weight, (out_channels, in_channels / groups, kernel height, kernel width).
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// How it is laid over its input.
    pub fn params(&self) -> &Conv2dParams {
        &self.params
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }
}

impl Layer for Conv2d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            expect_images(xs, self.in_channels)?;
            let bias = self.bias.as_ref().map(|b| b.get(pass));
            Ok(conv2d(xs, &self.weight.get(pass), bias.as_ref(), &self.params)?)
        })
    }

    fn forward_fused(&self, xs: &Tensor, pass: &Pass, followers: &[Follower<'_>]) -> Result<(Tensor, usize)> {
        self.forward_with(xs, pass, None, followers)
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

/// How a [`Conv1d`] is laid over its input; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv1dConfig {
    /// Step of the window, at least 1. Default 1.
    pub stride: usize,
    /// Zeros around the input. Default none.
    pub padding: Padding<usize>,
    /// Distance between the taps of the kernel, at least 1. Default 1.
    pub dilation: usize,
    /// Blocks of channels that are convolved separately; divides both numbers of channels. Default 1.
    pub groups: usize,
    /// Whether a bias is added. Default true.
    pub bias: bool,
    /// Initial value of the weight. Default uniform within ± 1/√fan_in.
    pub weight_init: Init,
}

impl Default for Conv1dConfig {
    fn default() -> Self {
        Self { stride: 1, padding: 0.into(), dilation: 1, groups: 1, bias: true, weight_init: Init::WEIGHT }
    }
}

impl Conv1dConfig {
    fn params(&self, kernel_size: usize) -> Result<Conv1dParams> {
        expect_positive("kernel_size", &[kernel_size])?;
        expect_positive("stride", &[self.stride])?;
        expect_positive("dilation", &[self.dilation])?;
        let padding = match self.padding {
            Padding::Zeros(zeros) => [zeros; 2],
            Padding::Same => {
                expect_stride_1(&[self.stride])?;
                same_padding(kernel_size, self.dilation)
            }
        };
        Ok(Conv1dParams { stride: self.stride, padding, dilation: self.dilation, groups: self.groups })
    }
}

/// Slides `weight` over sequences: `y[o] = bias[o] + Σ_c weight[o, c] ⋆ x[c]`, ⋆ being cross-correlation along the length.
///
/// Parameters: `weight` (out_channels, in_channels / groups, kernel_size), `bias` (out_channels), both initially uniform
/// within ± 1/√fan_in with fan_in = in_channels / groups · kernel_size, as PyTorch's `nn.Conv1d`. Padding is zeros.
///
/// # Shapes
/// (batch, in_channels, length) to (batch, out_channels, length') with `length' = (length + padding before and after −
/// dilation · (kernel_size − 1) − 1) / stride + 1`, rounded down.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{Conv1d, Conv1dConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = Conv1d::new(2, 4, 3, Conv1dConfig { stride: 2, padding: 1.into(), ..Default::default() }, params.root())?;
/// let sound = Tensor::zeros((1, 2, 100), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&sound, &Pass::eval())?.dims(), [1, 4, 50]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Conv1d {
    weight: Param,
    bias: Option<Param>,
    in_channels: usize,
    params: Conv1dParams,
    site: Site,
}

impl Conv1d {
    /// A convolution with a kernel of `kernel_size`.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: usize,
        config: Conv1dConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let checked = expect_groups(config.groups, in_channels, out_channels);
        let params = checked.and_then(|()| config.params(kernel_size)).map_err(|e| e.at(vb.path()))?;
        let group_channels = in_channels / config.groups;
        let fan_in = group_channels * kernel_size;
        let weight = vb.param("weight", (out_channels, group_channels, kernel_size), config.weight_init)?;
        let bias = config.bias.then(|| vb.param("bias", out_channels, Init::UniformFan(fan_in))).transpose()?;
        let site = Site::new(vb.path(), "Conv1d").with_cost(Cost::PerOutput(fan_in as u64));
        Ok(Self { weight, bias, in_channels, params, site })
    }

    /// The weight, (out_channels, in_channels / groups, kernel_size).
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }
}

impl Layer for Conv1d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            expect_sequences(xs, self.in_channels)?;
            let bias = self.bias.as_ref().map(|b| b.get(pass));
            Ok(conv1d(xs, &self.weight.get(pass), bias.as_ref(), &self.params)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

/// Fails unless every stride is 1, as padding `Same` wants.
pub(super) fn expect_stride_1(stride: &[usize]) -> Result<()> {
    if stride.iter().all(|&s| s == 1) {
        return Ok(());
    }
    Err(Error::invalid("padding `Same`", "stride 1", format!("stride {stride:?}")))
}
