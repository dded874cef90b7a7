//! Convolution of volumes: videos, and scans of bodies.

use candle_core::Tensor;
use glassbox_core::probe::Cost;
use glassbox_core::{Init, Layer, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::conv::{Conv3dParams, conv3d, same_padding};

use super::conv::expect_stride_1;
use crate::check::{expect_groups, expect_positive, expect_volumes};
use crate::{Padding, Triple};

/// How a [`Conv3d`] is laid over its input; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv3dConfig {
    /// Step of the window, at least 1. Default 1.
    pub stride: Triple,
    /// Zeros around the input. Default none.
    pub padding: Padding<Triple>,
    /// Distance between the taps of the kernel, at least 1. Default 1.
    pub dilation: Triple,
    /// Blocks of channels that are convolved separately; divides both numbers of channels. Default 1.
    pub groups: usize,
    /// Whether a bias is added. Default true.
    pub bias: bool,
    /// Initial value of the weight. Default uniform within ± 1/√fan_in.
    pub weight_init: Init,
}

impl Default for Conv3dConfig {
    fn default() -> Self {
        let one = Triple::cube(1);
        Self { stride: one, padding: 0.into(), dilation: one, groups: 1, bias: true, weight_init: Init::WEIGHT }
    }
}

impl Conv3dConfig {
    fn params(&self, kernel_size: Triple) -> Result<Conv3dParams> {
        let (kernel, stride, dilation) = (kernel_size.array(), self.stride.array(), self.dilation.array());
        expect_positive("kernel_size", &kernel)?;
        expect_positive("stride", &stride)?;
        expect_positive("dilation", &dilation)?;
        let padding = match self.padding {
            Padding::Zeros(zeros) => zeros.array().map(|zeros| [zeros; 2]),
            Padding::Same => {
                expect_stride_1(&stride)?;
                std::array::from_fn(|axis| same_padding(kernel[axis], dilation[axis]))
            }
        };
        Ok(Conv3dParams { stride, padding, dilation, groups: self.groups })
    }
}

/// Slides `weight` over volumes: `y[o] = bias[o] + Σ_c weight[o, c] ⋆ x[c]`, ⋆ being cross-correlation over depth, height
/// and width, c running over the input channels of o's group. The depth of a video is its time.
///
/// Parameters: `weight` (out_channels, in_channels / groups, kernel depth, kernel height, kernel width), `bias`
/// (out_channels), both initially uniform within ± 1/√fan_in with fan_in = in_channels / groups · the kernel's volume, as
/// PyTorch's `nn.Conv3d`. Padding is zeros; PyTorch's other padding modes and unbatched input are not offered.
///
/// # Shapes
/// (batch, in_channels, depth, height, width) to (batch, out_channels, depth', height', width') with `depth' = (depth +
/// padding in front and behind − dilation · (kernel − 1) − 1) / stride + 1`, rounded down; likewise height' and width'.
///
/// # References
/// Tran et al. 2015, arXiv 1412.0767.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{Conv3d, Conv3dConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = Conv3dConfig { stride: (1, 2, 2).into(), padding: 1.into(), ..Default::default() };
/// let layer = Conv3d::new(3, 16, 3, config, params.root())?;
/// let clips = Tensor::zeros((2, 3, 5, 16, 16), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&clips, &Pass::eval())?.dims(), [2, 16, 5, 8, 8]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Conv3d {
    weight: Param,
    bias: Option<Param>,
    in_channels: usize,
    params: Conv3dParams,
    site: Site,
}

impl Conv3d {
    /// A convolution with a kernel of `kernel_size`.
    ///
    /// # Errors
    /// As [`Conv2d::new`](crate::Conv2d::new).
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Triple>,
        config: Conv3dConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let kernel_size = kernel_size.into();
        let checked = expect_groups(config.groups, in_channels, out_channels);
        let params = checked.and_then(|()| config.params(kernel_size)).map_err(|e| e.at(vb.path()))?;
        let group_channels = in_channels / config.groups;
        let Triple { depth, height, width } = kernel_size;
        let fan_in = group_channels * depth * height * width;
        let weight = vb.param("weight", (out_channels, group_channels, depth, height, width), config.weight_init)?;
        let bias = config.bias.then(|| vb.param("bias", out_channels, Init::UniformFan(fan_in))).transpose()?;
        let site = Site::new(vb.path(), "Conv3d").with_cost(Cost::PerOutput(fan_in as u64));
        Ok(Self { weight, bias, in_channels, params, site })
    }

    /// The weight, (out_channels, in_channels / groups, kernel depth, kernel height, kernel width).
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }
}

impl Layer for Conv3d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            expect_volumes(xs, self.in_channels)?;
            let bias = self.bias.as_ref().map(|b| b.get(pass));
            Ok(conv3d(xs, &self.weight.get(pass), bias.as_ref(), &self.params)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
