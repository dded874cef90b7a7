//! The training loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::checkpoint::Keep;
use super::fit::Fit;
use super::{Best, Callback, Run, RunDir, Scores, TrainStep};
use crate::dataset::{Batches, DataLoader, Position};
use crate::{Error, Result, Seed, on_pool};

/// Runs a [`TrainStep`] over the batches of a loader until a limit is reached, with callbacks watching.
///
/// A run that is killed at any moment and started again with [`resume`](Self::resume) goes on from its newest checkpoint
/// and ends with the same bits.
pub struct Trainer {
    pub(super) dir: RunDir,
    pub(super) limit: Limit,
    pub(super) seed: Seed,
    pub(super) resume: bool,
    pub(super) callbacks: Vec<Box<dyn Callback>>,
    validate: Every,
    monitor: String,
    interrupted: Arc<AtomicBool>,
}

#[derive(Default)]
pub(super) struct Limit {
    pub epochs: Option<u64>,
    pub steps: Option<u64>,
    pub time: Option<Duration>,
}

enum Every {
    Epochs(u64),
    Steps(u64),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// At its limit of epochs, steps or time.
    Finished,
    /// A callback asked for it, with this reason.
    Stopped(String),
    /// The user asked for it (Ctrl-C); a checkpoint was written.
    Interrupted,
}

/// A run that has ended.
pub struct Fitted<S> {
    /// The step, with the trained model in it.
    pub step: S,
    /// The scores of the last validation; empty where there was none.
    pub scores: Scores,
    /// Steps taken, earlier parts of a resumed run included.
    pub steps: u64,
    /// Epochs finished.
    pub epochs: u64,
    /// Seconds of training, earlier parts of a resumed run included.
    pub seconds: f64,
    /// How it ended.
    pub ended: Ended,
    best: Option<Best>,
}

impl<S> Fitted<S> {
    /// The best validation by the monitored score; none where nothing was validated.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }
}

impl Trainer {
    /// A run in the folder `dir`. What an earlier run left there is replaced, unless this one resumes it.
    pub fn new(dir: RunDir) -> Self {
        Self {
            dir,
            limit: Limit::default(),
            validate: Every::Epochs(1),
            monitor: "validation_loss".into(),
            seed: Seed(0),
            resume: false,
            interrupted: Arc::default(),
            callbacks: vec![],
        }
    }

    /// Ends after so many epochs. The first limit that is reached counts.
    pub fn epochs(mut self, epochs: u64) -> Self {
        self.limit.epochs = Some(epochs);
        self
    }

    /// Ends after so many steps.
    pub fn steps(mut self, steps: u64) -> Self {
        self.limit.steps = Some(steps);
        self
    }

    /// Ends after the step in which so much time of training has passed.
    pub fn wall_time(mut self, time: Duration) -> Self {
        self.limit.time = Some(time);
        self
    }

    /// Validates at the end of every `epochs`-th epoch; the default is every epoch. Whatever the turn, the last step of a
    /// run is followed by a validation.
    pub fn validate_every_epochs(self, epochs: u64) -> Self {
        Self { validate: Every::Epochs(epochs), ..self }
    }

    /// Validates after every `steps`-th step.
    pub fn validate_every_steps(self, steps: u64) -> Self {
        Self { validate: Every::Steps(steps), ..self }
    }

    /// The score by which the best validation is told; `validation_loss` unless said otherwise.
    pub fn monitor(self, name: impl Into<String>) -> Self {
        Self { monitor: name.into(), ..self }
    }

    /// The seed of everything random in the steps, such as dropout.
    pub fn seed(self, seed: Seed) -> Self {
        Self { seed, ..self }
    }

    /// Goes on from the newest whole checkpoint in the folder, if there is one.
    pub fn resume(self, resume: bool) -> Self {
        Self { resume, ..self }
    }

    /// Ends after the current step, with a checkpoint, once `flag` is set.
    pub fn stop_when(self, flag: Arc<AtomicBool>) -> Self {
        Self { interrupted: flag, ..self }
    }

