//! From a loss to new parameters.

use std::sync::Arc;

use candle_core::Tensor;

use super::Progress;
use crate::optim::{Constant, WeightAverage};
use crate::{Error, GradTransform, Gradients, Optimizer, ParamStore, Pass, Probe, Result, Schedule, State, TensorExt};

/// From a loss to new parameters: backward, gradient transforms, learning rate, optimizer, average of the weights.
///
/// It is what a [`TrainStep`](super::TrainStep) holds for each network that it trains, and what
/// [`SupervisedStep`](super::SupervisedStep) is built on. On the first step every trainable parameter must get a gradient.
///
/// ```
/// use candle_core::Device;
/// use glassbox_core::optim::{AdamW, ClipNorm, OneCycle};
/// use glassbox_core::{ParamStore, Seed, train::Update};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let update = Update::new(AdamW::new(&params, 1e-3)?).schedule(OneCycle::new(1e-3)).transform(ClipNorm::new(1.0));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct Update {
    optimizer: Box<dyn Optimizer>,
    schedule: Box<dyn Schedule>,
    transforms: Vec<Box<dyn GradTransform>>,
    average: Option<WeightAverage>,
    checked: bool,
    probe: Option<Arc<dyn Probe>>,
}

impl Update {
    /// Updates by `optimizer` at a constant rate.
    pub fn new(optimizer: impl Optimizer + 'static) -> Self {
        let (optimizer, schedule) = (Box::new(optimizer), Box::new(Constant));
        Self { optimizer, schedule, transforms: vec![], average: None, checked: false, probe: None }
    }

    /// The learning rate follows `schedule`.
    pub fn schedule(self, schedule: impl Schedule + 'static) -> Self {
        Self { schedule: Box::new(schedule), ..self }
    }

    /// Gradients go through `transform` before the update, after those added before.
    pub fn transform(mut self, transform: impl GradTransform + 'static) -> Self {
        self.transforms.push(Box::new(transform));
        self
    }

    /// Keeps an exponential moving average of the weights, for [`exchange_weights`](Self::exchange_weights).
    ///
    /// # Errors
    /// A decay outside [0, 1).
    pub fn average_weights(mut self, decay: f64) -> Result<Self> {
        self.average = Some(WeightAverage::new(self.optimizer.params(), decay)?);
        Ok(self)
    }

    /// From now on `probe` watches the passes that are taken from here and the gradients, or nobody.
    pub fn watch(&mut self, probe: Option<Arc<dyn Probe>>) {
        self.probe = probe;
    }

    /// Who watches, if anybody does.
    pub fn probe(&self) -> Option<&Arc<dyn Probe>> {
        self.probe.as_ref()
    }

    /// The pass of a step of training at `progress`.
    pub fn pass(&self, progress: &Progress) -> Pass {
        self.watched(Pass::train(progress.seed))
    }

    /// A pass of validation.
    pub fn validation_pass(&self) -> Pass {
        self.watched(Pass::eval())
    }

    fn watched(&self, pass: Pass) -> Pass {
        match self.probe.as_ref().filter(|probe| probe.watches_layers()) {
            Some(probe) => pass.with_probe(Arc::clone(probe)),
            None => pass,
        }
    }

    /// The parameters that it updates.
    pub fn params(&self) -> &ParamStore {
        self.optimizer.params()
    }

    /// Takes one step down from `loss`, a scalar: its value, and numbers worth logging, the learning rate first.
    ///
    /// # Errors
    /// A loss that is not finite, or, on the first step, does not depend on every trainable parameter.
    pub fn step(&mut self, loss: &Tensor, progress: &Progress) -> Result<(f64, Vec<(String, f64)>)> {
        let value = loss.to_f64()?;
        if !value.is_finite() {
            return Err(Error::NonFinite { what: "loss".into(), value, step: progress.step, last_good: None });
        }
        let gradients = Gradients::of(loss, self.optimizer.params())?;
        if !self.checked {
            gradients.expect_all(self.optimizer.params())?;
            self.checked = true;
        }
        if let Some(probe) = &self.probe {
            probe.param_gradients(&gradients)?;
        }
        Ok((value, self.apply(gradients, progress)?))
    }

    fn apply(&mut self, mut gradients: Gradients, progress: &Progress) -> Result<Vec<(String, f64)>> {
        let base = self.optimizer.learning_rate();
        let rate = self.schedule.rate(base, progress)?;
        let mut values = vec![("learning_rate".to_string(), rate)];
        for transform in &mut self.transforms {
            match transform.apply(gradients, progress.last_of_epoch)? {
                Some(transformed) => gradients = transformed,
                None => return Ok(values),
            }
            values.extend(transform.report().map(|(name, value)| (name.to_string(), value)));
        }
        self.optimizer.step(&gradients, if base == 0.0 { 0.0 } else { rate / base })?;
        if let Some(average) = &mut self.average {
            average.update()?;
        }
        Ok(values)
    }

    /// Tells the schedule the loss of a validation.
    pub fn observe(&mut self, validation_loss: f64) {
        self.schedule.observe(validation_loss);
    }

    /// Exchanges the weights with their average, if one is kept.
    ///
    /// # Errors
    /// A device that fails.
    pub fn exchange_weights(&mut self) -> Result<()> {
        self.average.as_mut().map_or(Ok(()), WeightAverage::swap)
    }

    /// Everything but the parameters that a resumed run needs.
    ///
    /// # Errors
    /// A value that cannot be saved.
    pub fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.nest("optimizer", self.optimizer.state()?);
        state.nest("schedule", self.schedule.state()?);
        for (i, transform) in self.transforms.iter().enumerate() {
            state.nest(&format!("transform.{i}"), transform.state()?);
        }
        if let Some(average) = &self.average {
            state.nest("average", average.state()?);
        }
        Ok(state)
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state is of another optimizer or model.
    pub fn load_state(&mut self, state: &State) -> Result<()> {
        self.optimizer.load_state(&state.nested("optimizer"))?;
        self.schedule.load_state(&state.nested("schedule"))?;
        for (i, transform) in self.transforms.iter_mut().enumerate() {
            transform.load_state(&state.nested(&format!("transform.{i}")), self.optimizer.params())?;
        }
        self.average.as_mut().map_or(Ok(()), |average| average.load_state(&state.nested("average")))
    }
}
