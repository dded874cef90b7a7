//! How a forward is run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Probe, Rng, Seed};

/// How a forward is run: training or evaluating, with which random numbers, and who watches.
///
/// ```
/// use glassbox_core::{Pass, Seed};
/// let pass = Pass::train(Seed(1));
/// assert!(pass.is_training() && pass.records_gradients());
/// assert!(!Pass::eval().is_training() && !Pass::eval().records_gradients());
/// ```
pub struct Pass {
    training: bool,
    gradients: bool,
    rng: Mutex<Rng>,
    probe: Option<Arc<dyn Probe>>,
}

impl Pass {
    /// A training pass: dropout drops, batch norm uses the batch's statistics, gradients are recorded. `seed` is what its
    /// random numbers start from; the trainer gives each step its own.
    pub fn train(seed: Seed) -> Self {
        Self { training: true, gradients: true, rng: Mutex::new(seed.rng()), probe: None }
    }

    /// An evaluating pass: nothing is random, and no gradients are recorded for parameters, which saves memory.
    pub fn eval() -> Self {
        Self { training: false, gradients: false, rng: Mutex::new(Seed(0).rng()), probe: None }
    }

    /// The same pass, recording gradients for parameters.
    pub fn with_gradients(self) -> Self {
        Self { gradients: true, ..self }
    }

    /// The same pass, recording no gradients for parameters: a network that is looked through, not trained, such as the
    /// critic in a step of the generator.
    pub fn without_gradients(self) -> Self {
        Self { gradients: false, ..self }
    }

    /// The same pass, watched by `probe`.
    pub fn with_probe(self, probe: Arc<dyn Probe>) -> Self {
        Self { probe: Some(probe), ..self }
    }

    /// Whether layers behave as in training.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Whether parameters are tracked for gradients.
    pub fn records_gradients(&self) -> bool {
        self.gradients
    }

    /// The pass's random numbers: for dropout and noise.
    pub fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who watches, if anybody does.
    pub fn probe(&self) -> Option<&Arc<dyn Probe>> {
        self.probe.as_ref()
    }
}
