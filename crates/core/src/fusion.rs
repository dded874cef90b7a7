//! Neighbouring layers as one operation.
//!
//! In a [`Sequential`](crate::Sequential) a convolution or a linear layer takes the normalisation, activation and pooling
//! behind it into its own operation, which spares the large results in between, their gradients, and a pass over each.
//! No bit of the result changes. With a [`Probe`](crate::Probe) on the pass every layer runs by itself, so that each is
//! seen.

use candle_core::Tensor;
use glassbox_kernels::pool::Pool2dParams;
use glassbox_kernels::tail::{Tail, TailBatchNorm, Tailed};

use crate::{Activation, Pass, Result};

/// What a layer does, for the layer before it to do.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Follower<'a> {
    /// An elementwise function.
    Activation(Activation),
    /// Max pooling of images.
    MaxPool(Pool2dParams),
    /// Batch normalisation of images.
    BatchNorm(&'a dyn Normalization),
}

/// Batch normalisation that another layer's operation does.
pub trait Normalization: Sync {
    /// Number of channels.
    fn num_channels(&self) -> usize;

    /// Its parameters and statistics in this pass.
    fn normalizer(&self, pass: &Pass) -> Normalizer;

    /// Takes in the mean and the biased variance of a batch of `count` elements a channel.
    ///
    /// # Errors
    /// A device that fails.
    fn observe(&self, mean: &Tensor, var: &Tensor, count: usize) -> Result<()>;
}

/// The tensors that batch normalisation takes: scale, shift, and mean and variance where they are given.
pub struct Normalizer {
    /// Scale (channels).
    pub weight: Option<Tensor>,
    /// Shift (channels).
    pub bias: Option<Tensor>,
    /// Mean and variance (channels); the batch's own where there are none.
    pub statistics: Option<(Tensor, Tensor)>,
    /// Added to the variance.
    pub eps: f64,
}

/// Runs an operation that gives images of `num_channels` channels with as much of `followers` as its tail takes:
/// `run(tail)` is the operation. A `residual` is added after the normalisation and before the rest. Gives the output and
/// how many followers were done.
///
/// # Errors
/// Those of `run`.
pub fn with_tail(
    num_channels: usize,
    pass: &Pass,
    residual: Option<&Tensor>,
    followers: &[Follower<'_>],
    run: impl FnOnce(&Tail) -> Result<Tailed>,
) -> Result<(Tensor, usize)> {
    let plan = Plan::of(num_channels, followers);
    let normalizer = plan.norm.map(|norm| norm.normalizer(pass));
    let batch_norm = normalizer.as_ref().map(|n| TailBatchNorm {
        weight: n.weight.as_ref(),
        bias: n.bias.as_ref(),
        statistics: n.statistics.as_ref().map(|(mean, var)| (mean, var)),
        eps: n.eps,
    });
    let tailed = run(&Tail { batch_norm, residual, activation: plan.activation, max_pool: plan.max_pool })?;
    if let (Some(norm), Some((mean, var))) = (plan.norm, &tailed.statistics) {
        norm.observe(mean, var, tailed.count)?;
    }
    Ok((tailed.output, plan.done))
}

/// Which followers a tail takes: at most one of each, in the order of normalisation, activation, pooling.
struct Plan<'a> {
    norm: Option<&'a dyn Normalization>,
    activation: Option<Activation>,
    max_pool: Option<Pool2dParams>,
    done: usize,
}

impl<'a> Plan<'a> {
    fn of(num_channels: usize, followers: &[Follower<'a>]) -> Self {
        let mut plan = Self { norm: None, activation: None, max_pool: None, done: 0 };
        for follower in followers {
            let later = plan.activation.is_some() || plan.max_pool.is_some();
            match *follower {
                Follower::BatchNorm(norm) if plan.done == 0 && norm.num_channels() == num_channels => {
                    plan.norm = Some(norm);
                }
                Follower::Activation(activation) if !later => plan.activation = Some(activation),
                Follower::MaxPool(pool) if plan.max_pool.is_none() && is_disjoint(&pool) => {
                    plan.max_pool = Some(pool);
                }
                _ => break,
            }
            plan.done += 1;
        }
        plan
    }
}

/// Whether the windows are well formed and do not overlap.
fn is_disjoint(pool: &Pool2dParams) -> bool {
    (0..2).all(|axis| pool.kernel[axis] > 0 && pool.stride[axis] >= pool.kernel[axis])
}
