//! Gradients to new parameters, in composed pieces: transforms, optimizers, schedules.
//!
//! Each has PyTorch's formulas and defaults; what differs is said where it does. Settings out of range are found where
//! they are first used: at the first step, the first gradient, the first rate.

mod adagrad;
mod adam;
mod average;
mod check;
mod gradients;
mod lion;
mod muon;
mod rmsprop;
mod schedule;
mod sgd;
mod slots;
mod transform;

use crate::{ParamStore, Progress, Result, State};

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use average::WeightAverage;
pub use gradients::Gradients;
pub use lion::Lion;
pub use muon::{Muon, MuonAdjust};
pub use rmsprop::RmsProp;
pub use schedule::{
    Constant, Cosine, CosineRestarts, Exponential, InverseSqrt, MultiStep, OneCycle, Polynomial, ReduceOnPlateau,
    StepDecay, Warmup,
};
pub use sgd::Sgd;
pub use slots::Group;
pub use transform::{Accumulate, ClipNorm, ClipValue};

/// Changes parameters along their gradients.
pub trait Optimizer: Send {
    /// One update. Every group's learning rate is multiplied by `factor`, which is how schedules act.
    ///
    /// # Errors
    /// A gradient whose shape is not its parameter's; a device that fails.
    fn step(&mut self, gradients: &Gradients, factor: f64) -> Result<()>;

    /// The learning rate of parameters outside every group.
    fn learning_rate(&self) -> f64;

    /// The parameters that it changes.
    fn params(&self) -> &ParamStore;

    /// Its moments and counters, to save.
    ///
    /// # Errors
    /// A value that cannot be saved.
    fn state(&self) -> Result<State>;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state is of another optimizer or of other parameters.
    fn load_state(&mut self, state: &State) -> Result<()>;
}

/// Changes gradients on their way to the optimizer.
pub trait GradTransform: Send {
    /// The gradients to go on with; none while they are still being gathered. `last` says that no batch follows in this
    /// epoch, so that a partial group is passed on.
    ///
    /// # Errors
    /// A device that fails.
    fn apply(&mut self, gradients: Gradients, last: bool) -> Result<Option<Gradients>>;

    /// A number worth logging of the last call, with its name, such as the gradients' norm.
    fn report(&self) -> Option<(&'static str, f64)> {
        None
    }

    /// What it has gathered, to save.
    ///
    /// # Errors
    /// A value that cannot be saved.
    fn state(&self) -> Result<State> {
        Ok(State::default())
    }

    /// Goes on from a saved state; `params` are the parameters whose gradients it gets.
    ///
    /// # Errors
    /// The state does not fit.
    fn load_state(&mut self, state: &State, params: &ParamStore) -> Result<()> {
        let _ = (state, params);
        Ok(())
    }
}

/// The learning rate over the steps of a run.
///
/// Every schedule counts the run's steps, never epochs: [`Progress::step`] 1 has the value that PyTorch's scheduler of the
/// same name has before its first `step()`. A step is a batch, also where several batches are [accumulated](Accumulate)
/// for one update. A decay per epoch is one every [`Progress::steps_per_epoch`] steps. [`ReduceOnPlateau`] alone moves with
/// the validations.
pub trait Schedule: Send {
    /// The rate of the step at `progress`, where `base` is the optimizer's.
    ///
    /// # Errors
    /// The schedule needs to know the total number of steps and the run has no such limit.
    fn rate(&self, base: f64, progress: &Progress) -> Result<f64>;

    /// Takes in the validation loss, for schedules that follow it.
    fn observe(&mut self, validation_loss: f64) {
        let _ = validation_loss;
    }

    /// What it has observed, to save.
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
        let _ = state;
        Ok(())
    }
}
