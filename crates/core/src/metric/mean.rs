//! The running mean of a number.

use serde::{Deserialize, Serialize};

use super::ratio;
use crate::Result;

/// The weighted mean of the numbers taken in, `Σ weight · value / Σ weight`.
///
/// It averages what is a number already, such as a batch's loss with the batch's size as its weight, and so is not a
/// [`Metric`](super::Metric) of outputs and targets.
///
/// ```
/// let mut loss = glassbox_core::metric::Mean::default();
/// loss.update(2.0, 30.0);
/// loss.update(5.0, 10.0);
/// assert_eq!(loss.compute()?, 2.75);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Takes in `value`, counted `weight` times (0 or more).
    pub fn update(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    /// The mean so far. NaN once a NaN was taken in.
    ///
    /// # Errors
    /// The weights so far don't sum to more than 0.
    pub fn compute(&self) -> Result<f64> {
        self.compute_as("mean")
    }

    /// The mean so far of the metric called `name`.
    pub(super) fn compute_as(&self, name: &str) -> Result<f64> {
        ratio(name, self.sum, self.weight)
    }

    /// Forgets everything taken in.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
