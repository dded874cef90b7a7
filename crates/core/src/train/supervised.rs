//! Training a model on inputs with targets.

use candle_core::Device;

use super::{Progress, Score, Scores, StepReport, TrainStep, Update};
use crate::metric::Mean;
use crate::{
    Batch, GradTransform, Layer, Loss, Metric, Optimizer, ParamStore, Pass, Result, Schedule, State, TensorExt,
};

/// Forward, loss, backward, update: a model that learns targets from inputs.
///
/// On the first step every trainable parameter must get a gradient.
pub struct SupervisedStep<M, L> {
    model: M,
    loss: L,
    update: Update,
    metrics: Vec<Box<dyn Metric>>,
    validation_loss: Mean,
}

impl<M: Layer, L: Loss> SupervisedStep<M, L> {
    /// Trains `model`, whose parameters `optimizer` holds, to make `loss` small, at a constant rate.
    pub fn new(model: M, loss: L, optimizer: impl Optimizer + 'static) -> Self {
        Self { model, loss, update: Update::new(optimizer), metrics: vec![], validation_loss: Mean::default() }
    }

    /// The learning rate follows `schedule`.
    pub fn schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.update = self.update.schedule(schedule);
        self
    }

    /// Gradients go through `transform` before the update, after those added before.
    pub fn transform(mut self, transform: impl GradTransform + 'static) -> Self {
        self.update = self.update.transform(transform);
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
        self.update = self.update.average_weights(decay)?;
        Ok(self)
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }
}

impl<M: Layer, L: Loss> TrainStep for SupervisedStep<M, L> {
    type Batch = Batch;

    fn device(&self) -> Device {
        self.update.params().device().clone()
    }

    fn train(&mut self, batch: &Batch, progress: &Progress) -> Result<StepReport> {
        let outputs = self.model.forward(&batch.input, &Pass::train(progress.seed))?;
        let loss = self.loss.forward(&outputs, &batch.target)?;
        let (loss, values) = self.update.step(&loss, progress)?;
        Ok(StepReport { loss, samples: batch.input.dim(0)?, values })
    }

    fn validate(&mut self, batch: &Batch) -> Result<()> {
        let outputs = self.model.forward(&batch.input, &Pass::eval())?;
        let loss = self.loss.forward(&outputs, &batch.target)?.to_f64()?;
        self.validation_loss.update(loss, batch.input.dim(0)? as f64);
        self.metrics.iter_mut().try_for_each(|metric| metric.update(&outputs, &batch.target))
    }

    fn scores(&mut self) -> Result<Scores> {
        let loss = std::mem::take(&mut self.validation_loss).compute()?;
        self.update.observe(loss);
        let mut scores = vec![Score { name: "validation_loss".into(), value: loss, higher_is_better: false }];
        for metric in &mut self.metrics {
            let (name, higher_is_better) = (metric.name().to_string(), metric.higher_is_better());
            scores.push(Score { name, value: metric.compute()?, higher_is_better });
            metric.reset();
        }
        Ok(Scores(scores))
    }

    fn exchange_weights(&mut self) -> Result<()> {
        self.update.exchange_weights()
    }

    fn params(&self) -> Vec<(&'static str, ParamStore)> {
        vec![("model", self.update.params().clone())]
    }

    fn state(&self) -> Result<State> {
        self.update.state()
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.update.load_state(state)
    }
}
