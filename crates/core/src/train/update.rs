//! From a loss to new parameters.

use candle_core::Tensor;

use super::Progress;
use crate::optim::{Constant, WeightAverage};
use crate::{Error, GradTransform, Gradients, Optimizer, ParamStore, Result, Schedule, State, TensorExt};

/// From a loss to new parameters: backward, gradient transforms, the schedule's rate, the optimizer, the average of the
/// weights. What a [`TrainStep`](super::TrainStep) of one's own is mostly made of.
///
/// On the first step every trainable parameter must get a gradient.
pub struct Update {
    optimizer: Box<dyn Optimizer>,
    schedule: Box<dyn Schedule>,
    transforms: Vec<Box<dyn GradTransform>>,
    average: Option<WeightAverage>,
    checked: bool,
}

impl Update {
    /// Updates by `optimizer`, at a constant rate.
    pub fn new(optimizer: impl Optimizer + 'static) -> Self {
        Self {
            optimizer: Box::new(optimizer),
            schedule: Box::new(Constant),
            transforms: vec![],
            average: None,
            checked: false,
        }
    }

    /// The learning rate follows `schedule`.
    pub fn schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Box::new(schedule);
        self
    }

    /// Gradients go through `transform` before the update, after those added before.
    pub fn transform(mut self, transform: impl GradTransform + 'static) -> Self {
        self.transforms.push(Box::new(transform));
        self
    }

    /// Keeps an exponential moving average of the weights.
    ///
    /// # Errors
    /// A decay outside [0, 1).
    pub fn average_weights(mut self, decay: f64) -> Result<Self> {
        self.average = Some(WeightAverage::new(self.optimizer.params(), decay)?);
        Ok(self)
    }

    /// The parameters that it changes.
    pub fn params(&self) -> &ParamStore {
        self.optimizer.params()
    }

    /// Makes one update along the gradients of `loss`. Gives the loss, and numbers worth logging.
    ///
    /// # Errors
    /// A loss that is not a finite scalar; a trainable parameter without a gradient on the first step; a setting that is
    /// out of range.
    pub fn step(&mut self, loss: &Tensor, progress: &Progress) -> Result<(f64, Vec<(String, f64)>)> {
        let value = loss.to_f64()?;
        if !value.is_finite() {
            return Err(Error::NonFinite { what: "loss".into(), value, step: progress.step, last_good: None });
        }
        let gradients = Gradients::of(loss, self.params())?;
        if !self.checked {
            gradients.expect_all(self.params())?;
            self.checked = true;
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

    /// Takes in the validation loss, for schedules that follow it.
    pub fn observe(&mut self, validation_loss: f64) {
        self.schedule.observe(validation_loss);
    }

    /// Exchanges the trained weights with their average, where there is one.
    ///
    /// # Errors
    /// A device that fails.
    pub fn exchange_weights(&mut self) -> Result<()> {
        self.average.as_mut().map_or(Ok(()), WeightAverage::swap)
    }

    /// What a resumed run needs of the optimizer, the schedule, the transforms and the average.
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
    /// The state is of another procedure or model.
    pub fn load_state(&mut self, state: &State) -> Result<()> {
        self.optimizer.load_state(&state.nested("optimizer"))?;
        self.schedule.load_state(&state.nested("schedule"))?;
        for (i, transform) in self.transforms.iter_mut().enumerate() {
            transform.load_state(&state.nested(&format!("transform.{i}")), self.optimizer.params())?;
        }
        self.average.as_mut().map_or(Ok(()), |average| average.load_state(&state.nested("average")))
    }
}
