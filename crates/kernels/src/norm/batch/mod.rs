//! Batch normalisation (Ioffe and Szegedy, 2015): each channel is shifted and scaled by statistics over the batch.

mod op;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use super::layer::check_eps;
use crate::Result;
use crate::cpu::{apply3, by_float, check_same_kind, is_fused, with_values};
pub(crate) use op::{BatchNorm, GradSums, Statistics};

/// Normalises each channel by its own mean and variance over the batch, as PyTorch's `batch_norm` in training.
///
/// `ys = (xs - mean) / sqrt(var + eps) · weight + bias` with `mean` and the biased `var` over all dimensions but 1. The
/// gradient flows through both statistics.
///
/// Returns (`ys`, `mean`, `var`), the last two detached. PyTorch's running variance is fed with the unbiased one,
/// `var · M / (M - 1)` for M elements a channel.
///
/// # Shapes
/// `xs` (N, C, ...) of 2 to 5 dimensions, `weight` and `bias` (C) to `ys` of the shape of `xs`, `mean` and `var` (C).
///
/// # Errors
/// Where a shape, dtype or device does not fit, there is less than two elements a channel, or `eps` is negative or not
/// finite.
pub fn batch_norm_train(
    xs: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    const NAME: &str = "batch_norm_train";
    let channels = check(NAME, xs, &[("weight", weight), ("bias", bias)], eps)?;
    check_count(NAME, xs.elem_count() / channels, xs.dims())?;
    if !is_fused(xs) {
        return train_composed(xs, weight, bias, eps);
    }
    let xs = xs.contiguous()?;
    let statistics = by_float!(NAME, xs.dtype(), T => {
        with_values([&xs], |[data]: [&[T]; 1]| Ok(Statistics::of(data, xs.dims()[0], channels)))?
    });
    let of_channels = |values: &[f64]| Tensor::from_slice(values, channels, xs.device())?.to_dtype(xs.dtype());
    let (mean, var) = (of_channels(&statistics.mean)?, of_channels(&statistics.var)?);
    let ys = apply(&xs, weight, bias, BatchNorm::new(statistics, eps, true))?;
    Ok((ys, mean, var))
}

/// Normalises each channel by given statistics, as PyTorch's `batch_norm` in evaluation.
///
/// `ys = (xs - running_mean) / sqrt(running_var + eps) · weight + bias`. The statistics get no gradient.
///
/// # Shapes
/// `xs` (N, C, ...) of 2 to 5 dimensions, all others (C), to the shape of `xs`.
///
/// # Errors
/// Where a shape, dtype or device does not fit, or `eps` is negative or not finite.
pub fn batch_norm_eval(
    xs: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    const NAME: &str = "batch_norm_eval";
    let running = [("running_mean", Some(running_mean)), ("running_var", Some(running_var))];
    check(NAME, xs, &[running[0], running[1], ("weight", weight), ("bias", bias)], eps)?;
    if !is_fused(xs) {
        return eval_composed(xs, running_mean, running_var, weight, bias, eps);
    }
    let values = |t: &Tensor| t.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>();
    let statistics = Statistics { mean: values(running_mean)?, var: values(running_var)? };
    apply(&xs.contiguous()?, weight, bias, BatchNorm::new(statistics, eps, false))
}

/// Runs the op with constants for what is not given.
fn apply(xs: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, op: BatchNorm) -> Result<Tensor> {
    let channels = xs.dim(1)?;
    let weight = match weight {
        Some(weight) => weight.contiguous()?,
        None => Tensor::ones(channels, xs.dtype(), xs.device())?,
    };
    let bias = match bias {
        Some(bias) => bias.contiguous()?,
        None => Tensor::zeros(channels, xs.dtype(), xs.device())?,
    };
    apply3(xs, &weight, &bias, op)
}

/// The number of channels, after checking that everything fits.
fn check(name: &str, xs: &Tensor, others: &[(&str, Option<&Tensor>)], eps: f64) -> Result<usize> {
    let channels = match *xs.dims() {
        [_, channels, ..] if xs.rank() <= 5 && channels > 0 => channels,
        _ => candle_core::bail!("{name}: expected xs (N, C, ...) of 2 to 5 dimensions, got {:?}", xs.dims()),
    };
    check_eps(name, eps)?;
    check_channels(name, xs, channels, others)?;
    Ok(channels)
}

/// Checks that all of `others` are (channels) and of the kind of `xs`.
pub(crate) fn check_channels(
    name: &str,
    xs: &Tensor,
    channels: usize,
    others: &[(&str, Option<&Tensor>)],
) -> Result<()> {
    for (what, other) in others {
        let Some(other) = other else { continue };
        check_same_kind(name, xs, what, other)?;
        if other.dims() != [channels] {
            candle_core::bail!("{name}: expected {what} of shape [{channels}], got {:?}", other.dims());
        }
    }
    Ok(())
}

/// Fails where a channel has fewer than two elements to take statistics of.
pub(crate) fn check_count(name: &str, count: usize, dims: &[usize]) -> Result<()> {
    if count < 2 {
        candle_core::bail!("{name}: expected more than 1 element per channel, got {count} (shape {dims:?})");
    }
    Ok(())
}

/// [`batch_norm_train`] from Candle's operations.
fn train_composed(
    xs: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    let others: Vec<usize> = (0..xs.rank()).filter(|&dim| dim != 1).collect();
    let mean = xs.mean_keepdim(&others[..])?;
    let centred = xs.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim(&others[..])?;
    let ys = affine(&centred.broadcast_div(&(&var + eps)?.sqrt()?)?, weight, bias)?;
    Ok((ys, mean.flatten_all()?.detach(), var.flatten_all()?.detach()))
}

/// [`batch_norm_eval`] from Candle's operations.
fn eval_composed(
    xs: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let mean = along_channels(&mean.detach(), xs.rank())?;
    let std = along_channels(&(var.detach() + eps)?.sqrt()?, xs.rank())?;
    affine(&xs.broadcast_sub(&mean)?.broadcast_div(&std)?, weight, bias)
}

fn affine(xs: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut ys = xs.clone();
    if let Some(weight) = weight {
        ys = ys.broadcast_mul(&along_channels(weight, xs.rank())?)?;
    }
    if let Some(bias) = bias {
        ys = ys.broadcast_add(&along_channels(bias, xs.rank())?)?;
    }
    Ok(ys)
}

/// (C) to (1, C, 1, ...) of `rank` dimensions.
fn along_channels(values: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = values.elem_count();
    values.reshape(shape)
}
