//! Learning rates over the steps of a run.

mod cosine;
mod decay;
mod one_cycle;
mod plateau;
mod warmup;

pub use cosine::{Cosine, CosineRestarts};
pub use decay::{Constant, Exponential, InverseSqrt, MultiStep, Polynomial, StepDecay};
pub use one_cycle::OneCycle;
pub use plateau::ReduceOnPlateau;
pub use warmup::Warmup;

use super::{Schedule, check};
use crate::{Error, Progress, Result, State};

/// The steps taken before the one at `progress`: what PyTorch calls the epoch.
fn steps_before(progress: &Progress) -> u64 {
    progress.step.saturating_sub(1)
}

/// The number of steps that a schedule spans: the one it was given, else the run's.
fn span(who: &str, given: Option<u64>, progress: &Progress) -> Result<u64> {
    let limit = "a run limited by steps or epochs, or a number given with `total_steps`";
    let unlimited = || Error::invalid(format!("{who} schedule"), limit, "a run without such a limit");
    check::count(who, "total_steps", given.or(progress.total_steps).ok_or_else(unlimited)?)
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        (**self).rate(base, progress)
    }

    fn observe(&mut self, validation_loss: f64) {
        (**self).observe(validation_loss);
    }

    fn state(&self) -> Result<State> {
        (**self).state()
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        (**self).load_state(state)
    }
}
