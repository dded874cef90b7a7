//! What follows a convolution in the same operation: batch normalisation, a residual, an activation, max pooling.
//!
//! Candle's backward fills a tensor of zeros and adds to it for every edge of its graph. A convolution with its tail is
//! one node, so that none of the large results in between is an edge; each is kept only where the backward reads it.
//! Values and gradients have the bits of the operations one after another.

mod op;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

pub(crate) use op::{Run, TailOp};

use crate::Result;
use crate::activation::{Activation, activation};
use crate::cpu::check_same_kind;
use crate::norm::{batch_norm_eval, batch_norm_train, check_channels, check_count, check_eps};
use crate::pool::{Pool2dParams, Windows, max_pool2d, max_windows_of};

/// What happens to the result of a convolution, in the order of the fields.
#[derive(Clone, Copy, Default)]
pub struct Tail<'a> {
    /// Batch normalisation.
    pub batch_norm: Option<TailBatchNorm<'a>>,
    /// A tensor of the convolution's shape that is added.
    pub residual: Option<&'a Tensor>,
    /// An elementwise function.
    pub activation: Option<Activation>,
    /// Max pooling with windows that do not overlap: a stride of at least the kernel.
    pub max_pool: Option<Pool2dParams>,
}

/// Batch normalisation as part of a [`Tail`]; see [`batch_norm_train`] and [`batch_norm_eval`].
#[derive(Clone, Copy)]
pub struct TailBatchNorm<'a> {
    /// Scale (channels), 1 where there is none.
    pub weight: Option<&'a Tensor>,
    /// Shift (channels), 0 where there is none.
    pub bias: Option<&'a Tensor>,
    /// Mean and variance (channels) to normalise by, without a gradient; the batch's own where there are none.
    pub statistics: Option<(&'a Tensor, &'a Tensor)>,
    /// Added to the variance.
    pub eps: f64,
}

/// The result of an operation with a [`Tail`].
pub struct Tailed {
    /// The output.
    pub output: Tensor,
    /// Mean and biased variance (channels) of the batch, detached, where the tail normalised by them.
    pub statistics: Option<(Tensor, Tensor)>,
    /// Elements a channel before pooling, of which the statistics are.
    pub count: usize,
}

impl Tail<'_> {
    /// Checks the tail of a result of shape `dims` that is like `xs`; gives the windows of the pooling.
    fn check(&self, name: &str, xs: &Tensor, dims: [usize; 4]) -> Result<Option<[Windows; 2]>> {
        if let Some(norm) = &self.batch_norm {
            let (mean, var) = norm.statistics.unzip();
            let parameters = [("weight", norm.weight), ("bias", norm.bias), ("mean", mean), ("variance", var)];
            check_channels(name, xs, dims[1], &parameters)?;
            check_eps(name, norm.eps)?;
            if norm.statistics.is_none() {
                check_count(name, dims[0] * dims[2] * dims[3], &dims)?;
            }
        }
        if let Some(residual) = self.residual {
            check_same_kind(name, xs, "residual", residual)?;
            if residual.dims() != dims {
                candle_core::bail!("{name}: expected residual of shape {dims:?}, got {:?}", residual.dims());
            }
        }
        if let Some(activation) = self.activation {
            activation.check(xs.dtype())?;
        }
        let Some(pool) = &self.max_pool else { return Ok(None) };
        if (0..2).any(|axis| pool.stride[axis] < pool.kernel[axis]) {
            candle_core::bail!("{name}: expected pooling windows that do not overlap, got {pool:?}");
        }
        max_windows_of(name, [dims[2], dims[3]], pool).map(Some)
    }

    /// The tail of `ys`, one operation after the other.
    pub(crate) fn composed(&self, ys: Tensor) -> Result<Tailed> {
        let (mut ys, mut statistics) = (ys, None);
        let count = ys.elem_count() / ys.dim(1)?.max(1);
        if let Some(norm) = &self.batch_norm {
            let TailBatchNorm { weight, bias, eps, .. } = *norm;
            ys = match norm.statistics {
                Some((mean, var)) => batch_norm_eval(&ys, mean, var, weight, bias, eps)?,
                None => {
                    let (ys, mean, var) = batch_norm_train(&ys, weight, bias, eps)?;
                    statistics = Some((mean, var));
                    ys
                }
            };
        }
        if let Some(residual) = self.residual {
            ys = (ys + residual)?;
        }
        if let Some(function) = self.activation {
            ys = activation(&ys, function)?;
        }
        if let Some(pool) = &self.max_pool {
            ys = max_pool2d(&ys, pool)?;
        }
        Ok(Tailed { output: ys, statistics, count })
    }
}
