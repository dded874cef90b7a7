//! Softmax and its logarithm over any dimension.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use crate::Result;
use crate::cpu::{Float, apply1, by_float, is_fused, output, rows, sum_by, tensor, values, with_values};

/// Softmax over dimension `dim`: e^(x_i) / sum_j e^(x_j).
///
/// The maximum is subtracted first, so nothing overflows. A row of −∞ alone gives NaN, as in PyTorch.
///
/// # Shapes
/// Any; the result has the same.
///
/// # Errors
/// Where `xs` has no dimension `dim`, or is not of a float type.
pub fn softmax(xs: &Tensor, dim: usize) -> Result<Tensor> {
    check(xs, dim, "softmax")?;
    if is_fused(xs) { apply1(xs, Softmax { dim, log: false }) } else { composed_softmax(xs, dim) }
}

/// The logarithm of softmax over dimension `dim`: x_i − ln(sum_j e^(x_j)).
///
/// Exact where [`softmax`] itself would round to 0 or 1. A row of −∞ alone gives NaN, as in PyTorch.
///
/// # Shapes
/// Any; the result has the same.
///
/// # Errors
/// Where `xs` has no dimension `dim`, or is not of a float type.
pub fn log_softmax(xs: &Tensor, dim: usize) -> Result<Tensor> {
    check(xs, dim, "log_softmax")?;
    if is_fused(xs) { apply1(xs, Softmax { dim, log: true }) } else { composed_log_softmax(xs, dim) }
}

fn check(xs: &Tensor, dim: usize, name: &str) -> Result<()> {
    if dim >= xs.rank() {
        candle_core::bail!("{name}: expected a dimension below {}, got {dim} for {:?}", xs.rank(), xs.dims());
    }
    if !xs.dtype().is_float() {
        candle_core::bail!("{name}: expected a float type, got {:?}", xs.dtype());
    }
    Ok(())
}

fn composed_softmax(xs: &Tensor, dim: usize) -> Result<Tensor> {
    let powers = shifted(xs, dim)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(dim)?)
}

/// [`log_softmax`] from Candle's operations.
pub(crate) fn composed_log_softmax(xs: &Tensor, dim: usize) -> Result<Tensor> {
    let shifted = shifted(xs, dim)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(dim)?.log()?)
}

/// `xs` less its maximum, which is a constant as far as the gradient goes: the result does not depend on it.
fn shifted(xs: &Tensor, dim: usize) -> Result<Tensor> {
    if xs.elem_count() == 0 {
        // Which has no maximum.
        return Ok(xs.clone());
    }
    xs.broadcast_sub(&xs.max_keepdim(dim)?.detach())
}

struct Softmax {
    dim: usize,
    log: bool,
}

impl Softmax {
    /// Sizes of the softmax's dimension and of all after it.
    fn sizes(&self, shape: &Shape) -> (usize, usize) {
        (shape.dims()[self.dim], shape.dims()[self.dim + 1..].iter().product())
    }
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (len, inner) = self.sizes(layout.shape());
        by_float!(self.name(), xs.dtype(), T => {
            let out = forward(&values::<T>(xs, layout)?, len, inner, self.log);
            Ok(output(out, layout.shape()))
        })
    }

    fn bwd(&self, xs: &Tensor, ys: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !xs.track_op() {
            return Ok(None);
        }
        let (len, inner) = self.sizes(xs.shape());
        by_float!(self.name(), xs.dtype(), T => {
            with_values::<T, _, 2>([ys, grad], |[y, g]| {
                tensor(backward(y, g, len, inner, self.log), xs.shape()).map(Some)
            })
        })
    }
}

fn forward<T: Float>(xs: &[T], len: usize, inner: usize, log: bool) -> Vec<T> {
    let mut out = vec![T::zero(); xs.len()];
    rows(&mut out, len * inner, |i, out| {
        let xs = &xs[i * len * inner..][..out.len()];
        if inner == 1 { forward_row(xs, out, log) } else { forward_columns(xs, out, inner, log) }
    });
    out
}

