//! Layer normalisation, and the row kernels that it shares with group normalisation.

use std::sync::OnceLock;

use crate::Result;
use crate::cpu::{
    Element, Gradients3, apply3, by_float, copy_rows, is_fused, output, simd, sum_by, sum_rows, tensor, values,
    with_values,
};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

/// Normalises every sample over its last dimensions: (x − mean) / √(variance + eps) · weight + bias, with the biased
/// variance.
///
/// # Shapes
/// `xs` ends in `normalized_shape`; `weight` and `bias` have that shape. The result has the shape of `xs`.
///
/// # Errors
/// Where shapes or dtypes disagree, or `eps` is negative.
///
/// Ba et al. 2016, arXiv 1607.06450.
pub fn layer_norm(
    xs: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    normalized_shape: &[usize],
    eps: f64,
) -> Result<Tensor> {
    if normalized_shape.is_empty() || !xs.dims().ends_with(normalized_shape) {
        candle_core::bail!("layer_norm: expected last dimensions {normalized_shape:?}, got {:?}", xs.dims());
    }
    let len = normalized_shape.iter().product();
    let weight = parameter("layer_norm", "weight", weight, xs, normalized_shape, 1.0)?;
    let bias = parameter("layer_norm", "bias", bias, xs, normalized_shape, 0.0)?;
    check_eps("layer_norm", eps)?;
    if is_fused(xs) {
        apply3(xs, &weight, &bias, RowNorm::new(Affine { row_len: len, channels: len, plane: 1 }, eps))
    } else {
        let rows = xs.reshape(((), len))?;
        let normal = composed_normal(&rows, eps)?.reshape(xs.shape())?;
        normal.broadcast_mul(&weight)?.broadcast_add(&bias)
    }
}

/// A checked parameter, or a constant where there is none.
pub(super) fn parameter(
    who: &str,
    name: &str,
    given: Option<&Tensor>,
    xs: &Tensor,
    shape: &[usize],
    default: f64,
) -> Result<Tensor> {
    let Some(given) = given else {
        return Tensor::full(default, shape, xs.device())?.to_dtype(xs.dtype());
    };
    if given.dims() != shape || given.dtype() != xs.dtype() {
        let (dims, dtype) = (given.dims(), given.dtype());
        candle_core::bail!("{who}: expected {name} {shape:?} {:?}, got {dims:?} {dtype:?}", xs.dtype());
    }
    Ok(given.clone())
}

pub(crate) fn check_eps(who: &str, eps: f64) -> Result<()> {
    if eps >= 0.0 && eps.is_finite() {
        return Ok(());
    }
    candle_core::bail!("{who}: expected a finite eps of at least 0, got {eps}")
}

/// Rows (n, len) with mean 0 and variance 1, from Candle's operations.
pub(super) fn composed_normal(rows: &Tensor, eps: f64) -> Result<Tensor> {
    let centered = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
    let variance = centered.sqr()?.mean_keepdim(1)?;
    centered.broadcast_div(&(variance + eps)?.sqrt()?)
}

/// Which weight an element of a row takes: element j of row i has channel (i · row_len + j) / plane mod channels.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    /// Elements normalised together.
    pub row_len: usize,
    /// How many weights there are.
    pub channels: usize,
    /// Neighbouring elements that share a weight.
    pub plane: usize,
}

impl Affine {
    /// The weights of row `i`: where they start, and how many.
    fn of_row(&self, i: usize) -> std::ops::Range<usize> {
        let count = self.row_len / self.plane;
        let start = i * count % self.channels;
        start..start + count
    }
}

/// Normalises rows of neighbouring elements, each with its own mean and variance.
pub(super) struct RowNorm {
    affine: Affine,
    eps: f64,
    /// Mean and 1 / √(variance + eps) of every row, which forward leaves for backward.
    statistics: OnceLock<Vec<(f64, f64)>>,
}

impl RowNorm {
    pub(super) fn new(affine: Affine, eps: f64) -> Self {
        RowNorm { affine, eps, statistics: OnceLock::new() }
    }
}

