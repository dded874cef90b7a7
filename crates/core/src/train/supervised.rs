//! Training a model on inputs with targets.

use std::marker::PhantomData;

use candle_core::{Device, Tensor};

use super::{Progress, Score, Scores, StepReport, TrainStep};
use crate::TensorExt;
use crate::metric::Mean;
use crate::optim::{Constant, WeightAverage};
use crate::{
    Batch, Error, GradTransform, Gradients, Layer, Loss, Metric, Optimizer, ParamStore, Pass, Result, Schedule, State,
};

/// A model that learns targets from inputs, given batches of type `B`.
///
/// Every [`Layer`] is one for a [`Batch`]. A model of its own kind of batch says what it takes from it:
///
/// ```
/// use candle_core::Tensor;
/// use glassbox_core::dataset::Padded;
/// use glassbox_core::{Layer, Linear, Pass, Result, TensorExt, train::Supervised};
///
/// /// Classifies sequences by their features' sum.
/// struct BagOfFeatures(Linear);
///
/// impl Supervised<(Padded, Tensor)> for BagOfFeatures {
///     fn answer(&self, (sequences, classes): &(Padded, Tensor), pass: &Pass) -> Result<(Tensor, Tensor)> {
///         // What pads is 0.
///         Ok((self.0.forward(&sequences.values.sum(1)?, pass)?, classes.clone()))
///     }
/// }
/// ```
pub trait Supervised<B = Batch>: Send {
    /// The model's outputs for a batch and the targets that belong to them, as the loss and the metrics take them: the same
    /// number of each, along their first dimensions.
    ///
    /// # Errors
    /// A batch that does not suit the model.
    fn answer(&self, batch: &B, pass: &Pass) -> Result<(Tensor, Tensor)>;
}

impl<M: Layer> Supervised for M {
    fn answer(&self, batch: &Batch, pass: &Pass) -> Result<(Tensor, Tensor)> {
        Ok((self.forward(&batch.input, pass)?, batch.target.clone()))
    }
}

/// Forward, loss, backward, update: a model that learns targets from inputs.
///
/// `B` is the batches' type; a [`Layer`] takes a [`Batch`], other models what they are [`Supervised`] for. On the first step
/// every trainable parameter must get a gradient.
pub struct SupervisedStep<M, L, B = Batch> {
    model: M,
    loss: L,
    optimizer: Box<dyn Optimizer>,
    schedule: Box<dyn Schedule>,
    transforms: Vec<Box<dyn GradTransform>>,
    metrics: Vec<Box<dyn Metric>>,
    average: Option<WeightAverage>,
    validation_loss: Mean,
    checked: bool,
    batch: PhantomData<fn(&B)>,
}

impl<M: Supervised<B>, L: Loss, B> SupervisedStep<M, L, B> {
    /// Trains `model`, whose parameters `optimizer` holds, to make `loss` small, at a constant rate.
    pub fn new(model: M, loss: L, optimizer: impl Optimizer + 'static) -> Self {
        Self {
            model,
            loss,
            optimizer: Box::new(optimizer),
            schedule: Box::new(Constant),
            transforms: vec![],
            metrics: vec![],
            average: None,
            validation_loss: Mean::default(),
            checked: false,
            batch: PhantomData,
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

    /// Validation reads out `metric`, too.
    pub fn metric(mut self, metric: impl Metric + 'static) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// Validates with, and ends with, an exponential moving average of the weights.
    ///
    /// # Errors
    /// A decay outside [0, 1).
    pub fn average_weights(mut self, decay: f64) -> Result<Self> {
        self.average = Some(WeightAverage::new(self.optimizer.params(), decay)?);
        Ok(self)
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    fn update(&mut self, mut gradients: Gradients, progress: &Progress) -> Result<Vec<(String, f64)>> {
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
}

impl<M, L, B> TrainStep for SupervisedStep<M, L, B>
where
    M: Supervised<B>,
    L: Loss,
    B: Send + Sync + 'static,
{
    type Batch = B;

    fn device(&self) -> Device {
        self.optimizer.params().device().clone()
    }

    fn train(&mut self, batch: &B, progress: &Progress) -> Result<StepReport> {
        let (outputs, targets) = self.model.answer(batch, &Pass::train(progress.seed))?;
        let loss = self.loss.forward(&outputs, &targets)?;
        let value = loss.to_f64()?;
        if !value.is_finite() {
            return Err(Error::NonFinite { what: "loss".into(), value, step: progress.step, last_good: None });
        }
        let gradients = Gradients::of(&loss, self.optimizer.params())?;
        if !self.checked {
            gradients.expect_all(self.optimizer.params())?;
            self.checked = true;
        }
        let values = self.update(gradients, progress)?;
        Ok(StepReport { loss: value, samples: targets.dim(0)?, values })
    }

    fn validate(&mut self, batch: &B) -> Result<()> {
        let (outputs, targets) = self.model.answer(batch, &Pass::eval())?;
        let loss = self.loss.forward(&outputs, &targets)?.to_f64()?;
        self.validation_loss.update(loss, targets.dim(0)? as f64);
        self.metrics.iter_mut().try_for_each(|metric| metric.update(&outputs, &targets))
    }

    fn scores(&mut self) -> Result<Scores> {
        let loss = std::mem::take(&mut self.validation_loss).compute()?;
        self.schedule.observe(loss);
        let mut scores = vec![Score { name: "validation_loss".into(), value: loss, higher_is_better: false }];
        for metric in &mut self.metrics {
            let (name, higher_is_better) = (metric.name().to_string(), metric.higher_is_better());
            scores.push(Score { name, value: metric.compute()?, higher_is_better });
            metric.reset();
        }
        Ok(Scores(scores))
    }

    fn exchange_weights(&mut self) -> Result<()> {
        self.average.as_mut().map_or(Ok(()), WeightAverage::swap)
    }

    fn params(&self) -> Vec<(&'static str, ParamStore)> {
        vec![("model", self.optimizer.params().clone())]
    }

    fn state(&self) -> Result<State> {
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

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.optimizer.load_state(&state.nested("optimizer"))?;
        self.schedule.load_state(&state.nested("schedule"))?;
        for (i, transform) in self.transforms.iter_mut().enumerate() {
            transform.load_state(&state.nested(&format!("transform.{i}")), self.optimizer.params())?;
        }
        self.average.as_mut().map_or(Ok(()), |average| average.load_state(&state.nested("average")))
    }
}