fn backward<T: Float>(ys: &[T], grad: &[T], len: usize, inner: usize, log: bool) -> Vec<T> {
    let mut out = vec![T::zero(); ys.len()];
    rows(&mut out, len * inner, |i, out| {
        let part = i * len * inner..i * len * inner + out.len();
        backward_block(&ys[part.clone()], &grad[part], out, inner, log);
    });
    out
}

/// The largest element, or −∞. NaN is left out: the sum of exponentials brings it back.
#[inline(always)]
pub(crate) fn max_of<T: Float>(xs: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [T::from_f64(f64::NEG_INFINITY); 16];
    let (blocks, rest) = xs.as_chunks::<16>();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &x)| *lane = larger(*lane, x));
    }
    rest.iter().chain(&lanes).fold(T::from_f64(f64::NEG_INFINITY), |a, &b| larger(a, b))
}

#[inline(always)]
fn forward_row<T: Float>(xs: &[T], out: &mut [T], log: bool) {
    let max = max_of(xs);
    if log {
        let log_sum = T::from_f64(sum_by(xs.len(), |i| (xs[i] - max).exp()).ln());
        out.iter_mut().zip(xs).for_each(|(out, &x)| *out = (x - max) - log_sum);
    } else {
        out.iter_mut().zip(xs).for_each(|(out, &x)| *out = (x - max).exp());
        let scale = T::from_f64(1.0 / sum_by(out.len(), |i| out[i]));
        out.iter_mut().for_each(|out| *out *= scale);
    }
}

/// As [`forward_row`] for `inner` columns side by side, so that the loops run over neighbours in memory.
#[inline(always)]
fn forward_columns<T: Float>(xs: &[T], out: &mut [T], inner: usize, log: bool) {
    let mut max = vec![T::from_f64(f64::NEG_INFINITY); inner];
    for xs in xs.chunks(inner) {
        max.iter_mut().zip(xs).for_each(|(max, &x)| *max = if x > *max { x } else { *max });
    }
    let mut sum = vec![T::zero(); inner];
    for (xs, out) in xs.chunks(inner).zip(out.chunks_mut(inner)) {
        for (((&x, out), &max), sum) in xs.iter().zip(out).zip(&max).zip(&mut sum) {
            let power = (x - max).exp();
            *out = if log { x - max } else { power };
            *sum += power;
        }
    }
    for sum in &mut sum {
        *sum = T::from_f64(if log { sum.to_f64().ln() } else { 1.0 / sum.to_f64() });
    }
    for out in out.chunks_mut(inner) {
        out.iter_mut().zip(&sum).for_each(|(out, &sum)| *out = if log { *out - sum } else { *out * sum });
    }
}

