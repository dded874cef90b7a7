//! Training on pairs of sequences.

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};

use super::{Progress, Score, Scores, StepReport, TrainStep, Update};
use crate::dataset::Padded;
use crate::loss::{CrossEntropy, Loss};
use crate::metric::Mean;
use crate::{Error, GradTransform, Optimizer, ParamStore, Pass, Probe, Result, Schedule, Seed, State, TensorExt};

/// A model that says a target's next token from a source and the tokens before it: what a [`Seq2seqStep`] trains.
pub trait Seq2seqModel: Send {
    /// The logits of each next token, the decoder being given the right ones before it.
    ///
    /// # Shapes
    /// `source.values` (batch, seq_len) and `inputs` (batch, steps), ids of type u32 or i64, to
    /// (batch, steps, target_vocab_size).
    ///
    /// # Errors
    /// Shapes, lengths or ids that do not fit.
    fn logits(&self, source: &Padded, inputs: &Tensor, pass: &Pass) -> Result<Tensor>;

    /// The id that fills targets up to the longest of a batch, and is not learned.
    fn pad(&self) -> u32;
}

/// The share of the right tokens among those that the decoder is given in training, by where the run stands.
type TeacherForcing = Box<dyn Fn(&Progress) -> f64 + Send>;

/// Trains a [`Seq2seqModel`] on batches of sources and targets, `(Padded, Padded)`: the mean cross-entropy of the targets'
/// tokens after the first.
///
/// The decoder is given the right tokens, or, with [`teacher_forcing`](Self::teacher_forcing), partly its own. Validation
/// gives `validation_loss`, the cross-entropy of a token in nats, without label smoothing and with every token counting the
/// same, and its exponential, `perplexity`.
pub struct Seq2seqStep<M> {
    model: M,
    update: Update,
    loss: CrossEntropy,
    plain_loss: CrossEntropy,
    teacher_forcing: Option<TeacherForcing>,
    validation_loss: Mean,
}

impl<M: Seq2seqModel> Seq2seqStep<M> {
    /// Trains `model`, whose parameters `optimizer` holds, at a constant rate, the decoder given the right tokens.
    pub fn new(model: M, optimizer: impl Optimizer + 'static) -> Self {
        let loss = CrossEntropy::default().ignore_index(model.pad().into());
        let (update, plain_loss) = (Update::new(optimizer), loss.clone());
        Self { model, update, loss, plain_loss, teacher_forcing: None, validation_loss: Mean::default() }
    }

    /// The learning rate follows `schedule`.
    pub fn schedule(self, schedule: impl Schedule + 'static) -> Self {
        Self { update: self.update.schedule(schedule), ..self }
    }

    /// Gradients go through `transform` before the update, after those added before.
    pub fn transform(self, transform: impl GradTransform + 'static) -> Self {
        Self { update: self.update.transform(transform), ..self }
    }

    /// Validates with, and ends with, an exponential moving average of the weights.
    ///
    /// # Errors
    /// A decay outside [0, 1).
    pub fn average_weights(self, decay: f64) -> Result<Self> {
        Ok(Self { update: self.update.average_weights(decay)?, ..self })
    }

    /// Mixes each target in training with the uniform distribution, of which it takes this share, in [0, 1).
    pub fn label_smoothing(self, label_smoothing: f64) -> Self {
        Self { loss: self.loss.label_smoothing(label_smoothing), ..self }
    }

