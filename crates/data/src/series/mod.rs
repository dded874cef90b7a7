//! Time series: files with time stamps, chronological splits, scaling, windows for forecasting.
//!
//! ```
//! use glassbox_core::Dataset;
//! use glassbox_data::series::{SeriesWindows, mauna_loa_co2};
//! use glassbox_data::Standardizer;
//! let series = mauna_loa_co2()?;
//! let split = series.split_fractions(0.7, 0.1)?;
//! let scaler = Standardizer::fit_series(&series, split.train.clone())?;
//! let series = scaler.apply_to_series(series)?;
//! let (input_len, horizon) = (36, 12);
//! let test = SeriesWindows::new(&series, split.test.clone(), input_len, horizon)?;
//! // Every window whose horizon lies in the test part; the first one's input lies before it.
//! assert_eq!(test.len(), split.test.len() - horizon + 1);
//! # Ok::<(), glassbox_core::Error>(())
//! ```

mod clock;
mod csv;
mod fill;
mod scale;
mod split;
mod windows;

use candle_core::{Device, Tensor};
use glassbox_core::{Error, Result};

use clock::Clock;

pub use crate::embedded::mauna_loa_co2;
pub use clock::Interval;
pub use csv::SeriesCsv;
pub use fill::FillMissing;
pub use split::SeriesSplit;
pub use windows::SeriesWindows;

/// One or more channels, measured at regular intervals; nothing is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSeries {
    clock: Clock,
    channels: Vec<String>,
    /// (num_steps, num_channels), row-major.
    values: Vec<f64>,
}

impl TimeSeries {
    /// A series of `values`, (num_steps, num_channels) in row-major order, whose first step is at the time `start`,
    /// written as [`SeriesCsv`] reads it.
    ///
    /// ```
    /// use glassbox_data::series::{Interval, TimeSeries};
    /// let names = vec!["low".to_string(), "high".to_string()];
    /// let series = TimeSeries::new("2024-01-31", Interval::Months(1), names, vec![1.0, 4.0, 2.0, 6.0])?;
    /// assert_eq!((series.num_steps(), series.row(1)), (2, Some(&[2.0, 6.0][..])));
    /// assert_eq!(series.time(1).as_deref(), Some("2024-02-29"));
    /// # Ok::<(), glassbox_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// A start that cannot be read; an interval of no time; no value; values that are not finite or not whole rows.
    pub fn new(start: &str, interval: Interval, channels: Vec<String>, values: Vec<f64>) -> Result<Self> {
        Self::with_clock(Clock::new(start, interval)?, channels, values)
    }

    fn with_clock(clock: Clock, channels: Vec<String>, values: Vec<f64>) -> Result<Self> {
        if values.is_empty() || channels.is_empty() || !values.len().is_multiple_of(channels.len()) {
            let got = format!("{} values for {} channels", values.len(), channels.len());
            return Err(Error::invalid("series", "whole rows of values, at least one", got));
        }
        if let Some(place) = values.iter().position(|v| !v.is_finite()) {
            let what = format!("channel `{}` of step {}", channels[place % channels.len()], place / channels.len());
            return Err(Error::invalid(what, "a finite number", values[place]));
        }
        Ok(Self { clock, channels, values })
    }

    /// Number of steps.
    pub fn num_steps(&self) -> usize {
        self.values.len() / self.channels.len()
    }

    /// Number of channels.
    pub fn num_channels(&self) -> usize {
        self.channels.len()
    }

    /// The names of the channels.
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    /// All values, (num_steps, num_channels) in row-major order.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values of one step; none where the index is out of range.
    pub fn row(&self, step: usize) -> Option<&[f64]> {
        self.values.chunks_exact(self.channels.len()).nth(step)
    }

    /// The time from one step to the next.
    pub fn interval(&self) -> Interval {
        self.clock.interval
    }

    /// The time of a step, also of one past the end, which a forecast is of; none beyond the year 9999.
    pub fn time(&self, step: usize) -> Option<String> {
        self.clock.text(step)
    }

    /// All values as (num_steps, num_channels), f32, on the CPU.
    ///
    /// # Errors
    /// A value that a 32-bit number cannot hold.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let values: Vec<f32> = self.values.iter().map(|&v| v as f32).collect();
        if let Some(place) = values.iter().position(|v| !v.is_finite()) {
            let (step, channel) = (place / self.channels.len(), place % self.channels.len());
            let what = format!("channel `{}` of step {step}", self.channels[channel]);
            return Err(Error::invalid(what, "a finite 32-bit number", self.values[place]));
        }
        Ok(Tensor::from_vec(values, (self.num_steps(), self.num_channels()), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests;
