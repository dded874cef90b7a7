//! The training loop and who watches it.

use crate::Seed;

/// Where a run stands when a step is taken.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The step, counted from 1 over all epochs.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Number of batches in an epoch.
    pub steps_per_epoch: u64,
    /// Number of steps of the whole run; none where only the clock limits it.
    pub total_steps: Option<u64>,
    /// Whether this is the epoch's last batch.
    pub last_of_epoch: bool,
    /// The seed of this step's random numbers.
    pub seed: Seed,
}
