//! Windows brought to one level and scale, and forecasts brought back.

use candle_core::Tensor;
use glassbox_core::{Error, Init, Param, Pass, Result, TensorExt, VarBuilder};
use glassbox_kernels::reduce::mean;

use crate::layers::expect_positive;

/// What a [`Forecaster`](crate::Forecaster) does to the level and scale of each window, and undoes to its forecast, so that a
/// series which drifts away from its training part is still read right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowNorm {
    /// Nothing.
    None,
    /// The channel's last value is subtracted, and added to the forecast (Zeng et al. 2023, arXiv 2205.13504, as NLinear).
    LastValue,
    /// [`RevIn`].
    RevIn,
}

/// Reversible instance normalisation (Kim et al. 2022, "Reversible Instance Normalization for Accurate Time-Series
/// Forecasting against Distribution Shift"): each channel of each window gets mean 0 and deviation 1, then a learned scale
/// and shift; the forecast takes the same way back.
///
/// normalize: y = (x − mean) / √(variance + eps) · weight + bias, with the window's mean and variance over time (that of the
/// population), eps = 1e-5. restore: x = (y − bias) / (weight + eps²) · √(variance + eps) + mean.
///
/// Parameters: `weight` (num_channels), initially 1, `bias` (num_channels), initially 0.
///
/// # Shapes
/// (batch, input_len, num_channels) in; (batch, horizon, num_channels), or with more dimensions behind, back.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_rnn::RevIn;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let revin = RevIn::new(1, params.root())?;
/// let window = Tensor::new(&[[[10f32], [14.0]]], &Device::Cpu)?;
/// let (normed, level) = revin.normalize(&window, &Pass::eval())?;
/// assert!((normed.flatten_all()?.to_vec1::<f32>()?[1] - 1.0).abs() < 1e-5);
/// let back = revin.restore(&normed, &level, &Pass::eval())?;
/// assert!((back.flatten_all()?.to_vec1::<f32>()?[1] - 14.0).abs() < 1e-4);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RevIn {
    weight: Param,
    bias: Param,
    num_channels: usize,
}

/// The level and scale of a batch of windows: what [`RevIn::restore`] needs of [`RevIn::normalize`].
#[derive(Clone, Debug)]
pub struct WindowLevel {
    /// (batch, 1, num_channels)
    center: Tensor,
    /// (batch, 1, num_channels); none is 1.
    scale: Option<Tensor>,
}

const EPS: f64 = 1e-5;

impl RevIn {
    /// For windows of `num_channels` channels.
    ///
    /// # Errors
    /// No channels; parameters of the same name and another shape exist.
    pub fn new(num_channels: usize, vb: VarBuilder) -> Result<Self> {
        expect_positive("num_channels", num_channels).map_err(|e| e.at(vb.path()))?;
        let weight = vb.param("weight", num_channels, Init::Ones)?;
        Ok(Self { weight, bias: vb.param("bias", num_channels, Init::Zeros)?, num_channels })
    }

    /// The windows, normalised, and what undoes it.
    ///
    /// # Errors
    /// Another shape, or no steps.
    pub fn normalize(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, WindowLevel)> {
        xs.expect_rank(3, "(batch, input_len, num_channels)")?;
        xs.expect_last_dim(self.num_channels, "num_channels")?;
        if xs.dim(1)? == 0 {
            return Err(Error::invalid("input", "windows of at least one step", format!("{:?}", xs.dims())));
        }
        let center = mean(xs, 1)?.unsqueeze(1)?;
        let centered = xs.broadcast_sub(&center)?;
        let scale = (mean(&centered.sqr()?, 1)?.unsqueeze(1)? + EPS)?.sqrt()?;
        let normed = centered.broadcast_div(&scale)?.broadcast_mul(&self.weight.get(pass))?;
        let normed = normed.broadcast_add(&self.bias.get(pass))?;
        Ok((normed, WindowLevel { center, scale: Some(scale) }))
    }

    /// A forecast in the units of the windows whose level this is.
    ///
    /// # Errors
    /// Another batch size or number of channels.
    pub fn restore(&self, ys: &Tensor, level: &WindowLevel, pass: &Pass) -> Result<Tensor> {
        let parameter = |param: &Param| behind(&param.get(pass).reshape((1, 1, self.num_channels))?, ys);
        let unshifted = ys.broadcast_sub(&parameter(&self.bias)?)?;
        level.restore(&unshifted.broadcast_div(&(parameter(&self.weight)? + EPS * EPS)?)?)
    }
}

impl WindowLevel {
    /// The windows less their last values, and what undoes it.
    fn subtract_last(xs: &Tensor) -> Result<(Tensor, Self)> {
        let center = xs.narrow(1, xs.dim(1)?.saturating_sub(1), 1)?;
        Ok((xs.broadcast_sub(&center)?, Self { center, scale: None }))
    }

    fn restore(&self, ys: &Tensor) -> Result<Tensor> {
        let scaled = match &self.scale {
            Some(scale) => ys.broadcast_mul(&behind(scale, ys)?)?,
            None => ys.clone(),
        };
        Ok(scaled.broadcast_add(&behind(&self.center, ys)?)?)
    }
}

/// `level`, (batch, 1, num_channels), with as many dimensions of size 1 behind as `ys` has more.
fn behind(level: &Tensor, ys: &Tensor) -> Result<Tensor> {
    let mut dims = level.dims().to_vec();
    dims.resize(ys.rank().max(dims.len()), 1);
    Ok(level.reshape(dims)?)
}

/// The norm of a forecaster.
#[derive(Debug)]
pub(super) enum Norm {
    None,
    LastValue,
    RevIn(RevIn),
}

impl Norm {
    pub fn new(norm: WindowNorm, num_channels: usize, vb: &VarBuilder) -> Result<Self> {
        Ok(match norm {
            WindowNorm::None => Self::None,
            WindowNorm::LastValue => Self::LastValue,
            WindowNorm::RevIn => Self::RevIn(RevIn::new(num_channels, vb.pp("revin"))?),
        })
    }

    /// Runs `forecast` on the windows `xs`, normalised, and restores what it gives.
    pub fn around(&self, xs: &Tensor, pass: &Pass, forecast: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        match self {
            Self::None => forecast(xs),
            Self::LastValue => {
                let (normed, level) = WindowLevel::subtract_last(xs)?;
                level.restore(&forecast(&normed)?)
            }
            Self::RevIn(revin) => {
                let (normed, level) = revin.normalize(xs, pass)?;
                revin.restore(&forecast(&normed)?, &level, pass)
            }
        }
    }
}
