//! The bookkeeping of a run: where it stands, what is saved of it, and how it goes on.

use std::time::Instant;

use super::checkpoint::{self, Keep};
use super::{Best, Progress, Run, Score, Scores, StepReport, TrainStep, Trainer};
use crate::dataset::{DataLoader, Position};
use crate::metric::Mean;
use crate::{Error, Result, Seed, State};

/// A run in progress.
pub(super) struct Fit {
    pub run: Run,
    /// The next batch.
    pub position: Position,
    /// Of the last validation.
    pub scores: Scores,
    seed: Seed,
    epoch_loss: Mean,
    started: Instant,
    seconds_before: f64,
}

impl Fit {
    pub fn start<S: TrainStep>(trainer: &Trainer, step: &S, train: &DataLoader<S::Batch>) -> Result<Self> {
        let steps_per_epoch = train.num_batches()? as u64;
        let by_epochs = trainer.limit.epochs.map(|n| n.saturating_mul(steps_per_epoch));
        let total_steps = by_epochs.into_iter().chain(trainer.limit.steps).min();
        trainer.expect_limits(total_steps)?;
        let seed = trainer.seed.child("step");
        let progress = Progress { step: 0, epoch: 1, steps_per_epoch, total_steps, last_of_epoch: false, seed };
        let total_epochs = total_steps.map(|total| total.div_ceil(steps_per_epoch));
        let run = Run::new(progress, total_epochs, trainer.dir.clone(), step.params());
        let (position, scores, epoch_loss) = Default::default();
        Ok(Self { run, position, scores, seed, epoch_loss, started: Instant::now(), seconds_before: 0.0 })
    }

    /// Goes on from the newest checkpoint where the trainer resumes and there is one; clears the folder where it doesn't.
    pub fn load<S: TrainStep>(&mut self, trainer: &mut Trainer, step: &mut S) -> Result<()> {
        let folder = trainer.dir.checkpoints();
        if !trainer.resume {
            return checkpoint::clear(&folder);
        }
        let read = checkpoint::read_newest(&folder, &self.run.params, |warning| eprintln!("warning: {warning}"))?;
        let Some(state) = read else { return Ok(()) };
        self.load_state(&state.nested("run"))?;
        step.load_state(&state.nested("step"))?;
        for callback in &mut trainer.callbacks {
            callback.load_state(&state.nested(&format!("callback.{}", callback.name())))?;
        }
        Ok(())
    }

    pub fn start_epoch(&mut self) {
        self.run.progress.epoch = self.position.epoch + 1;
        self.run.progress.last_of_epoch = false;
    }

    pub fn start_step(&mut self) {
        let progress = &mut self.run.progress;
        progress.step += 1;
        progress.last_of_epoch = self.position.batch as u64 + 1 == progress.steps_per_epoch;
        progress.seed = self.seed.index(progress.step);
    }

    pub fn end_step(&mut self, report: &StepReport) {
        self.epoch_loss.update(report.loss, report.samples as f64);
        self.position.batch += 1;
        self.run.seconds = self.seconds_before + self.started.elapsed().as_secs_f64();
    }

    /// The mean loss of the epoch, if it is over.
    pub fn end_epoch(&mut self) -> Result<Option<f64>> {
        if !self.run.progress.last_of_epoch {
            return Ok(None);
        }
        self.position = Position { epoch: self.position.epoch + 1, batch: 0 };
        std::mem::take(&mut self.epoch_loss).compute().map(Some)
    }

    pub fn take_scores(&mut self, monitor: &str, scores: &Scores) -> Result<()> {
        let score = scores.require(monitor, "monitored score")?;
        if let Some(Score { name, value, .. }) = scores.0.iter().find(|s| !s.value.is_finite()) {
            let (what, step) = (format!("validation's {name}"), self.run.progress.step);
            return Err(self.with_last_good(Error::NonFinite { what, value: *value, step, last_good: None }));
        }
        if self.run.best.as_ref().is_none_or(|best| best.is_beaten_by(score, 0.0)) {
            self.run.best = Some(Best::new(score, &self.run.progress));
        }
        self.scores = scores.clone();
        Ok(())
    }

    /// The error, with the newest checkpoint where it is of numbers that are not finite.
    pub fn with_last_good(&self, error: Error) -> Error {
        match error {
            Error::NonFinite { what, value, step, last_good: None } => {
                let (step, last_good) =
                    (step.max(self.run.progress.step), checkpoint::newest(&self.run.dir.checkpoints()));
                Error::NonFinite { what, value, step, last_good }
            }
            other => other,
        }
    }

    pub fn checkpoint_if_asked(&mut self, trainer: &Trainer, step: &impl TrainStep) -> Result<()> {
        self.run.checkpoint.take().map_or(Ok(()), |keep| self.checkpoint(trainer, step, keep))
    }

    pub fn checkpoint(&self, trainer: &Trainer, step: &impl TrainStep, keep: Keep) -> Result<()> {
        let mut state = State::default();
        state.nest("run", self.state()?);
        state.nest("step", step.state()?);
        for callback in &trainer.callbacks {
            state.nest(&format!("callback.{}", callback.name()), callback.state()?);
        }
        let folder = self.run.dir.checkpoints();
        checkpoint::write(&folder, self.run.progress.step, &self.run.params, &state, keep).map(drop)
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.put("seed", &self.seed)?;
        state.put("steps_per_epoch", &self.run.progress.steps_per_epoch)?;
        state.put("taken", &self.run.progress.step)?;
        state.put("position", &self.position)?;
        state.put("epoch_loss", &self.epoch_loss)?;
        state.put("seconds", &self.run.seconds)?;
        state.put("best", &self.run.best)?;
        state.put("stop", &self.run.stop)?;
        state.put("scores", &self.scores)?;
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        let same = |what: &str, saved: u64, now: u64| {
            if saved == now {
                Ok(())
            } else {
                Err(Error::invalid(format!("{what} of the resumed run"), saved.to_string(), now))
            }
        };
        same("seed", state.value::<Seed>("seed")?.0, self.seed.0)?;
        let steps_per_epoch = self.run.progress.steps_per_epoch;
        same("number of batches an epoch", state.value("steps_per_epoch")?, steps_per_epoch)?;
        self.run.progress.step = state.value("taken")?;
        self.position = state.value("position")?;
        self.epoch_loss = state.value("epoch_loss")?;
        self.seconds_before = state.value("seconds")?;
        self.run.best = state.value("best")?;
        // A run that a callback has ended stays ended.
        self.run.stop = state.value("stop")?;
        self.scores = state.value("scores")?;
        self.run.seconds = self.seconds_before;
        self.run.progress.epoch = self.position.epoch + 1;
        self.run.resumed = true;
        Ok(())
    }
}
