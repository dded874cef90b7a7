//! How good samples are: each number says what it compares, and by whose features.

mod frechet;
mod images;
mod linear_algebra;
mod modes;
mod neighbours;
mod table;

use candle_core::Tensor;
use glassbox_core::Result;
use glassbox_core::train::Score;

pub use frechet::{frechet_distance, kernel_distance};
pub use images::ClassifierMeasure;
pub use modes::{ModeCount, ModeDataset, Modes, mode_divergence};
pub use neighbours::{Coverage, different_bins, nearest_distances, precision_recall};
pub use table::{closest_record_distances, correlation_distance, marginal_distances};

/// What a validation of a [`GanStep`](crate::GanStep) reads out of its samples.
pub trait SampleMeasure: Send {
    /// Takes in a batch of real samples and as many generated ones, which were made under the same `condition` (the
    /// batch's targets) where the game is conditional.
    ///
    /// # Errors
    /// Samples that do not suit the measure.
    fn update(&mut self, real: &Tensor, fake: &Tensor, condition: &Tensor) -> Result<()>;

    /// The scores since the last call.
    ///
    /// # Errors
    /// Too few samples for a score.
    fn scores(&mut self) -> Result<Vec<Score>>;
}