    /// The share, from 0 to 1, of right tokens among those that the decoder is given after the first; the others are its
    /// own most likely ones (scheduled sampling; Bengio et al. 2015, arXiv 1506.03099).
    ///
    /// Its own tokens are those that it says, without dropout, when given the right ones before, so that all steps are
    /// still taken at once (Mihaylova and Martins 2019, arXiv 1906.07651); below 1 a step costs a forward more.
    pub fn teacher_forcing(self, share: impl Fn(&Progress) -> f64 + Send + 'static) -> Self {
        Self { teacher_forcing: Some(Box::new(share)), ..self }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// What the decoder is given in this step.
    fn given(&self, source: &Padded, right: Tensor, progress: &Progress) -> Result<Tensor> {
        let share = self.teacher_forcing.as_ref().map_or(1.0, |share| share(progress));
        match share {
            1.0 => Ok(right),
            share if (0.0..1.0).contains(&share) => {
                let said = self.model.logits(source, &right, &self.update.validation_pass())?.argmax(D::Minus1)?;
                mixed(&right, &said, share, progress.seed.child("teacher forcing"))
            }
            share => Err(Error::invalid("share of teacher forcing", "from 0 to 1", share)),
        }
    }
}

/// The first token and `share` of the others from `right`, the rest from what was said one step before.
fn mixed(right: &Tensor, said: &Tensor, share: f64, seed: Seed) -> Result<Tensor> {
    let rows = |ids: &Tensor| ids.to_dtype(DType::U32)?.to_vec2::<u32>();
    let (mut given, said, mut rng) = (rows(right)?, rows(said)?, seed.rng());
    for (given, said) in given.iter_mut().zip(&said) {
        for (given, said) in given.iter_mut().skip(1).zip(said) {
            if !rng.bernoulli(share) {
                *given = *said;
            }
        }
    }
    Ok(Tensor::new(given, right.device())?)
}

/// The decoder's right inputs, (batch, steps), and what it should say after each.
fn inputs_and_labels(target: &Padded) -> Result<(Tensor, Tensor)> {
    match *target.values.dims() {
        [_, length] if length > 1 => {
            let part = |start| target.values.narrow(1, start, length - 1)?.contiguous();
            Ok((part(0)?, part(1)?))
        }
        _ => {
            let got = format!("{:?}", target.values.dims());
            Err(Error::invalid("target", "ids (batch, length), a start and at least one more", got))
        }
    }
}

/// Number of labels that are not padding.
fn count(labels: &Tensor, pad: u32) -> Result<usize> {
    let labels = labels.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
    Ok(labels.iter().filter(|&&label| label != pad).count())
}

impl<M: Seq2seqModel> TrainStep for Seq2seqStep<M> {
    type Batch = (Padded, Padded);

    fn device(&self) -> Device {
        self.update.params().device().clone()
    }

    fn train(&mut self, (source, target): &Self::Batch, progress: &Progress) -> Result<StepReport> {
        let (inputs, labels) = inputs_and_labels(target)?;
        let inputs = self.given(source, inputs, progress)?;
        let logits = self.model.logits(source, &inputs, &self.update.pass(progress))?;
        let (loss, values) = self.update.step(&self.loss.forward(&logits, &labels)?, progress)?;
        let samples = count(&labels, self.model.pad())?;
        Ok(StepReport { loss, samples, values })
    }

    fn validate(&mut self, (source, target): &Self::Batch) -> Result<()> {
        let (inputs, labels) = inputs_and_labels(target)?;
        let logits = self.model.logits(source, &inputs, &self.update.validation_pass())?;
        let loss = self.plain_loss.forward(&logits, &labels)?.to_f64()?;
        self.validation_loss.update(loss, count(&labels, self.model.pad())? as f64);
        Ok(())
    }

    fn scores(&mut self) -> Result<Scores> {
        let loss = std::mem::take(&mut self.validation_loss).compute()?;
        self.update.observe(loss);
        let score = |name: &str, value| Score { name: name.into(), value, higher_is_better: false };
        Ok(Scores(vec![score("validation_loss", loss), score("perplexity", loss.exp())]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_tokens_come_one_step_later() {
        let (right, said) = ([[1, 4, 5, 6]], [[7u32, 6, 5, 4]]);
        let tensor = |rows: [[u32; 4]; 1]| Tensor::new(&rows, &Device::Cpu).unwrap();
        let mixed = |share| mixed(&tensor(right), &tensor(said), share, Seed(1)).unwrap().to_vec2::<u32>().unwrap();
        assert_eq!((mixed(1.0), mixed(0.0)), (vec![right[0].to_vec()], vec![vec![1, 7, 6, 5]]));
    }
}
