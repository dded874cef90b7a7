//! Transposed convolution of volumes.

use candle_core::Tensor;
use glassbox_core::probe::Cost;
use glassbox_core::{Init, Layer, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::conv::{ConvTranspose3dParams, conv_transpose3d};

use crate::Triple;
use crate::check::{expect_groups, expect_output_padding, expect_positive, expect_volumes};

/// How a [`ConvTranspose3d`] writes its output; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTranspose3dConfig {
    /// Distance between the windows that neighbouring input elements write, at least 1. Default 1.
    pub stride: Triple,
    /// Slices, rows and columns cut off each side of the output. Default 0.
    pub padding: Triple,
    /// Slices, rows and columns added at the end of the output, less than the larger of stride and dilation. Default 0.
    pub output_padding: Triple,
    /// Blocks of channels that are convolved separately; divides both numbers of channels. Default 1.
    pub groups: usize,
    /// Whether a bias is added. Default true.
    pub bias: bool,
    /// Distance between the taps of the kernel, at least 1. Default 1.
    pub dilation: Triple,
    /// Initial value of the weight. Default uniform within ± 1/√fan_in.
    pub weight_init: Init,
}

impl Default for ConvTranspose3dConfig {
    fn default() -> Self {
        let (zero, one) = (Triple::cube(0), Triple::cube(1));
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

impl ConvTranspose3dConfig {
    fn params(&self) -> Result<ConvTranspose3dParams> {
        let (stride, dilation) = (self.stride.array(), self.dilation.array());
        let output_padding = self.output_padding.array();
        expect_positive("stride", &stride)?;
        expect_positive("dilation", &dilation)?;
        expect_output_padding(&output_padding, &stride, &dilation)?;
        let (padding, groups) = (self.padding.array(), self.groups);
        Ok(ConvTranspose3dParams { stride, padding, output_padding, dilation, groups })
    }
}

/// Spreads each element over a window of a larger volume: the input gradient of a [`Conv3d`](crate::Conv3d) with the same
/// weight, plus `bias`.
///
/// Parameters: `weight` (in_channels, out_channels / groups, kernel depth, kernel height, kernel width), `bias`
/// (out_channels), both initially uniform within ± 1/√fan_in with fan_in = out_channels / groups · the kernel's volume,
/// which is how PyTorch's `nn.ConvTranspose3d` counts it.
///
/// # Shapes
/// (batch, in_channels, depth, height, width) to (batch, out_channels, depth', height', width') with `depth' = (depth − 1)
/// · stride − 2 · padding + dilation · (kernel − 1) + output_padding + 1`; likewise height' and width'.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{ConvTranspose3d, ConvTranspose3dConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let double = ConvTranspose3dConfig { stride: 2.into(), padding: 1.into(), ..Default::default() };
/// let layer = ConvTranspose3d::new(8, 4, 4, double, params.root())?;
/// let volumes = Tensor::zeros((2, 8, 3, 7, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&volumes, &Pass::eval())?.dims(), [2, 4, 6, 14, 10]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ConvTranspose3d {
    weight: Param,
    bias: Option<Param>,
    in_channels: usize,
    params: ConvTranspose3dParams,
    site: Site,
}

impl ConvTranspose3d {
    /// A transposed convolution with a kernel of `kernel_size`.
    ///
    /// # Errors
    /// As [`ConvTranspose2d::new`](crate::ConvTranspose2d::new).
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Triple>,
        config: ConvTranspose3dConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let Triple { depth, height, width } = kernel_size.into();
        let checked = expect_groups(config.groups, in_channels, out_channels)
            .and_then(|()| expect_positive("kernel_size", &[depth, height, width]));
        let params = checked.and_then(|()| config.params()).map_err(|e| e.at(vb.path()))?;
        let group_channels = out_channels / config.groups;
        let fan_in = group_channels * depth * height * width;
        let weight = vb.param("weight", (in_channels, group_channels, depth, height, width), config.weight_init)?;
        let bias = config.bias.then(|| vb.param("bias", out_channels, Init::UniformFan(fan_in))).transpose()?;
        let site = Site::new(vb.path(), "ConvTranspose3d").with_cost(Cost::PerInput(fan_in as u64));
        Ok(Self { weight, bias, in_channels, params, site })
    }

    /// The weight, (in_channels, out_channels / groups, kernel depth, kernel height, kernel width).
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }
}

impl Layer for ConvTranspose3d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            expect_volumes(xs, self.in_channels)?;
            let bias = self.bias.as_ref().map(|b| b.get(pass));
            Ok(conv_transpose3d(xs, &self.weight.get(pass), bias.as_ref(), &self.params)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