    /// Adds a callback.
    pub fn with(mut self, callback: impl Callback + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Trains `step` on the batches of `train` and validates it on those of `validation`.
    ///
    /// # Errors
    /// No limit; an empty dataset or a batch size of 0; a loss that is not finite; whatever the step, the loaders and the
    /// callbacks fail with. Checkpoints written before stay.
    pub fn fit<S: TrainStep>(
        mut self,
        mut step: S,
        train: DataLoader<S::Batch>,
        validation: impl Into<Option<DataLoader<S::Batch>>>,
    ) -> Result<Fitted<S>> {
        let validation = validation.into();
        // An empty validation is told before an epoch of training, not after.
        validation.as_ref().map_or(Ok(0), DataLoader::num_batches)?;
        let mut fit = Fit::start(&self, &step, &train)?;
        fit.load(&mut self, &mut step)?;
        self.each(|c| c.fit_start(&mut fit.run))?;
        let mut batches: Option<Batches<S::Batch>> = None;
        while !self.is_over(&fit) {
            let epoch = match &mut batches {
                Some(epoch) => epoch,
                // A new epoch, or the rest of the one in which a resumed run was stopped.
                None => {
                    fit.start_epoch();
                    self.each(|c| c.epoch_start(&mut fit.run))?;
                    batches.insert(train.batches(fit.position, &step.device())?)
                }
            };
            let batch = epoch.next().unwrap_or_else(|| Err(Error::invalid("loader", "another batch", "none")))?;
            fit.start_step();
            step.watch(fit.run.watching.take_step());
            let report = match on_pool(|| step.train(&batch, &fit.run.progress)) {
                Ok(report) => report,
                Err(error) => return Err(self.fail(error, &mut step, &batch, &mut fit)),
            };
            fit.end_step(&report);
            self.each(|c| c.batch_end(&mut fit.run, &report))?;
            if let Some(loader) = validation.as_ref().filter(|_| self.validation_is_due(&fit)) {
                self.validate(&mut step, loader, &mut fit)?;
            }
            if let Some(loss) = fit.end_epoch()? {
                self.each(|c| c.epoch_end(&mut fit.run, loss))?;
                batches = None;
            }
            fit.checkpoint_if_asked(&self, &step)?;
        }
        self.end(step, fit)
    }

    pub(super) fn expect_limits(&self, total_steps: Option<u64>) -> Result<()> {
        if total_steps.is_none() && self.limit.time.is_none() {
            return Err(Error::invalid("trainer", "a limit of epochs, steps or time", "none"));
        }
        if matches!(self.validate, Every::Epochs(0) | Every::Steps(0)) {
            return Err(Error::invalid("validation", "every 1 or more epochs or steps", 0));
        }
        Ok(())
    }

    fn each(&mut self, mut hook: impl FnMut(&mut dyn Callback) -> Result<()>) -> Result<()> {
        self.callbacks.iter_mut().try_for_each(|callback| hook(callback.as_mut()))
    }

    fn is_over(&self, fit: &Fit) -> bool {
        let Run { progress, seconds, stop, .. } = &fit.run;
        stop.is_some()
            || self.is_interrupted()
            || progress.total_steps.is_some_and(|total| progress.step >= total)
            || self.limit.time.is_some_and(|time| *seconds >= time.as_secs_f64())
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// When it is the turn for one, and after the last step unless the user is waiting for the end.
    fn validation_is_due(&self, fit: &Fit) -> bool {
        let progress = &fit.run.progress;
        let turn = match self.validate {
            Every::Epochs(n) => progress.last_of_epoch && progress.epoch.is_multiple_of(n),
            Every::Steps(n) => progress.step.is_multiple_of(n),
        };
        turn || (self.is_over(fit) && !self.is_interrupted())
    }

    fn validate<S: TrainStep>(&mut self, step: &mut S, loader: &DataLoader<S::Batch>, fit: &mut Fit) -> Result<()> {
        step.exchange_weights()?;
        step.watch(fit.run.watching.take_validation());
        for batch in loader.batches(Position::default(), &step.device())? {
            step.validate(&batch?)?;
        }
        let scores = step.scores()?;
        fit.take_scores(&self.monitor, &scores)?;
        self.each(|c| c.validation_end(&mut fit.run, &scores))?;
        step.exchange_weights()
    }

    /// The error of a step that failed, told to the callbacks. Where a number was not finite, the step is run again for
    /// those who want to see where that began.
    fn fail<S: TrainStep>(&mut self, error: Error, step: &mut S, batch: &S::Batch, fit: &mut Fit) -> Error {
        let mut error = error;
        if let Some(probe) = fit.run.watching.failure().filter(|_| error.non_finite().is_some()) {
            step.watch(Some(probe));
            let again = on_pool(|| step.train(batch, &fit.run.progress));
            error = again.err().and_then(Error::into_non_finite).unwrap_or(error);
        }
        let error = fit.with_last_good(error);
        for callback in &mut self.callbacks {
            // The step's error is what the user must see.
            let _ = callback.fit_failed(&mut fit.run, &error);
        }
        error
    }

    fn end<S: TrainStep>(mut self, mut step: S, mut fit: Fit) -> Result<Fitted<S>> {
        let ended = match fit.run.stop.clone() {
            _ if self.is_interrupted() => Ended::Interrupted,
            Some(reason) => Ended::Stopped(reason),
            None => Ended::Finished,
        };
        if ended == Ended::Interrupted {
            fit.checkpoint(&self, &step, Keep::default())?;
        }
        step.exchange_weights()?;
        self.each(|c| c.fit_end(&mut fit.run))?;
        for (role, store) in fit.run.params() {
            store.save(self.dir.file(&format!("{role}.safetensors")))?;
        }
        let Fit { run, scores, position, .. } = fit;
        let (steps, epochs) = (run.progress.step, position.epoch);
        Ok(Fitted { step, scores, steps, epochs, seconds: run.seconds, ended, best: run.best })
    }
}