/// y (g − sum of g y) for softmax, g − e^y (sum of g) for its logarithm.
#[inline(always)]
fn backward_block<T: Float>(ys: &[T], grad: &[T], out: &mut [T], inner: usize, log: bool) {
    let weight = |y: T| if log { T::one() } else { y };
    let gradient = |y: T, g: T, sum: T| if log { g - y.exp() * sum } else { y * (g - sum) };
    if inner == 1 {
        let sum = T::from_f64(sum_by(ys.len(), |i| grad[i] * weight(ys[i])));
        out.iter_mut().zip(ys).zip(grad).for_each(|((out, &y), &g)| *out = gradient(y, g, sum));
        return;
    }
    let mut sums = vec![T::zero(); inner];
    for (ys, grad) in ys.chunks(inner).zip(grad.chunks(inner)) {
        sums.iter_mut().zip(ys).zip(grad).for_each(|((sum, &y), &g)| *sum += g * weight(y));
    }
    for ((ys, grad), out) in ys.chunks(inner).zip(grad.chunks(inner)).zip(out.chunks_mut(inner)) {
        let terms = ys.iter().zip(grad).zip(&sums);
        out.iter_mut().zip(terms).for_each(|(out, ((&y, &g), &sum))| *out = gradient(y, g, sum));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::*;
    use crate::testing::{assert_close, flat};
    use crate::testkit::{check_gradients, values};

    #[test]
    fn gradients_over_every_dimension() {
        let xs = [(values((3, 4, 5), 1).unwrap() * 3.0).unwrap()];
        for dim in 0..3 {
            check_gradients(&xs, |t| softmax(&t[0], dim)).unwrap();
            check_gradients(&xs, |t| log_softmax(&t[0], dim)).unwrap();
            check_gradients(&xs, |t| composed_softmax(&t[0], dim)).unwrap();
            check_gradients(&xs, |t| composed_log_softmax(&t[0], dim)).unwrap();
        }
    }

    /// Sizes on both sides of the parallel threshold and of the lanes of the sums.
    #[test]
    fn fused_equals_composed() {
        for (shape, dim) in [((7, 33, 1), 1), ((3, 19, 5), 1), ((200, 300, 1), 1), ((40, 30, 50), 1), ((4, 5, 6), 0)] {
            let xs = (values(shape, 2).unwrap() * 20.0).unwrap();
            let single = xs.to_dtype(candle_core::DType::F32).unwrap();
            for (fused, composed) in [
                (
                    softmax as fn(&Tensor, usize) -> Result<Tensor>,
                    composed_softmax as fn(&Tensor, usize) -> Result<Tensor>,
                ),
                (log_softmax, composed_log_softmax),
            ] {
                let want = flat(&composed(&xs, dim).unwrap());
                assert_close(&flat(&fused(&xs, dim).unwrap()), &want, 1e-13);
                // Inputs up to 20 are rounded by 1e-6 in f32.
                assert_close(&flat(&fused(&single, dim).unwrap()), &want, 4e-6);
            }
        }
    }

    #[test]
    fn extreme_rows() {
        let infinity = f32::INFINITY;
        let xs = [[1e4f32, -1e4, 0.0], [-infinity, 0.0, 0.0], [-infinity, -infinity, -infinity], [f32::NAN, 0.0, 1.0]];
        for dim in [1, 0] {
            let xs = Tensor::new(&xs, &Device::Cpu).unwrap();
            let (xs, back) = if dim == 1 { (xs, 0) } else { (xs.t().unwrap(), 1) };
            let row = |t: &Tensor, i| flat(&t.narrow(back, i, 1).unwrap());
            let (plain, log) = (softmax(&xs, dim).unwrap(), log_softmax(&xs, dim).unwrap());
            assert_eq!(row(&plain, 0), [1.0, 0.0, 0.0]);
            assert_eq!(row(&log, 0), [0.0, -2e4, -1e4]);
            assert_eq!(row(&plain, 1), [0.0, 0.5, 0.5]);
            assert_eq!(row(&log, 1)[0], f64::NEG_INFINITY);
            assert!(row(&plain, 2).iter().chain(&row(&log, 2)).all(|x| x.is_nan()));
            assert!(row(&plain, 3).iter().chain(&row(&log, 3)).all(|x| x.is_nan()));
        }
    }

    #[test]
    fn a_constant_gets_no_gradient_and_bad_dimensions_are_named() {
        let constant = values((2, 3), 1).unwrap();
        let scale = Var::from_tensor(&values((2, 3), 2).unwrap()).unwrap();
        let grads = (softmax(&constant, 1).unwrap() * scale.as_tensor()).unwrap().backward().unwrap();
        assert!(grads.get(&constant).is_none() && grads.get(&scale).is_some());
        let error = softmax(&constant, 2).unwrap_err().to_string();
        assert!(error.contains("softmax: expected a dimension below 2, got 2 for [2, 3]"), "{error}");
    }

    #[test]
    fn empty_tensors() {
        for shape in [(0, 3), (3, 0)] {
            let xs = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
            assert_eq!(softmax(&xs, 1).unwrap().dims2().unwrap(), shape);
        }
    }
}
