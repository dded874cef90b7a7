//! Weights averaged over the steps.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::check;
use crate::{Error, Kind, Param, ParamStore, Result, State};

/// The exponential moving average of a model's weights: `average ← d · average + (1 − d) · weight` after every step
/// (Polyak and Juditsky 1992), with which a model often validates better than with the last weights.
///
/// As in PyTorch's `AveragedModel` with `get_ema_multi_avg_fn`, the first update copies the weights. Buffers and frozen
/// parameters are copied at every update, not averaged (PyTorch's `AveragedModel` leaves buffers as they were first).
///
/// ```
/// use glassbox_core::{Init, ParamStore, Seed, optim::WeightAverage};
/// let params = ParamStore::new(Seed(1), &candle_core::Device::Cpu);
/// params.root().param("weight", 3, Init::Constant(1.0))?;
/// let mut average = WeightAverage::new(&params, 0.999)?;
/// average.update()?; // after each step
/// average.swap()?; // the averaged weights are in the model: validate, save
/// average.swap()?; // the trained ones are back
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct WeightAverage {
    params: ParamStore,
    decay: f64,
    warmup: bool,
    updates: u64,
    swapped: bool,
    averages: BTreeMap<String, Tensor>,
}

impl WeightAverage {
    /// An average over about 1 / (1 − `decay`) steps.
    ///
    /// # Errors
    /// A decay outside [0, 1).
    pub fn new(params: &ParamStore, decay: f64) -> Result<Self> {
        let decay = check::fraction("WeightAverage", "decay", decay)?;
        let averages = BTreeMap::new();
        Ok(Self { params: params.clone(), decay, warmup: false, updates: 0, swapped: false, averages })
    }

    /// Starts with a shorter average: the decay of update t + 1 is min(decay, (1 + t) / (10 + t)).
    pub fn warmup(mut self) -> Self {
        self.warmup = true;
        self
    }

    /// Takes in the weights as they are after a step.
    ///
    /// # Errors
    /// The averaged weights are in the model (see [`swap`](Self::swap)); a device out of memory.
    pub fn update(&mut self) -> Result<()> {
        self.expect_trained_weights("update")?;
        let decay = self.current_decay();
        for param in self.params.all() {
            let average = match self.averages.get(param.name()) {
                Some(average) if param.kind() == Kind::Trainable => {
                    (average + ((param.value() - average)? * (1.0 - decay))?)?
                }
                _ => param.value().copy()?,
            };
            self.averages.insert(param.name().to_string(), average);
        }
        self.updates += 1;
        Ok(())
    }

    /// Exchanges the averaged and the trained weights, buffers included: once before validating or saving the averaged
    /// model, once after. Before the first update both are the same, and nothing is changed.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn swap(&mut self) -> Result<()> {
        for param in self.params.all() {
            if let Some(average) = self.averages.get_mut(param.name()) {
                let trained = param.value().copy()?;
                param.set(average)?;
                *average = trained;
            }
        }
        self.swapped = !self.swapped;
        Ok(())
    }

    /// Whether the averaged weights are in the model.
    pub fn is_swapped(&self) -> bool {
        self.swapped
    }

    /// The averages and their number, to save. The tensors are called `average.NAME`.
    ///
    /// # Errors
    /// The averaged weights are in the model.
    pub fn state(&self) -> Result<State> {
        self.expect_trained_weights("save")?;
        let mut state = State::default();
        state.put("updates", &self.updates)?;
        // No copies: an average is replaced, never changed in place.
        state.tensors.extend(self.averages.iter().map(|(name, t)| (format!("average.{name}"), t.clone())));
        Ok(state)
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state is of other parameters, or the averaged weights are in the model.
    pub fn load_state(&mut self, state: &State) -> Result<()> {
        self.expect_trained_weights("load")?;
        let updates: u64 = state.value("updates")?;
        let saved = state.nested("average").tensors;
        let missing = self.params.all().into_iter().find(|p| updates > 0 && !saved.contains_key(p.name()));
        if let Some(param) = missing {
            return Err(Error::invalid("saved averages", format!("one of `{}`", param.name()), "none"));
        }
        let fitting = saved.into_iter().map(|(name, t)| self.fitting(&name, &t).map(|t| (name, t)));
        self.averages = fitting.collect::<Result<_>>()?;
        self.updates = updates;
        Ok(())
    }

    fn fitting(&self, name: &str, average: &Tensor) -> Result<Tensor> {
        let unknown = || Error::invalid("saved averages", "this model's parameters", format!("`{name}`"));
        let param: Param = self.params.get(name).ok_or_else(unknown)?;
        if average.shape() != param.shape() || average.dtype() != param.dtype() {
            let (expected, got) = (format!("{param:?}"), format!("{:?} {:?}", average.dims(), average.dtype()));
            return Err(Error::invalid("saved average", expected, got));
        }
        Ok(average.to_device(self.params.device())?)
    }

    fn current_decay(&self) -> f64 {
        let updates = self.updates as f64;
        if self.warmup { self.decay.min((1.0 + updates) / (10.0 + updates)) } else { self.decay }
    }

    fn expect_trained_weights(&self, action: &str) -> Result<()> {
        if !self.swapped {
            return Ok(());
        }
        let expected = format!("the trained weights in the model, to {action}");
        Err(Error::invalid("WeightAverage", expected, "the averaged ones (call `swap` again)"))
    }
}
