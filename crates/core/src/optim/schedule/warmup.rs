//! A rise before another schedule.

use crate::optim::{Schedule, check};
use crate::{Progress, Result, State};

/// A linear rise over the first n steps to where the inner schedule starts, which then begins at its own first step:
/// `rate = inner(1) · s / n` at step s ≤ n, then `inner(s − n)`. An inner schedule that spans the run spans what is left
/// of it.
///
/// In PyTorch: `SequentialLR` of `LinearLR(start_factor=1/n, total_iters=n-1)` and the inner one, with milestone n.
///
/// ```
/// use glassbox_core::optim::{Cosine, Warmup};
/// let schedule = Warmup::new(500, Cosine::new());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Warmup<S> {
    steps: u64,
    inner: S,
}

impl<S: Schedule> Warmup<S> {
    /// A rise over `steps` steps (1 or more) before `inner`.
    pub fn new(steps: u64, inner: S) -> Self {
        Self { steps, inner }
    }
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64> {
        let steps = check::count("Warmup", "steps", self.steps)?;
        // A run that ends within the warm-up leaves the inner schedule its first step.
        let total_steps = progress.total_steps.map(|total| total.saturating_sub(steps).max(1));
        let step = progress.step.saturating_sub(steps).max(1);
        let rate = self.inner.rate(base, &Progress { step, total_steps, ..*progress })?;
        Ok(rate * (progress.step.min(steps) as f64 / steps as f64))
    }

    fn observe(&mut self, validation_loss: f64) {
        self.inner.observe(validation_loss);
    }

    fn state(&self) -> Result<State> {
        self.inner.state()
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.inner.load_state(state)
    }
}
