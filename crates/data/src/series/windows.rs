//! What was, and what came next.

use std::ops::Range;

use candle_core::Tensor;
use glassbox_core::{Dataset, Error, Result, Rng, Sample};

use super::TimeSeries;
use crate::images::out_of_range;

/// The windows of a part of a series: from `input_len` steps the `horizon` steps after them are to be forecast, for each
/// place where the horizon lies in the part. The input may reach back before the part, as in the benchmarks on ETT, so
/// that every step of a validation or test part is forecast.
///
/// # Shapes
/// Input (input_len, channels), target (horizon, channels), f32; views of one tensor.
#[derive(Clone, Debug)]
pub struct SeriesWindows {
    /// (num_steps, num_channels)
    values: Tensor,
    input_len: usize,
    horizon: usize,
    /// Where targets start.
    starts: Range<usize>,
}

impl SeriesWindows {
    /// The windows whose horizon lies in `part`, an index range of steps.
    ///
    /// # Errors
    /// A part that is not in the series; an input length or a horizon of 0; a horizon longer than the part; too few steps
    /// before the part's end for an input and a horizon; a value that a 32-bit number cannot hold.
    pub fn new(series: &TimeSeries, part: Range<usize>, input_len: usize, horizon: usize) -> Result<Self> {
        if part.is_empty() || part.end > series.num_steps() {
            let expected = format!("at least one of {} steps", series.num_steps());
            return Err(Error::invalid("part of the series", expected, format!("{part:?}")));
        }
        if input_len == 0 || horizon == 0 {
            let got = format!("{input_len} and {horizon}");
            return Err(Error::invalid("input_len and horizon", "at least 1", got));
        }
        if horizon > part.len() {
            return Err(Error::invalid("horizon", format!("at most {}, the steps of the part", part.len()), horizon));
        }
        if horizon.saturating_add(input_len) > part.end {
            let expected = format!("at most {}, the steps up to the part's end", part.end);
            return Err(Error::invalid("input_len + horizon", expected, format!("{input_len} + {horizon}")));
        }
        let starts = part.start.max(input_len)..part.end - horizon + 1;
        Ok(Self { values: series.to_tensor()?, input_len, horizon, starts })
    }

    /// The step at which the target of window `index` starts; none where the index is out of range.
    pub fn target_start(&self, index: usize) -> Option<usize> {
        self.starts.clone().nth(index)
    }
}

impl Dataset for SeriesWindows {
    type Item = Sample;

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn get(&self, index: usize, _: &mut Rng) -> Result<Sample> {
        let start = self.target_start(index).ok_or_else(|| out_of_range(index, self.len()))?;
        let input = self.values.narrow(0, start - self.input_len, self.input_len)?;
        Ok(Sample { input, target: self.values.narrow(0, start, self.horizon)? })
    }
}
