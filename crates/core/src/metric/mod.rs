//! Scores that accumulate over batches and read out once.

mod accuracy;
mod bleu;
mod chrf;
mod class_scores;
mod classes;
mod confusion;
mod curves;
mod mean;
mod perplexity;
mod regression;
mod rouge;
mod words;

use candle_core::Tensor;

use crate::{Error, Result};

pub use accuracy::{Accuracy, TopK};
pub use bleu::{Bleu, BleuScore, BleuTokenizer};
pub use chrf::Chrf;
pub use class_scores::{Average, FBeta, Precision, Recall};
pub use confusion::ConfusionMatrix;
pub use curves::{PrAuc, RocAuc};
pub use mean::Mean;
pub use perplexity::Perplexity;
pub use regression::{Mae, Mse, R2};
pub use rouge::{Rouge, RougeScore, RougeScores};

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

/// `sum / count`, or the error that there is nothing to divide.
fn ratio(name: &str, sum: f64, count: f64) -> Result<f64> {
    if count > 0.0 { Ok(sum / count) } else { Err(nothing_taken_in(name)) }
}

fn nothing_taken_in(name: &str) -> Error {
    Error::invalid(format!("metric `{name}`"), "at least one sample taken in", "none")
}
