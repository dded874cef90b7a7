//! Who watches the loop.

use super::{Run, Scores, StepReport};
use crate::{Error, Result, State};

/// Watches a run at seven points; every hook does nothing unless it is written. Callbacks are called in the order in which
/// they were registered; an error ends the run.
#[allow(unused_variables)]
pub trait Callback: Send {
    /// Its name in checkpoints.
    fn name(&self) -> &'static str;

    /// Before the first step, after a resumed run was loaded.
    ///
    /// # Errors
    /// The callback's own, as for every hook.
    fn fit_start(&mut self, run: &mut Run) -> Result<()> {
        Ok(())
    }

    /// Before the first batch of an epoch.
    ///
    /// # Errors
    /// The callback's own.
    fn epoch_start(&mut self, run: &mut Run) -> Result<()> {
        Ok(())
    }

    /// After each step of training.
    ///
    /// # Errors
    /// The callback's own.
    fn batch_end(&mut self, run: &mut Run, report: &StepReport) -> Result<()> {
        Ok(())
    }

    /// After each validation.
    ///
    /// # Errors
    /// The callback's own.
    fn validation_end(&mut self, run: &mut Run, scores: &Scores) -> Result<()> {
        Ok(())
    }

    /// After the last batch of an epoch, and its validation where one is due. `loss` is the mean over the epoch's samples.
    ///
    /// # Errors
    /// The callback's own.
    fn epoch_end(&mut self, run: &mut Run, loss: f64) -> Result<()> {
        Ok(())
    }

    /// After the last step; the model is saved after this.
    ///
    /// # Errors
    /// The callback's own.
    fn fit_end(&mut self, run: &mut Run) -> Result<()> {
        Ok(())
    }

    /// Instead of [`fit_end`](Self::fit_end) where a step failed: the run ends with `error`, whatever happens here.
    ///
    /// # Errors
    /// The callback's own; nobody is told.
    fn fit_failed(&mut self, run: &mut Run, error: &Error) -> Result<()> {
        Ok(())
    }

    /// What it needs to go on in a resumed run.
    ///
    /// # Errors
    /// A value that cannot be saved.
    fn state(&self) -> Result<State> {
        Ok(State::default())
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state does not fit.
    fn load_state(&mut self, state: &State) -> Result<()> {
        Ok(())
    }
}
