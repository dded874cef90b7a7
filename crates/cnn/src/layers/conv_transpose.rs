//! Transposed convolution of images.

use candle_core::Tensor;
use glassbox_core::fusion::{Follower, with_tail};
use glassbox_core::probe::Cost;
use glassbox_core::{Init, Layer, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::conv::{ConvTranspose2dParams, conv_transpose2d, conv_transpose2d_with};

use crate::Pair;
use crate::check::{expect_groups, expect_images, expect_output_padding, expect_positive};

/// How a [`ConvTranspose2d`] writes its output; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTranspose2dConfig {
    /// Distance between the windows that neighbouring input elements write, at least 1. Default 1.
    pub stride: Pair,
    /// Rows and columns cut off each side of the output. Default 0.
    pub padding: Pair,
    /// Rows and columns added at the end of the output, less than the larger of stride and dilation. Default 0.
    pub output_padding: Pair,
    /// Blocks of channels that are convolved separately; divides both numbers of channels. Default 1.
    pub groups: usize,
    /// Whether a bias is added. Default true.
    pub bias: bool,
    /// Distance between the taps of the kernel, at least 1. Default 1.
    pub dilation: Pair,
    /// Initial value of the weight. Default uniform within ± 1/√fan_in.
    pub weight_init: Init,
}

impl Default for ConvTranspose2dConfig {
    fn default() -> Self {
        let (zero, one) = (Pair::square(0), Pair::square(1));
        Self {
            stride: one,
            padding: zero,
            output_padding: zero,
            groups: 1,
            bias: true,
            dilation: one,
            weight_init: Init::WEIGHT,
        }
    }
}

impl ConvTranspose2dConfig {
    fn params(&self) -> Result<ConvTranspose2dParams> {
        let (stride, dilation) = (self.stride.array(), self.dilation.array());
        let output_padding = self.output_padding.array();
        expect_positive("stride", &stride)?;
        expect_positive("dilation", &dilation)?;
        expect_output_padding(&output_padding, &stride, &dilation)?;
        let (padding, groups) = (self.padding.array(), self.groups);
        Ok(ConvTranspose2dParams { stride, padding, output_padding, dilation, groups })
    }
}

/// Spreads each pixel over a window of a larger image: the input gradient of a [`Conv2d`](crate::Conv2d) with the same
/// weight, plus `bias`. Also called deconvolution or fractionally strided convolution.
///
/// Parameters: `weight` (in_channels, out_channels / groups, kernel height, kernel width), `bias` (out_channels), both
/// initially uniform within ± 1/√fan_in with fan_in = out_channels / groups · kernel height · kernel width, which is how
/// PyTorch's `nn.ConvTranspose2d` counts it.
///
/// # Shapes
/// (batch, in_channels, height, width) to (batch, out_channels, height', width') with `height' = (height − 1) · stride −
/// 2 · padding + dilation · (kernel − 1) + output_padding + 1`; likewise width'.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{ConvTranspose2d, ConvTranspose2dConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let double = ConvTranspose2dConfig { stride: 2.into(), padding: 1.into(), ..Default::default() };
/// let layer = ConvTranspose2d::new(8, 4, 4, double, params.root())?;
/// let maps = Tensor::zeros((2, 8, 7, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&maps, &Pass::eval())?.dims(), [2, 4, 14, 10]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ConvTranspose2d {
    weight: Param,
    bias: Option<Param>,
    in_channels: usize,
    params: ConvTranspose2dParams,
    site: Site,
}

impl ConvTranspose2d {
    /// A transposed convolution with a kernel of `kernel_size`.
    ///
    /// # Errors
    /// A size, stride, dilation or number of channels of 0, groups that do not divide the channels, too large an
    /// `output_padding`, or parameters of the same name and another shape.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Pair>,
        config: ConvTranspose2dConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let Pair { height, width } = kernel_size.into();
        let checked = expect_groups(config.groups, in_channels, out_channels)
            .and_then(|()| expect_positive("kernel_size", &[height, width]));
        let params = checked.and_then(|()| config.params()).map_err(|e| e.at(vb.path()))?;
        let group_channels = out_channels / config.groups;
        let fan_in = group_channels * height * width;
        let weight = vb.param("weight", (in_channels, group_channels, height, width), config.weight_init)?;
        let bias = config.bias.then(|| vb.param("bias", out_channels, Init::UniformFan(fan_in))).transpose()?;
        let site = Site::new(vb.path(), "ConvTranspose2d").with_cost(Cost::PerInput(fan_in as u64));
        Ok(Self { weight, bias, in_channels, params, site })
    }

    /// The weight, (in_channels, out_channels / groups, kernel height, kernel width).
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }
}

impl Layer for ConvTranspose2d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            expect_images(xs, self.in_channels)?;
            let bias = self.bias.as_ref().map(|b| b.get(pass));
            Ok(conv_transpose2d(xs, &self.weight.get(pass), bias.as_ref(), &self.params)?)
        })
    }

    fn forward_fused(&self, xs: &Tensor, pass: &Pass, followers: &[Follower<'_>]) -> Result<(Tensor, usize)> {
        let run = || {
            expect_images(xs, self.in_channels)?;
            let (weight, bias) = (self.weight.get(pass), self.bias.as_ref().map(|b| b.get(pass)));
            with_tail(weight.dim(1)? * self.params.groups, pass, None, followers, |tail| {
                Ok(conv_transpose2d_with(xs, &weight, bias.as_ref(), &self.params, tail)?)
            })
        };
        run().map_err(|e| e.at(self.site.path()))
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
