//! Forecasts of time series: a recurrent forecaster, the baselines to show beside it, and how well they do.

mod decode;
mod dlinear;
mod evaluate;
mod naive;
mod norm;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use glassbox_core::{Error, Layer, Pass, Result, Site, VarBuilder};

use crate::layers::expect_positive;
use decode::Decoder;
use norm::Norm;

pub use decode::Decoding;
pub use dlinear::DLinear;
pub use evaluate::{ForecastScores, IntervalScores, walk_forward};
pub use naive::SeasonalNaive;
pub use norm::{RevIn, WindowLevel, WindowNorm};

/// How a [`Forecaster`] is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecasterConfig {
    /// Channels of the series, at least 1. Default 1.
    pub num_channels: usize,
    /// Steps of a window that it forecasts from, at least 1. Default 96.
    pub input_len: usize,
    /// Steps that it forecasts, at least 1. Default 24.
    pub horizon: usize,
    /// How the steps of the horizon come from the window. Default: segments of 24 steps.
    pub decoding: Decoding,
    /// Size of the recurrent state, at least 1; even for segments. Default 128.
    pub hidden_size: usize,
    /// What is done to each window's level. Default: its last value is subtracted.
    pub norm: WindowNorm,
    /// Probability with which the states are dropped in training before the forecast is read from them, in [0, 1).
    /// Default 0.5.
    pub dropout: f64,
    /// Quantiles of each forecast, in ascending order of their levels, an odd number of which the middle one is the forecast
    /// itself; or none, for a forecast alone. Default none.
    pub num_quantiles: Option<usize>,
}

impl Default for ForecasterConfig {
    fn default() -> Self {
        Self {
            num_channels: 1,
            input_len: 96,
            horizon: 24,
            decoding: Decoding::Segments { segment_len: 24 },
            hidden_size: 128,
            norm: WindowNorm::LastValue,
            dropout: 0.5,
            num_quantiles: None,
        }
    }
}

impl ForecasterConfig {
    /// Values that it gives for each channel at each step.
    fn num_values(&self) -> usize {
        self.num_quantiles.unwrap_or(1)
    }

    fn check(&self) -> Result<()> {
        let sizes = [
            ("num_channels", self.num_channels),
            ("input_len", self.input_len),
            ("horizon", self.horizon),
            ("hidden_size", self.hidden_size),
        ];
        sizes.into_iter().try_for_each(|(what, size)| expect_positive(what, size))?;
        if self.num_values().is_multiple_of(2) {
            return Err(Error::invalid(
                "num_quantiles",
                "an odd number: the middle one is the forecast",
                self.num_values(),
            ));
        }
        let outputs = [self.horizon, self.num_channels, self.num_values()];
        if outputs
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size))
            .is_none_or(|n| n > u32::MAX as usize)
        {
            return Err(Error::invalid("horizon · num_channels · num_quantiles", "below 2^32", format!("{outputs:?}")));
        }
        Ok(())
    }
}

/// A recurrent network that forecasts the next `horizon` steps of a series from its last `input_len`.
///
/// A [GRU](crate::Gru) reads the window, whose level the [norm](WindowNorm) has taken out; the [decoding](Decoding) makes the
/// forecast of its state, and the norm puts the level back. Trained on [`Quantile`](glassbox_core::loss::Quantile) loss it
/// gives prediction intervals.
///
/// With [`Decoding::Segments`], `norm` [`WindowNorm::LastValue`] and `hidden_size` 512 it is SegRNN (Lin et al. 2023, arXiv
/// 2308.11200). Always compare with [`SeasonalNaive`] and [`DLinear`].
///
/// # Shapes
/// (batch, input_len, num_channels) to (batch, horizon, num_channels), with num_quantiles as a fourth dimension where there
/// are any.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_rnn::{Decoding, Forecaster, ForecasterConfig};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = ForecasterConfig {
///     num_channels: 7,
///     input_len: 48,
///     horizon: 20,
///     decoding: Decoding::Segments { segment_len: 12 },
///     num_quantiles: Some(3),
///     ..Default::default()
/// };
/// let model = Forecaster::new(config, params.root())?;
/// let windows = Tensor::zeros((2, 48, 7), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward(&windows, &Pass::eval())?.dims(), [2, 20, 7, 3]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Forecaster {
    config: ForecasterConfig,
    norm: Norm,
    decoder: Decoder,
    site: Site,
}

impl Forecaster {
    /// A forecaster as `config` says.
    ///
    /// # Errors
    /// A size of 0, an even number of quantiles, a probability outside [0, 1); what the [decoding](Decoding) does not allow;
    /// parameters of the same name and another shape exist.
    pub fn new(config: ForecasterConfig, vb: VarBuilder) -> Result<Self> {
        let build = || {
            config.check()?;
            let norm = Norm::new(config.norm, config.num_channels, &vb)?;
            Ok((norm, Decoder::new(&config, &vb)?))
        };
        let (norm, decoder) = build().map_err(|e: Error| e.at(vb.path()))?;
        Ok(Self { config, norm, decoder, site: Site::new(vb.path(), "Forecaster") })
    }

    /// How it was built.
    pub fn config(&self) -> &ForecasterConfig {
        &self.config
    }

    fn forecast(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        expect_windows(xs, self.config.input_len, self.config.num_channels)?;
        let ys = self.norm.around(xs, pass, |normed| self.decoder.forecast(normed, pass))?;
        match self.config.num_quantiles {
            Some(_) => Ok(ys),
            None => Ok(ys.squeeze(3)?),
        }
    }
}

impl Layer for Forecaster {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || self.forecast(xs, pass))
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

/// Fails unless `xs` is (batch, input_len, num_channels).
fn expect_windows(xs: &Tensor, input_len: usize, num_channels: usize) -> Result<()> {
    match *xs.dims() {
        [_, steps, channels] if steps == input_len && channels == num_channels => Ok(()),
        _ => {
            let expected = format!("(batch, {input_len}, {num_channels}): (batch, input_len, num_channels)");
            Err(Error::invalid("input", expected, format!("{:?}", xs.dims())))
        }
    }
}
