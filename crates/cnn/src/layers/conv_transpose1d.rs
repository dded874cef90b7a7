//! Transposed convolution of sequences.

use candle_core::Tensor;
use glassbox_core::probe::Cost;
use glassbox_core::{Init, Layer, Param, Pass, Result, Site, VarBuilder};
use glassbox_kernels::conv::{ConvTranspose1dParams, conv_transpose1d};

use crate::check::{expect_groups, expect_output_padding, expect_positive, expect_sequences};

/// How a [`ConvTranspose1d`] writes its output; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTranspose1dConfig {
    /// Distance between the windows that neighbouring input elements write, at least 1. Default 1.
    pub stride: usize,
    /// Elements cut off each side of the output. Default 0.
    pub padding: usize,
    /// Elements added at the end of the output, less than the larger of stride and dilation. Default 0.
    pub output_padding: usize,
    /// Blocks of channels that are convolved separately; divides both numbers of channels. Default 1.
    pub groups: usize,
    /// Whether a bias is added. Default true.
    pub bias: bool,
    /// Distance between the taps of the kernel, at least 1. Default 1.
    pub dilation: usize,
    /// Initial value of the weight. Default uniform within ± 1/√fan_in.
    pub weight_init: Init,
}

impl Default for ConvTranspose1dConfig {
    fn default() -> Self {
        Self { stride: 1, padding: 0, output_padding: 0, groups: 1, bias: true, dilation: 1, weight_init: Init::WEIGHT }
    }
}

impl ConvTranspose1dConfig {
    fn params(&self) -> Result<ConvTranspose1dParams> {
        let Self { stride, padding, output_padding, groups, dilation, .. } = *self;
        expect_positive("stride", &[stride])?;
        expect_positive("dilation", &[dilation])?;
        expect_output_padding(&[output_padding], &[stride], &[dilation])?;
        Ok(ConvTranspose1dParams { stride, padding, output_padding, dilation, groups })
    }
}

/// Spreads each element over a window of a longer sequence: the input gradient of a [`Conv1d`](crate::Conv1d) with the
/// same weight, plus `bias`.
///
/// Parameters: `weight` (in_channels, out_channels / groups, kernel_size), `bias` (out_channels), both initially uniform
/// within ± 1/√fan_in with fan_in = out_channels / groups · kernel_size, which is how PyTorch's `nn.ConvTranspose1d`
/// counts it.
///
/// # Shapes
/// (batch, in_channels, length) to (batch, out_channels, length') with `length' = (length − 1) · stride − 2 · padding +
/// dilation · (kernel_size − 1) + output_padding + 1`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_cnn::{ConvTranspose1d, ConvTranspose1dConfig};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let double = ConvTranspose1dConfig { stride: 2, padding: 1, ..Default::default() };
/// let layer = ConvTranspose1d::new(8, 4, 4, double, params.root())?;
/// let sound = Tensor::zeros((2, 8, 50), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&sound, &Pass::eval())?.dims(), [2, 4, 100]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ConvTranspose1d {
    weight: Param,
    bias: Option<Param>,
    in_channels: usize,
    params: ConvTranspose1dParams,
    site: Site,
}

impl ConvTranspose1d {
    /// A transposed convolution with a kernel of `kernel_size`.
    ///
    /// # Errors
    /// As [`ConvTranspose2d::new`](crate::ConvTranspose2d::new).
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: usize,
        config: ConvTranspose1dConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let checked = expect_groups(config.groups, in_channels, out_channels)
            .and_then(|()| expect_positive("kernel_size", &[kernel_size]));
        let params = checked.and_then(|()| config.params()).map_err(|e| e.at(vb.path()))?;
        let group_channels = out_channels / config.groups;
        let fan_in = group_channels * kernel_size;
        let weight = vb.param("weight", (in_channels, group_channels, kernel_size), config.weight_init)?;
        let bias = config.bias.then(|| vb.param("bias", out_channels, Init::UniformFan(fan_in))).transpose()?;
        let site = Site::new(vb.path(), "ConvTranspose1d").with_cost(Cost::PerInput(fan_in as u64));
        Ok(Self { weight, bias, in_channels, params, site })
    }

    /// The weight, (in_channels, out_channels / groups, kernel_size).
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }
}

impl Layer for ConvTranspose1d {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            expect_sequences(xs, self.in_channels)?;
            let bias = self.bias.as_ref().map(|b| b.get(pass));
            Ok(conv_transpose1d(xs, &self.weight.get(pass), bias.as_ref(), &self.params)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
