//! The run as callbacks see it.

use std::sync::Arc;

use super::checkpoint::Keep;
use super::{Best, Progress, RunDir};
use crate::probe::Probes;
use crate::{ParamStore, Probe};

/// The run as callbacks see it: where it stands, and what can be asked of it.
pub struct Run {
    /// Where the run stands. Before the first step its `step` is 0.
    pub progress: Progress,
    /// Number of epochs of the run, where that is known.
    pub total_epochs: Option<u64>,
    /// The folder of the run.
    pub dir: RunDir,
    /// Seconds of training so far, earlier parts of a resumed run included.
    pub seconds: f64,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Whether the run goes on from a checkpoint.
    pub resumed: bool,
    pub(super) params: Vec<(&'static str, ParamStore)>,
    pub(super) stop: Option<String>,
    pub(super) checkpoint: Option<Keep>,
    pub(super) watching: Watching,
    warnings: Vec<String>,
}

/// Who watches what.
#[derive(Default)]
pub(super) struct Watching {
    step: Vec<Arc<dyn Probe>>,
    validation: Vec<Arc<dyn Probe>>,
    failure: Vec<Arc<dyn Probe>>,
}

impl Watching {
    /// The probe of the next step, which it no longer is after that.
    pub fn take_step(&mut self) -> Option<Arc<dyn Probe>> {
        together(std::mem::take(&mut self.step))
    }

    pub fn take_validation(&mut self) -> Option<Arc<dyn Probe>> {
        together(std::mem::take(&mut self.validation))
    }

    pub fn failure(&self) -> Option<Arc<dyn Probe>> {
        together(self.failure.clone())
    }
}

fn together(mut probes: Vec<Arc<dyn Probe>>) -> Option<Arc<dyn Probe>> {
    match probes.len() {
        0 | 1 => probes.pop(),
        _ => Some(Arc::new(Probes(probes))),
    }
}

impl Run {
    pub(super) fn new(
        progress: Progress,
        total_epochs: Option<u64>,
        dir: RunDir,
        params: Vec<(&'static str, ParamStore)>,
    ) -> Self {
        let (watching, warnings) = Default::default();
        Self {
            progress,
            total_epochs,
            dir,
            seconds: 0.0,
            best: None,
            resumed: false,
            params,
            stop: None,
            checkpoint: None,
            watching,
            warnings,
        }
    }

    /// The parameters by role, as the step names them.
    pub fn params(&self) -> &[(&'static str, ParamStore)] {
        &self.params
    }

    /// Asks the run to end after this step.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.stop.get_or_insert(reason.into());
    }

    /// Asks that `probe` watches the next step of training: its passes, its gradients, its answer.
    pub fn watch_next_step(&mut self, probe: Arc<dyn Probe>) {
        self.watching.step.push(probe);
    }

    /// Asks that `probe` watches the next validation.
    pub fn watch_next_validation(&mut self, probe: Arc<dyn Probe>) {
        self.watching.validation.push(probe);
    }

    /// Where a step of training ends with a number that is not finite, it is run again, with `probe` watching. An
    /// [`Error::NonFinite`](crate::Error::NonFinite) that the probe gives then takes the place of the step's.
    pub fn watch_failure(&mut self, probe: Arc<dyn Probe>) {
        self.watching.failure.push(probe);
    }

    /// Warns the user: progress bars show it.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// Every warning so far.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Asks for a checkpoint once every callback has seen this step.
    pub(super) fn request_checkpoint(&mut self, keep: Keep) {
        self.checkpoint = Some(keep);
    }
}
