//! Ends with the weights of the best validation.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::train::{Best, Callback, Run, Scores};
use crate::{Result, State};

/// Keeps a copy of the weights of the best validation and puts them back at the end.
pub struct RestoreBest {
    name: String,
    min_change: f64,
    best: Option<Best>,
    weights: BTreeMap<String, Tensor>,
}

impl RestoreBest {
    /// By the score called `name`, such as `validation_loss` or `accuracy`.
    pub fn on(name: impl Into<String>) -> Self {
        Self { name: name.into(), min_change: 0.0, best: None, weights: BTreeMap::new() }
    }

    /// A score counts as better only where it is by more than `min_change`.
    pub fn min_change(self, min_change: f64) -> Self {
        Self { min_change, ..self }
    }

    /// The best validation so far.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// Takes in a validation; says whether it was the best.
    pub(super) fn observe(&mut self, run: &Run, scores: &Scores) -> Result<bool> {
        let score = scores.require(&self.name, "score to restore the best of")?;
        let better = self.best.as_ref().is_none_or(|best| best.is_beaten_by(score, self.min_change));
        if better {
            self.best = Some(Best::new(score, &run.progress));
            self.weights.clear();
            for (role, store) in run.params() {
                for param in store.all() {
                    self.weights.insert(format!("{role}/{}", param.name()), param.value().copy()?);
                }
            }
        }
        Ok(better)
    }
}

impl Callback for RestoreBest {
    fn name(&self) -> &'static str {
        "restore_best"
    }

    fn validation_end(&mut self, run: &mut Run, scores: &Scores) -> Result<()> {
        self.observe(run, scores).map(drop)
    }

    fn fit_end(&mut self, run: &mut Run) -> Result<()> {
        for (role, store) in run.params() {
            for param in store.all() {
                if let Some(value) = self.weights.get(&format!("{role}/{}", param.name())) {
                    param.set(value)?;
                }
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut state = State { tensors: self.weights.clone(), ..State::default() };
        state.put("best", &self.best)?;
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.best = state.value("best")?;
        self.weights = state.tensors.clone();
        Ok(())
    }
}
