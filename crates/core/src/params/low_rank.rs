//! A small change of a large weight.

use candle_core::Tensor;
use glassbox_kernels::linear::linear;

use super::Param;
use crate::{Dropout, Error, Layer, Pass, Result};

/// A change of a linear layer's weight W by a product of two thin matrices, W + scale · B A, that is trained in its place
/// (LoRA; Hu et al. 2021, arXiv 2106.09685). See [`Param::set_low_rank`].
#[derive(Clone, Debug)]
pub struct LowRank {
    /// A, (rank, in_features).
    pub a: Param,
    /// B, (out_features, rank).
    pub b: Param,
    /// What the product is multiplied by.
    pub scale: f64,
    /// Drops elements of the layer's input on its way through A, in training.
    pub dropout: Dropout,
}

impl LowRank {
    pub(super) fn check(&self, weight: &Param) -> Result<()> {
        let fits = match (weight.shape().dims(), self.a.shape().dims(), self.b.shape().dims()) {
            (&[outputs, inputs], &[rank, a_inputs], &[b_outputs, b_rank]) => {
                (outputs, inputs, rank) == (b_outputs, a_inputs, b_rank)
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let got = format!("{:?} and {:?}", self.a.shape().dims(), self.b.shape().dims());
        let expected = format!("A (rank, in_features) and B (out_features, rank) of {:?}", weight.shape().dims());
        Err(Error::invalid(format!("low-rank change of `{}`", weight.name()), expected, got))
    }

    /// scale · B A, (out_features, in_features): what merging adds to W.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn change(&self, pass: &Pass) -> Result<Tensor> {
        Ok((self.b.get(pass).matmul(&self.a.get(pass))? * self.scale)?)
    }

    /// What the change adds to the layer's output: scale · dropout(x) Aᵀ Bᵀ, which never makes a matrix of W's size.
    pub(crate) fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let thin = linear(&self.dropout.forward(xs, pass)?, &self.a.get(pass), None, None)?;
        Ok(linear(&(thin * self.scale)?, &self.b.get(pass), None, None)?)
    }
}
