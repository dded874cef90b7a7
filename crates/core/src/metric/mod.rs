//! Scores that accumulate over batches and read out once.

use candle_core::Tensor;

use crate::Result;

/// A score over all the batches since the last reset.
pub trait Metric: Send {
    /// Its plain snake-case name, such as `accuracy`: the key in logs and results.
    fn name(&self) -> &str;

    /// Takes in one batch.
    ///
    /// # Errors
    /// Shapes or types that do not suit the metric.
    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()>;

    /// The score so far.
    ///
    /// # Errors
    /// Nothing was taken in, or the score is not defined for what was (such as the area under a curve of one class).
    fn compute(&self) -> Result<f64>;

    /// Forgets everything taken in.
    fn reset(&mut self);

    /// Whether a larger score is a better one.
    fn higher_is_better(&self) -> bool {
        true
    }
}
