//! Parts of a series, in the order of time.

use std::ops::Range;

use glassbox_core::{Error, Result};

use super::TimeSeries;

/// The steps of each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesSplit {
    /// What is learned from, statistics for scaling included.
    pub train: Range<usize>,
    /// What decides between models; after the training part.
    pub validation: Range<usize>,
    /// What is reported; after the validation part.
    pub test: Range<usize>,
}

impl TimeSeries {
    /// The first `train` steps, the `validation` steps after them, and the `test` steps after those; what is left is not
    /// used. The benchmark on ETTh1 (Zhou et al. 2021) takes 12, 4 and 4 months of 30 days of 24 hours: 8640, 2880, 2880.
    ///
    /// # Errors
    /// A part without a step; more steps than there are.
    pub fn split_counts(&self, train: usize, validation: usize, test: usize) -> Result<SeriesSplit> {
        let got = || format!("{train} + {validation} + {test}");
        if train == 0 || validation == 0 || test == 0 {
            return Err(Error::invalid("split of the series", "at least one step in each part", got()));
        }
        let end = train.checked_add(validation).and_then(|sum| sum.checked_add(test));
        match end.filter(|&end| end <= self.num_steps()) {
            Some(end) => Ok(SeriesSplit { train: 0..train, validation: train..end - test, test: end - test..end }),
            None => Err(Error::invalid("split of the series", format!("at most {} steps", self.num_steps()), got())),
        }
    }

    /// The first `train` of the steps, the next `validation` of them, each rounded down, and the rest: 0.7 and 0.1 are
    /// usual.
    ///
    /// # Errors
    /// Fractions that are not above 0 with a sum below 1, or that leave a part without a step.
    pub fn split_fractions(&self, train: f64, validation: f64) -> Result<SeriesSplit> {
        if !(train > 0.0 && validation > 0.0 && train + validation < 1.0) {
            let got = format!("{train} and {validation}");
            return Err(Error::invalid("fractions of the split", "numbers above 0 with a sum below 1", got));
        }
        let part = |fraction: f64| (self.num_steps() as f64 * fraction) as usize;
        let (train, validation) = (part(train), part(validation));
        self.split_counts(train, validation, self.num_steps().saturating_sub(train + validation))
    }
}
