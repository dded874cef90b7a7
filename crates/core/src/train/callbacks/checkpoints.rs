//! When a run is saved.

use crate::Result;
use crate::train::checkpoint::Keep;
use crate::train::{Callback, Run, Scores, StepReport};

/// Writes checkpoints: the newest few, and the best one as `checkpoints/best.safetensors`.
///
/// Each is written once every callback has seen its step, atomically, so that a run killed at any moment has a whole one.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// 0: at the end of each epoch.
    every_steps: u64,
    keep_last: usize,
}

impl Checkpoints {
    /// At the end of each epoch, and after each validation that is the best so far.
    pub fn every_epoch() -> Self {
        Self::every_steps(0)
    }

    /// After every `steps`-th step, at the end of each epoch, and after each validation that is the best so far.
    pub fn every_steps(steps: u64) -> Self {
        Self { every_steps: steps, keep_last: Keep::default().last }
    }

    /// How many of the newest stay (3 unless said otherwise, at least 1).
    pub fn keep_last(self, checkpoints: usize) -> Self {
        Self { keep_last: checkpoints, ..self }
    }

    fn request(&self, run: &mut Run) {
        let is_best = run.best.as_ref().is_some_and(|best| best.step == run.progress.step);
        run.request_checkpoint(Keep { last: self.keep_last, is_best });
    }
}

impl Callback for Checkpoints {
    fn name(&self) -> &'static str {
        "checkpoints"
    }

    fn batch_end(&mut self, run: &mut Run, _: &StepReport) -> Result<()> {
        if self.every_steps > 0 && run.progress.step.is_multiple_of(self.every_steps) {
            self.request(run);
        }
        Ok(())
    }

    fn validation_end(&mut self, run: &mut Run, _: &Scores) -> Result<()> {
        self.request(run);
        Ok(())
    }

    fn epoch_end(&mut self, run: &mut Run, _: f64) -> Result<()> {
        self.request(run);
        Ok(())
    }
}
