//! The run as callbacks see it.

use super::checkpoint::Keep;
use super::{Best, Progress, RunDir};
use crate::ParamStore;

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
}

impl Run {
    /// The parameters by role, as the step names them.
    pub fn params(&self) -> &[(&'static str, ParamStore)] {
        &self.params
    }

    /// Asks the run to end after this step.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.stop.get_or_insert(reason.into());
    }

    /// Asks for a checkpoint once every callback has seen this step.
    pub(super) fn request_checkpoint(&mut self, keep: Keep) {
        self.checkpoint = Some(keep);
    }
}
