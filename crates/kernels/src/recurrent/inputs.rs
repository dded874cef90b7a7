//! What the recurrent networks are given, and whether it fits together.

use candle_core::Tensor;

use super::{RecurrentWeights, cell::Cell};
use crate::Result;
use crate::cpu::check_same_kind;

/// The inputs of one operation: one direction or two over the same sequences.
pub(super) struct Inputs<'a> {
    pub xs: &'a Tensor,
    pub directions: Vec<Direction<'a>>,
    pub lengths: Option<&'a [usize]>,
}

pub(super) struct Direction<'a> {
    pub weights: &'a RecurrentWeights<'a>,
    pub h0: Option<&'a Tensor>,
    pub c0: Option<&'a Tensor>,
    pub reverse: bool,
}

impl Inputs<'_> {
    /// The size of the hidden states that go out and from step to step, 0 for weights that [`Self::check`] refuses.
    pub fn output_size(&self) -> usize {
        self.columns(|weights| weights.weight_hh)
    }

    /// The hidden size: that of the gates and of the cell state.
    pub fn hidden_size(&self) -> usize {
        self.columns(|weights| weights.weight_hr.unwrap_or(weights.weight_hh))
    }

    fn columns<'a>(&'a self, of: impl Fn(&'a RecurrentWeights<'a>) -> &'a Tensor) -> usize {
        self.directions.first().and_then(|direction| of(direction.weights).dims().last()).copied().unwrap_or(0)
    }

    /// Fails, naming the operation, where a shape, dtype, device or length does not fit.
    pub fn check<C: Cell>(&self, name: &str) -> Result<()> {
        let &[batch, seq_len, input] = self.xs.dims() else {
            candle_core::bail!("{name}: expected xs (batch, seq_len, input_size), got {:?}", self.xs.dims());
        };
        if !self.xs.dtype().is_float() {
            candle_core::bail!("{name}: expected a float type, got {:?}", self.xs.dtype());
        }
        if seq_len == 0 {
            candle_core::bail!("{name}: expected at least one step, got xs {:?}", self.xs.dims());
        }
        let (hidden, output) = (self.hidden_size(), self.output_size());
        if hidden == 0 || output == 0 {
            let of_weights = self.directions.first().map(|direction| direction.weights.weight_hh.dims());
            candle_core::bail!("{name}: expected a hidden size of at least 1, got weight_hh {of_weights:?}");
        }
        for direction in &self.directions {
            let (weights, width) = (direction.weights, C::GATES * hidden);
            let bias = |which: usize| weights.bias.map(|bias| [bias.0, bias.1][which]);
            self.check_shape(name, "weight_ih", Some(weights.weight_ih), &[width, input])?;
            self.check_shape(name, "weight_hh", Some(weights.weight_hh), &[width, output])?;
            self.check_shape(name, "bias_ih", bias(0), &[width])?;
            self.check_shape(name, "bias_hh", bias(1), &[width])?;
            self.check_shape(name, "h0", direction.h0, &[batch, output])?;
            self.check_shape(name, "c0", direction.c0, &[batch, hidden])?;
            self.check_projection::<C>(name, weights, &[output, hidden])?;
        }
        self.check_lengths(name, batch, seq_len)
    }

    /// All directions have one, or none has.
    fn check_projection<C: Cell>(&self, name: &str, weights: &RecurrentWeights, expected: &[usize]) -> Result<()> {
        let first = self.directions.first().and_then(|direction| direction.weights.weight_hr);
        match (first, weights.weight_hr) {
            (_, Some(_)) if C::CELL == 0 => candle_core::bail!("{name}: only an lstm has a projection, weight_hr"),
            (Some(_), None) | (None, Some(_)) => {
                candle_core::bail!("{name}: expected weight_hr in all directions or none")
            }
            (_, weight_hr) => self.check_shape(name, "weight_hr", weight_hr, expected),
        }
    }

    fn check_shape(&self, name: &str, what: &str, tensor: Option<&Tensor>, expected: &[usize]) -> Result<()> {
        let Some(tensor) = tensor else { return Ok(()) };
        if tensor.dims() != expected {
            candle_core::bail!("{name}: expected {what} of shape {expected:?}, got {:?}", tensor.dims());
        }
        check_same_kind(name, self.xs, what, tensor)
    }

    fn check_lengths(&self, name: &str, batch: usize, seq_len: usize) -> Result<()> {
        let Some(lengths) = self.lengths else { return Ok(()) };
        if lengths.len() != batch {
            candle_core::bail!("{name}: expected {batch} lengths, one for each sample, got {}", lengths.len());
        }
        match lengths.iter().enumerate().find(|&(_, &length)| length == 0 || length > seq_len) {
            Some((sample, length)) => {
                candle_core::bail!("{name}: expected lengths from 1 to {seq_len}, got {length} for sample {sample}")
            }
            None => Ok(()),
        }
    }
}