impl CustomOp3 for RowNorm {
    fn name(&self) -> &'static str {
        "row_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_float!("row_norm", s1.dtype(), T => {
            let (xs, weight, bias) = (values::<T>(s1, l1)?, values(s2, l2)?, values(s3, l3)?);
            let (out, statistics) = forward(&xs, &weight, &bias, self.affine, self.eps);
            // Another forward with the same op would find the same values.
            let _ = self.statistics.set(statistics);
            Ok(output(out, l1.shape()))
        })
    }

    fn bwd(&self, xs: &Tensor, weight: &Tensor, bias: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Gradients3> {
        let Some(statistics) = self.statistics.get() else {
            candle_core::bail!("row_norm: backward before forward");
        };
        by_float!("row_norm", xs.dtype(), T => {
            with_values::<T, _, 3>([xs, weight, grad], |[x, w, g]| {
                let grad_xs = xs.track_op().then(|| tensor(grad_input(x, w, g, statistics, self.affine), xs.shape()));
                let affine = (weight.track_op() || bias.track_op()).then(|| grad_affine(x, g, statistics, self.affine));
                let (grad_w, grad_b) = affine.unzip();
                let grad_w = grad_w.filter(|_| weight.track_op()).map(|v| tensor::<T>(v, weight.shape()));
                let grad_b = grad_b.filter(|_| bias.track_op()).map(|v| tensor::<T>(v, bias.shape()));
                Ok((grad_xs.transpose()?, grad_w.transpose()?, grad_b.transpose()?))
            })
        })
    }
}

/// The result, and mean and 1 / √(variance + eps) of every row.
fn forward<T: Element>(xs: &[T], weight: &[T], bias: &[T], affine: Affine, eps: f64) -> (Vec<T>, Vec<(f64, f64)>) {
    let Affine { row_len, plane, .. } = affine;
    copy_rows(xs, row_len, |i, row| {
        let (mean, scale) = statistics(row, eps);
        let (center, factor) = (T::from_f64(mean), T::from_f64(scale));
        let channels = affine.of_row(i);
        let (weight, bias) = (&weight[channels.clone()], &bias[channels]);
        if plane == 1 {
            let terms = weight.iter().zip(bias);
            row.iter_mut().zip(terms).for_each(|(x, (&w, &b))| *x = (*x - center) * factor * w + b);
        } else {
            for (plane, (&w, &b)) in row.chunks_mut(plane).zip(weight.iter().zip(bias)) {
                plane.iter_mut().for_each(|x| *x = (*x - center) * factor * w + b);
            }
        }
        (mean, scale)
    })
}

#[inline(always)]
fn statistics<T: Element>(row: &[T], eps: f64) -> (f64, f64) {
    let len = row.len() as f64;
    let mean = sum_by(row.len(), |i| row[i]) / len;
    let center = T::from_f64(mean);
    let variance = sum_by(row.len(), |i| (row[i] - center) * (row[i] - center)) / len;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// scale · (h − mean(h) − n · mean(h n)) with n the normalised row and h = grad · weight.
fn grad_input<T: Element>(xs: &[T], weight: &[T], grad: &[T], statistics: &[(f64, f64)], affine: Affine) -> Vec<T> {
    let Affine { row_len, plane, .. } = affine;
    let change = |i: usize, row: &mut [T]| {
        let xs = &xs[i * row_len..][..row_len];
        let (mean, scale) = (T::from_f64(statistics[i].0), T::from_f64(statistics[i].1));
        let weight = &weight[affine.of_row(i)];
        if plane == 1 {
            row.iter_mut().zip(weight).for_each(|(h, &w)| *h *= w);
        } else {
            row.chunks_mut(plane).zip(weight).for_each(|(plane, &w)| plane.iter_mut().for_each(|h| *h *= w));
        }
        let len = row_len as f64;
        let mean_h = T::from_f64(sum_by(row_len, |j| row[j]) / len);
        let mean_hn = T::from_f64(sum_by(row_len, |j| row[j] * ((xs[j] - mean) * scale)) / len);
        for (h, &x) in row.iter_mut().zip(xs) {
            *h = scale * (*h - mean_h - (x - mean) * scale * mean_hn);
        }
    };
    copy_rows(grad, row_len, change).0
}

/// The gradients of weight and bias.
fn grad_affine<T: Element>(xs: &[T], grad: &[T], statistics: &[(f64, f64)], affine: Affine) -> (Vec<T>, Vec<T>) {
    let Affine { row_len, channels, plane } = affine;
    let mut sums = sum_rows(statistics.len(), row_len, 2 * channels, |i, sums: &mut [T]| {
        let (weight, bias) = sums.split_at_mut(channels);
        let (part, range) = (i * row_len..(i + 1) * row_len, affine.of_row(i));
        let (mean, scale) = (T::from_f64(statistics[i].0), T::from_f64(statistics[i].1));
        let row = Row { xs: &xs[part.clone()], grad: &grad[part], mean, scale };
        simd(|| row.add(plane, &mut weight[range.clone()], &mut bias[range]));
    });
    let bias = sums.split_off(channels);
    (sums, bias)
}

struct Row<'a, T> {
    xs: &'a [T],
    grad: &'a [T],
    mean: T,
    scale: T,
}

