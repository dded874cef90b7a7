//! The weighted mean of a number, as it comes in.

use serde::{Deserialize, Serialize};

/// Sum and weight of the values so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Average {
    sum: f64,
    weight: f64,
}

impl Average {
    pub fn update(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    /// The mean so far, which starts anew.
    pub fn take(&mut self) -> Option<f64> {
        let Self { sum, weight } = std::mem::take(self);
        (weight > 0.0).then(|| sum / weight)
    }
}
