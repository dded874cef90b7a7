//! Training a model on inputs with targets.

use std::marker::PhantomData;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{Progress, Score, Scores, StepReport, TrainStep, Update};
use crate::metric::Mean;
use crate::probe::Answer;
use crate::{
    Batch, GradTransform, Layer, Loss, Metric, Optimizer, ParamStore, Pass, Probe, Result, Schedule, State, TensorExt,
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

    /// What the model is given of a batch, for those who watch: a sample for each of the outputs. None where that is not
    /// one tensor.
    fn input<'a>(&self, batch: &'a B) -> Option<&'a Tensor> {
        let _ = batch;
        None
    }
}

impl<M: Layer> Supervised for M {
    fn answer(&self, batch: &Batch, pass: &Pass) -> Result<(Tensor, Tensor)> {
        Ok((self.forward(&batch.input, pass)?, batch.target.clone()))
    }

    fn input<'a>(&self, batch: &'a Batch) -> Option<&'a Tensor> {
        Some(&batch.input)
    }
}

/// Forward, loss, backward, update: a model that learns targets from inputs.
///
/// `B` is the batches' type; a [`Layer`] takes a [`Batch`], other models what they are [`Supervised`] for. On the first step
/// every trainable parameter must get a gradient.
pub struct SupervisedStep<M, L, B = Batch> {
    model: M,
    loss: L,
    update: Update,
    metrics: Vec<Box<dyn Metric>>,
    validation_loss: Mean,
    batch: PhantomData<fn(&B)>,
}

impl<M: Supervised<B>, L: Loss, B> SupervisedStep<M, L, B> {
    /// Trains `model`, whose parameters `optimizer` holds, to make `loss` small, at a constant rate.
    pub fn new(model: M, loss: L, optimizer: impl Optimizer + 'static) -> Self {
        let batch = PhantomData;
        Self { model, loss, update: Update::new(optimizer), metrics: vec![], validation_loss: Mean::default(), batch }
    }

    /// The learning rate follows `schedule`.
    pub fn schedule(self, schedule: impl Schedule + 'static) -> Self {
        Self { update: self.update.schedule(schedule), ..self }
    }

    /// Gradients go through `transform` before the update, after those added before.
    pub fn transform(self, transform: impl GradTransform + 'static) -> Self {
        Self { update: self.update.transform(transform), ..self }
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
    pub fn average_weights(self, decay: f64) -> Result<Self> {
        Ok(Self { update: self.update.average_weights(decay)?, ..self })
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model's answer to a batch, shown to whoever watches.
    fn answer(&self, batch: &B, pass: &Pass) -> Result<(Tensor, Tensor)> {
        let (outputs, targets) = self.model.answer(batch, pass)?;
        if let Some(probe) = self.update.probe() {
            let (input, training) = (self.model.input(batch), pass.is_training());
            probe.answer(&Answer { input, outputs: &outputs, targets: &targets, training })?;
        }
        Ok((outputs, targets))
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
        self.update.params().device().clone()
    }

    fn train(&mut self, batch: &B, progress: &Progress) -> Result<StepReport> {
        let (outputs, targets) = self.answer(batch, &self.update.pass(progress))?;
        let loss = self.loss.forward(&outputs, &targets)?;
        let (value, values) = self.update.step(&loss, progress)?;
        Ok(StepReport { loss: value, samples: targets.dim(0)?, values })
    }

    fn validate(&mut self, batch: &B) -> Result<()> {
        let (outputs, targets) = self.answer(batch, &self.update.validation_pass())?;
        let loss = self.loss.forward(&outputs, &targets)?.to_f64()?;
        self.validation_loss.update(loss, targets.dim(0)? as f64);
        self.metrics.iter_mut().try_for_each(|metric| metric.update(&outputs, &targets))
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

    fn watch(&mut self, probe: Option<Arc<dyn Probe>>) {
        self.update.watch(probe);
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
