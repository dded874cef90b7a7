//! Training along a text.

use std::f64::consts::LN_2;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use glassbox_core::dataset::StreamBatch;
use glassbox_core::loss::CrossEntropy;
use glassbox_core::metric::Mean;
use glassbox_core::train::{Score, Scores, StepReport, Update};
use glassbox_core::{
    Error, GradTransform, Loss, Optimizer, ParamStore, Pass, Probe, Progress, Result, Schedule, State, TensorExt,
    TrainStep,
};

use super::LanguageModel;
use crate::{NetworkState, RecurrentState};

/// Trains a [`LanguageModel`] along a text by truncated backpropagation through time (Williams and Peng 1990): each batch
/// starts from the state that the one before left, through which no gradient flows. An epoch starts from nothing read, and
/// so does a validation, whose state is its own.
///
/// The loss is the mean cross-entropy of a token, in nats. A validation scores, over all of its tokens, `validation_loss`,
/// `perplexity`, its exponential, and `bits_per_character`, the loss / (ln 2 · characters of a token).
///
/// The state is part of a checkpoint: a resumed run ends with the same bits.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::dataset::StreamBatch;
/// use glassbox_core::optim::{AdamW, ClipNorm, OneCycle};
/// use glassbox_core::{ParamStore, Progress, Seed, TrainStep};
/// use glassbox_rnn::{LanguageModel, LanguageModelConfig, LanguageModelStep};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = LanguageModelConfig { vocab_size: 4, hidden_size: 16, ..Default::default() };
/// let mut step = LanguageModelStep::new(LanguageModel::new(config, params.root())?, AdamW::new(&params, 0.01)?)
///     .transform(ClipNorm::new(1.0))
///     .schedule(OneCycle::new(0.01));
///
/// // A `Trainer` does this, with the batches of `glassbox_data::text::StreamBatches`.
/// let part = |ids: [u32; 3]| Tensor::new(&[ids], &Device::Cpu);
/// let batch = StreamBatch { input: part([0, 1, 2])?, target: part([1, 2, 3])?, step: 0 };
/// let progress = Progress {
///     step: 1, epoch: 1, steps_per_epoch: 1, total_steps: Some(1), last_of_epoch: true, seed: Seed(2),
/// };
/// assert!(step.train(&batch, &progress)?.loss > 0.0);
/// step.validate(&batch)?;
/// assert!(step.scores()?.value("perplexity") > Some(1.0));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub struct LanguageModelStep {
    model: LanguageModel,
    update: Update,
    characters_per_token: f64,
    /// After the last batch of training.
    state: Option<NetworkState>,
    validation: Validation,
}

#[derive(Default)]
struct Validation {
    state: Option<NetworkState>,
    /// Of a token, in nats.
    loss: Mean,
}

impl LanguageModelStep {
    /// Trains `model`, whose parameters `optimizer` holds, at a constant rate.
    pub fn new(model: LanguageModel, optimizer: impl Optimizer + 'static) -> Self {
        let (update, validation) = (Update::new(optimizer), Validation::default());
        Self { model, update, characters_per_token: 1.0, state: None, validation }
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

    /// Validates with, and ends with, an exponential moving average of the weights.
    ///
    /// # Errors
    /// A decay outside [0, 1).
    pub fn average_weights(mut self, decay: f64) -> Result<Self> {
        self.update = self.update.average_weights(decay)?;
        Ok(self)
    }

    /// How many characters of the validation text a token stands for, on average, so that `bits_per_character` is right
    /// where tokens are longer. Above 0; 1 where this is not called.
    pub fn characters_per_token(self, characters_per_token: f64) -> Self {
        Self { characters_per_token, ..self }
    }

    /// The model.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// The mean loss of a batch's tokens, and the state after them; from nothing read where the batch is the first.
    fn forward(
        &self,
        batch: &StreamBatch,
        before: Option<NetworkState>,
        pass: &Pass,
    ) -> Result<(Tensor, NetworkState)> {
        let before = match (batch.step, before) {
            (0, _) => None,
            (_, Some(state)) => Some(state),
            (step, None) => return Err(Error::invalid("batches of a text", "the first of them first", step)),
        };
        let (logits, state) = self.model.forward_with(&batch.input, before.as_ref(), pass)?;
        Ok((CrossEntropy::default().forward(&logits, &batch.target)?, state.detach()))
    }
}

impl TrainStep for LanguageModelStep {
    type Batch = StreamBatch;

    fn device(&self) -> Device {
        self.update.params().device().clone()
    }

    fn train(&mut self, batch: &StreamBatch, progress: &Progress) -> Result<StepReport> {
        // Kept until the update is done, so that a step that failed can be run again.
        let before = self.state.clone();
        let (loss, state) = self.forward(batch, before, &self.update.pass(progress))?;
        let (loss, values) = self.update.step(&loss, progress)?;
        self.state = Some(state);
        Ok(StepReport { loss, samples: batch.target.elem_count(), values })
    }

    fn validate(&mut self, batch: &StreamBatch) -> Result<()> {
        let before = self.validation.state.take();
        let (loss, state) = self.forward(batch, before, &self.update.validation_pass())?;
        self.validation.loss.update(loss.to_f64()?, batch.target.elem_count() as f64);
        self.validation.state = Some(state);
        Ok(())
    }

    fn scores(&mut self) -> Result<Scores> {
        if !(self.characters_per_token > 0.0 && self.characters_per_token.is_finite()) {
            return Err(Error::invalid("characters_per_token", "a number above 0", self.characters_per_token));
        }
        let loss = std::mem::take(&mut self.validation).loss.compute()?;
        self.update.observe(loss);
        let score = |name: &str, value| Score { name: name.into(), value, higher_is_better: false };
        Ok(Scores(vec![
            score("validation_loss", loss),
            score("perplexity", loss.exp()),
            score("bits_per_character", loss / (LN_2 * self.characters_per_token)),
        ]))
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
        let mut state = self.update.state()?;
        if let Some(NetworkState { hidden, cell }) = &self.state {
            let mut carried = State::default();
            carried.tensors.insert("hidden".into(), hidden.clone());
            carried.tensors.extend(cell.iter().map(|cell| ("cell".to_string(), cell.clone())));
            state.nest("carried", carried);
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.update.load_state(state)?;
        let carried = state.nested("carried").tensors;
        let of = |name| carried.get(name).map(|tensor| tensor.to_device(&self.device())).transpose();
        let (hidden, cell) = (of("hidden")?, of("cell")?);
        self.state = hidden.map(|hidden| NetworkState { hidden, cell });
        Ok(())
    }
}
