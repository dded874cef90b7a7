//! One update from several batches.

use std::collections::BTreeMap;

use candle_core::{Shape, Tensor};
use glassbox_kernels::graph::add;
use glassbox_kernels::optim::scaled;

use crate::optim::{GradTransform, Gradients, check};
use crate::{Error, Param, ParamStore, Result, State};

/// Gathers the gradients of `batches` batches and passes on their average, so that a batch too large for the memory can
/// be taken in parts: with equal parts and a mean loss, the result is the whole batch's gradient.
///
/// The last group of an epoch may hold fewer batches; it is averaged over those. A parameter without a gradient in one
/// of them counts as 0 there. PyTorch has no such thing: there, one divides the loss and steps every n-th time.
#[derive(Clone, Debug)]
pub struct Accumulate {
    batches: u64,
    count: u64,
    /// By name, so that the order is the same whichever batch brought a gradient first and after a resume.
    sums: BTreeMap<String, (Param, Tensor)>,
}

impl Accumulate {
    /// Groups of `batches` batches (1 or more).
    pub fn new(batches: u64) -> Self {
        Self { batches, count: 0, sums: BTreeMap::new() }
    }

    fn add(&mut self, param: &Param, gradient: &Tensor) -> Result<()> {
        expect_shape("gradient", param, gradient.shape())?;
        match self.sums.get_mut(param.name()) {
            Some((_, sum)) => *sum = add(sum, gradient)?,
            None => drop(self.sums.insert(param.name().to_string(), (param.clone(), gradient.clone()))),
        }
        Ok(())
    }
}

impl GradTransform for Accumulate {
    fn apply(&mut self, gradients: Gradients, last: bool) -> Result<Option<Gradients>> {
        let batches = check::count("Accumulate", "batches", self.batches)?;
        for (param, gradient) in gradients.iter() {
            self.add(param, gradient)?;
        }
        self.count += 1;
        if self.count < batches && !last {
            return Ok(None);
        }
        let scale = 1.0 / std::mem::take(&mut self.count) as f64;
        let sums = Gradients::from_pairs(std::mem::take(&mut self.sums).into_values().collect());
        if scale == 1.0 { Ok(Some(sums)) } else { sums.map(|_, sum| Ok(scaled(sum, scale)?)).map(Some) }
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        state.put("count", &self.count)?;
        // No copies: a sum is replaced, never changed in place.
        state.tensors.extend(self.sums.iter().map(|(name, (_, sum))| (format!("sum.{name}"), sum.clone())));
        Ok(state)
    }

    fn load_state(&mut self, state: &State, params: &ParamStore) -> Result<()> {
        let count = state.value("count")?;
        let saved = state.nested("sum").tensors.into_iter();
        self.sums = saved.map(|(name, sum)| restored(name, sum, params)).collect::<Result<_>>()?;
        self.count = count;
        Ok(())
    }
}

fn restored(name: String, sum: Tensor, params: &ParamStore) -> Result<(String, (Param, Tensor))> {
    let unknown = || Error::invalid("saved state of Accumulate", "this model's parameters", format!("`{name}`"));
    let param = params.get(&name).ok_or_else(unknown)?;
    expect_shape("saved gradient", &param, sum.shape())?;
    let sum = sum.to_device(params.device())?;
    Ok((name, (param, sum)))
}

fn expect_shape(what: &str, param: &Param, got: &Shape) -> Result<()> {
    if got == param.shape() {
        return Ok(());
    }
    let expected = format!("shape {:?}", param.shape().dims());
    Err(Error::invalid(format!("{what} of `{}`", param.name()), expected, format!("{:?}", got.dims())))
}
