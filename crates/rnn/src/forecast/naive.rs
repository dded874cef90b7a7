//! The forecast that everything repeats.

use candle_core::{Device, Tensor};
use glassbox_core::{Error, Layer, Pass, Result};
use glassbox_kernels::index::index_select;

use crate::layers::expect_positive;

/// The baseline that the last period repeats: step h of the forecast, counted from 0, is x_(last − period + 1 + h mod period).
/// With period 1 it is the last value.
///
/// # Shapes
/// (batch, input_len, num_channels), input_len at least the period, to (batch, horizon, num_channels).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, Pass};
/// use glassbox_rnn::SeasonalNaive;
/// let window = Tensor::new(&[[[9f32], [1.0], [2.0]]], &Device::Cpu)?;
/// let forecast = SeasonalNaive::new(2, 5)?.forward(&window, &Pass::eval())?;
/// assert_eq!(forecast.flatten_all()?.to_vec1::<f32>()?, [1.0, 2.0, 1.0, 2.0, 1.0]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeasonalNaive {
    period: usize,
    horizon: usize,
}

impl SeasonalNaive {
    /// The forecast of `horizon` steps that the last `period` steps repeat: 24 for hours of a day, 12 for months of a year.
    ///
    /// # Errors
    /// A period or horizon of 0; a horizon of 2^32 or more.
    pub fn new(period: usize, horizon: usize) -> Result<Self> {
        expect_positive("period", period)?;
        expect_positive("horizon", horizon)?;
        if u32::try_from(horizon).is_err() {
            return Err(Error::invalid("horizon", "below 2^32", horizon));
        }
        Ok(Self { period, horizon })
    }
}

impl Layer for SeasonalNaive {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        let first = match *xs.dims() {
            [_, steps, _] if steps >= self.period => steps - self.period,
            _ => {
                let expected = format!("(batch, input_len, num_channels) of {} steps or more, the period", self.period);
                return Err(Error::invalid("input", expected, format!("{:?}", xs.dims())));
            }
        };
        let steps: Vec<i64> = (0..self.horizon).map(|h| (first + h % self.period) as i64).collect();
        let steps = Tensor::from_vec(steps, self.horizon, &Device::Cpu)?.to_device(xs.device())?;
        Ok(index_select(xs, &steps, 1)?)
    }
}
