//! Ends a run that no longer gets better.

use super::RestoreBest;
use crate::train::{Callback, Run, Scores};
use crate::{Result, State};

/// Ends the run once so many validations in a row were no better than the best, and restores the best weights.
///
/// ```
/// use glassbox_core::train::callbacks::EarlyStopping;
/// let callback = EarlyStopping::on("validation_loss").patience(3).min_change(1e-4);
/// ```
pub struct EarlyStopping {
    best: RestoreBest,
    patience: u64,
    waited: u64,
}

impl EarlyStopping {
    /// By the score called `name`, with a patience of 5 validations.
    pub fn on(name: impl Into<String>) -> Self {
        Self { best: RestoreBest::on(name), patience: 5, waited: 0 }
    }

    /// How many validations without a better one end the run (at least 1).
    pub fn patience(self, validations: u64) -> Self {
        Self { patience: validations, ..self }
    }

    /// A score counts as better only where it is by more than `min_change`.
    pub fn min_change(self, min_change: f64) -> Self {
        Self { best: self.best.min_change(min_change), ..self }
    }
}

impl Callback for EarlyStopping {
    fn name(&self) -> &'static str {
        "early_stopping"
    }

    fn validation_end(&mut self, run: &mut Run, scores: &Scores) -> Result<()> {
        self.waited = if self.best.observe(run, scores)? { 0 } else { self.waited + 1 };
        if self.waited >= self.patience.max(1) {
            let best = self.best.best().map(|best| format!("; the best was {best}")).unwrap_or_default();
            run.stop(format!("no better validation in {} in a row{best}", self.waited));
        }
        Ok(())
    }

    fn fit_end(&mut self, run: &mut Run) -> Result<()> {
        self.best.fit_end(run)
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.nest("best", self.best.state()?);
        state.put("waited", &self.waited)?;
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.waited = state.value("waited")?;
        self.best.load_state(&state.nested("best"))
    }
}
