//! One step of training, whatever the procedure.

use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::{Error, ParamStore, Probe, Result, Seed, State};

/// Where a run stands when a step is taken.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The step, counted from 1 over all epochs.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Number of batches in an epoch.
    pub steps_per_epoch: u64,
    /// Number of steps of the whole run; none where only the clock limits it.
    pub total_steps: Option<u64>,
    /// Whether this is the epoch's last batch.
    pub last_of_epoch: bool,
    /// The seed of this step's random numbers.
    pub seed: Seed,
}

/// A procedure of training: what the [`Trainer`](super::Trainer) runs. [`SupervisedStep`](super::SupervisedStep) is the
/// common one.
pub trait TrainStep: Send {
    /// What one step is given.
    type Batch: Send + Sync + 'static;

    /// Where batches are wanted.
    fn device(&self) -> Device;

    /// Takes one step of training.
    ///
    /// # Errors
    /// A batch that does not suit the model, or a loss that is not finite.
    fn train(&mut self, batch: &Self::Batch, progress: &Progress) -> Result<StepReport>;

    /// Takes in one batch of validation.
    ///
    /// # Errors
    /// A batch that does not suit the model.
    fn validate(&mut self, batch: &Self::Batch) -> Result<()>;

    /// The scores of the batches since the last call, `validation_loss` among them.
    ///
    /// # Errors
    /// A score that is not defined for those batches.
    fn scores(&mut self) -> Result<Scores>;

    /// Exchanges the weights that are trained with those that are validated and kept, where these differ (an average of
    /// the trained ones). The trainer calls it before and after each validation, and once before the end.
    ///
    /// # Errors
    /// A device that fails.
    fn exchange_weights(&mut self) -> Result<()> {
        Ok(())
    }

    /// From now on `probe` watches the passes, or nobody. A step that holds an [`Update`](super::Update) tells it, and
    /// takes its passes from there; one that does neither cannot be watched.
    fn watch(&mut self, probe: Option<Arc<dyn Probe>>) {
        let _ = probe;
    }

    /// The parameters by role: one store called `model`, or several such as `generator` and `critic`.
    fn params(&self) -> Vec<(&'static str, ParamStore)>;

    /// Everything else that a resumed run needs: optimizers, schedules, averages.
    ///
    /// # Errors
    /// A value that cannot be saved.
    fn state(&self) -> Result<State>;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state is of another procedure or model.
    fn load_state(&mut self, state: &State) -> Result<()>;
}

/// What one step of training says of itself.
#[derive(Clone, Debug, Default)]
pub struct StepReport {
    /// The batch's loss before the update.
    pub loss: f64,
    /// Number of samples in the batch, or of targets where a sample has several.
    pub samples: usize,
    /// More numbers worth logging, by plain snake-case name: `learning_rate`, `gradient_norm`.
    pub values: Vec<(String, f64)>,
}

/// One number of a validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Its plain snake-case name, such as `accuracy`.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Whether larger is better.
    pub higher_is_better: bool,
}

/// The numbers of one validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores(pub Vec<Score>);

impl Scores {
    /// The score called `name`.
    pub fn get(&self, name: &str) -> Option<&Score> {
        self.0.iter().find(|score| score.name == name)
    }

    /// The score called `name`, which `what` needs.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn require(&self, name: &str, what: &str) -> Result<&Score> {
        self.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|score| score.name.as_str()).collect();
            Error::invalid(what, format!("one of {}", names.join(", ")), name)
        })
    }

    /// The value of the score called `name`.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.get(name).map(|score| score.value)
    }
}

impl std::fmt::Display for Scores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|s| format!("{} {:.4}", s.name, s.value)).collect();
        write!(f, "{}", parts.join("  "))
    }
}
