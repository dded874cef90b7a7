//! Root-mean-square normalisation.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::layer::{check_eps, parameter};
use crate::Result;
use crate::cpu::{
    Element, Gradients2, apply2, by_float, copy_rows, is_fused, output, rows_per_chunk, simd, sum_by, sum_rows, tensor,
    values, with_values,
};

/// Divides every row by its root mean square: x / √(mean(x²) + eps) · weight.
///
/// # Shapes
/// `xs` (…, hidden_size), `weight` (hidden_size). The result has the shape of `xs`.
///
/// # Errors
/// Where shapes or dtypes disagree, `xs` is a scalar, or `eps` is negative.
///
/// Zhang and Sennrich 2019, arXiv 1910.07467.
pub fn rms_norm(xs: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let Some(&len) = xs.dims().last() else {
        candle_core::bail!("rms_norm: expected (…, hidden_size), got a scalar")
    };
    let weight = parameter("rms_norm", "weight", Some(weight), xs, &[len], 1.0)?;
    check_eps("rms_norm", eps)?;
    if is_fused(xs) {
        apply2(xs, &weight, RmsNorm { len, eps, scales: OnceLock::new() })
    } else {
        composed(xs, &weight, eps)
    }
}

fn composed(xs: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = xs.sqr()?.mean_keepdim(candle_core::D::Minus1)?;
    xs.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)
}

struct RmsNorm {
    len: usize,
    eps: f64,
    /// 1 / √(mean(x²) + eps) of every row, which forward leaves for backward.
    scales: OnceLock<Vec<f64>>,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("rms_norm", s1.dtype(), T => {
            let xs = values::<T>(s1, l1)?;
            let scales = scales(&xs, self.len, self.eps);
            let out = forward(&xs, &values::<T>(s2, l2)?, &scales);
            // Another forward with the same op would find the same values.
            let _ = self.scales.set(scales);
            Ok(output(out, l1.shape()))
        })
    }

    fn bwd(&self, xs: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Gradients2> {
        let Some(scales) = self.scales.get() else { candle_core::bail!("rms_norm: backward before forward") };
        by_float!("rms_norm", xs.dtype(), T => {
            with_values::<T, _, 3>([xs, weight, grad], |[x, w, g]| {
                let grad_xs = xs.track_op().then(|| tensor(grad_input(x, w, g, scales), xs.shape()));
                let grad_w = weight.track_op().then(|| tensor(grad_weight(x, g, scales, w.len()), weight.shape()));
                Ok((grad_xs.transpose()?, grad_w.transpose()?))
            })
        })
    }
}

fn scales<T: Element>(xs: &[T], len: usize, eps: f64) -> Vec<f64> {
    let scale = |xs: &[T]| simd(|| 1.0 / (sum_by(len, |i| xs[i] * xs[i]) / len as f64 + eps).sqrt());
    xs.par_chunks(len.max(1)).with_min_len(rows_per_chunk(len)).map(scale).collect()
}

fn forward<T: Element>(xs: &[T], weight: &[T], scales: &[f64]) -> Vec<T> {
    let change = |i: usize, row: &mut [T]| {
        let scale = T::from_f64(scales[i]);
        row.iter_mut().zip(weight).for_each(|(x, &w)| *x = *x * scale * w);
    };
    copy_rows(xs, weight.len(), change).0
}

/// scale · (h − n · mean(h n)) with n the normalised row and h = grad · weight.
fn grad_input<T: Element>(xs: &[T], weight: &[T], grad: &[T], scales: &[f64]) -> Vec<T> {
    let len = weight.len();
    let change = |i: usize, row: &mut [T]| {
        let (xs, scale) = (&xs[i * len..][..len], T::from_f64(scales[i]));
        let mean = T::from_f64(sum_by(len, |j| row[j] * weight[j] * (xs[j] * scale)) / len as f64);
        let terms = xs.iter().zip(weight);
        row.iter_mut().zip(terms).for_each(|(g, (&x, &w))| *g = scale * (*g * w - x * scale * mean));
    };
    copy_rows(grad, len, change).0
}

fn grad_weight<T: Element>(xs: &[T], grad: &[T], scales: &[f64], len: usize) -> Vec<T> {
    sum_rows(scales.len(), len, len, |i, sums: &mut [T]| {
        let part = i * len..(i + 1) * len;
        let (scale, terms) = (T::from_f64(scales[i]), xs[part.clone()].iter().zip(&grad[part]));
        simd(|| sums.iter_mut().zip(terms).for_each(|(sum, (&x, &g))| *sum += g * (x * scale)));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{check_gradients, values};

    #[test]
    fn gradients() {
        let inputs = [values((3, 4, 4), 1).unwrap(), values(4, 2).unwrap()];
        check_gradients(&inputs, |t| rms_norm(&t[0], &t[1], 1e-6)).unwrap();
        check_gradients(&inputs, |t| composed(&t[0], &t[1], 1e-6)).unwrap();
    }

    #[test]
    fn fused_equals_composed_on_both_sides_of_the_parallel_threshold() {
        for (n, len) in [(5, 3), (9, 100), (700, 65)] {
            let (xs, w) = (values((n, len), 1).unwrap(), values(len, 2).unwrap());
            let got = rms_norm(&xs, &w, 1e-6).unwrap();
            let worst = (got - composed(&xs, &w, 1e-6).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
            assert!(worst.to_scalar::<f64>().unwrap() < 1e-13, "{worst}");
        }
    }

    #[test]
    fn wrong_weight_is_named() {
        let error = rms_norm(&values((2, 6), 1).unwrap(), &values(5, 2).unwrap(), 1e-6).unwrap_err().to_string();
        assert!(error.contains("rms_norm: expected weight [6] F64, got [5] F64"), "{error}");
    }
}