impl<T: Element> Row<'_, T> {
    /// Adds the row's share to the gradients of its weights and biases.
    #[inline(always)]
    fn add(&self, plane: usize, weight: &mut [T], bias: &mut [T]) {
        let (mean, scale) = (self.mean, self.scale);
        if plane == 1 {
            let sums = weight.iter_mut().zip(bias);
            for ((w, b), (&x, &g)) in sums.zip(self.xs.iter().zip(self.grad)) {
                *w += g * ((x - mean) * scale);
                *b += g;
            }
            return;
        }
        let planes = self.xs.chunks(plane).zip(self.grad.chunks(plane));
        for ((w, b), (xs, grad)) in weight.iter_mut().zip(bias).zip(planes) {
            *w += T::from_f64(sum_by(plane, |i| grad[i] * ((xs[i] - mean) * scale)));
            *b += T::from_f64(sum_by(plane, |i| grad[i]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flat;
    use crate::testkit::{check_gradients, values};

    #[test]
    fn gradients() {
        let (w, b) = (values((4, 4), 2).unwrap(), values((4, 4), 3).unwrap());
        let inputs = [values((3, 4, 4), 1).unwrap(), w, b];
        check_gradients(&inputs, |t| layer_norm(&t[0], Some(&t[1]), Some(&t[2]), &[4, 4], 1e-5)).unwrap();
        check_gradients(&inputs[..1], |t| layer_norm(&t[0], None, None, &[4], 1e-5)).unwrap();
        check_gradients(&inputs[..1], |t| composed_normal(&t[0].reshape(((), 4))?, 1e-5)).unwrap();
    }

    #[test]
    fn fused_equals_composed_on_both_sides_of_the_parallel_threshold() {
        for (n, len) in [(5, 3), (9, 100), (700, 65)] {
            let xs = (values((n, len), 1).unwrap() + 3.0).unwrap();
            let (w, b) = (values(len, 2).unwrap(), values(len, 3).unwrap());
            let want = composed_normal(&xs, 1e-5).unwrap().broadcast_mul(&w).unwrap().broadcast_add(&b).unwrap();
            let got = layer_norm(&xs, Some(&w), Some(&b), &[len], 1e-5).unwrap();
            for (a, b) in flat(&got).iter().zip(flat(&want)) {
                assert!((a - b).abs() < 1e-12, "{a}, {b}");
            }
        }
    }

    #[test]
    fn wrong_shapes_are_named() {
        let xs = values((2, 6), 1).unwrap();
        let error = layer_norm(&xs, None, None, &[5], 1e-5).unwrap_err().to_string();
        assert!(error.contains("layer_norm: expected last dimensions [5], got [2, 6]"), "{error}");
        let weight = values(5, 1).unwrap();
        let error = layer_norm(&xs, Some(&weight), None, &[6], 1e-5).unwrap_err().to_string();
        assert!(error.contains("layer_norm: expected weight [6] F64, got [5] F64"), "{error}");
    }
}
