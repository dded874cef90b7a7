//! Scaling a series with the statistics of its training part.

use std::ops::Range;

use candle_core::Tensor;
use glassbox_core::{Error, Result};

use super::TimeSeries;
use crate::{Column, Standardizer};

impl Standardizer {
    /// Learns from the steps of `training` of a series.
    ///
    /// # Errors
    /// No step, or one that is not there; values so large that their variance is not finite.
    pub fn fit_series(series: &TimeSeries, training: Range<usize>) -> Result<Self> {
        if training.is_empty() || training.end > series.num_steps() {
            let expected = format!("at least one of {} steps", series.num_steps());
            return Err(Error::invalid("training part", expected, format!("{training:?}")));
        }
        let width = series.num_channels();
        let rows = || series.values().iter().take(training.end * width).skip(training.start * width);
        Self::learn(columns(series), |channel| rows().skip(channel).step_by(width).copied().collect())
    }

    /// `series`, scaled.
    ///
    /// # Errors
    /// Its channels are not those of the series that was fitted; a value that is too large once scaled.
    pub fn apply_to_series(&self, series: TimeSeries) -> Result<TimeSeries> {
        if self.columns != columns(&series) {
            let names: Vec<&str> = self.columns.iter().map(Column::name).collect();
            let expected = format!("those that were fitted: {}", names.join(", "));
            return Err(Error::invalid("channels", expected, series.channels().join(", ")));
        }
        let TimeSeries { clock, channels, mut values } = series;
        for row in values.chunks_exact_mut(channels.len()) {
            for ((value, mean), std) in row.iter_mut().zip(self.means()).zip(self.stds()) {
                *value = (*value - mean) / std;
            }
        }
        TimeSeries::with_clock(clock, channels, values)
    }

    /// What was scaled, such as a forecast (…, channels), back in its own unit: `x · std + mean`.
    ///
    /// # Errors
    /// The last dimension is not the number of channels.
    pub fn restore(&self, scaled: &Tensor) -> Result<Tensor> {
        if scaled.dims().last() != Some(&self.means().len()) {
            let expected = format!("last dimension {}, the number of channels", self.means().len());
            return Err(Error::invalid("scaled values", expected, format!("{:?}", scaled.dims())));
        }
        let row = |values: &[f64]| Tensor::new(values, scaled.device())?.to_dtype(scaled.dtype());
        Ok(scaled.broadcast_mul(&row(self.stds())?)?.broadcast_add(&row(self.means())?)?)
    }
}

fn columns(series: &TimeSeries) -> Vec<Column> {
    series.channels().iter().map(Column::numeric).collect()
}
