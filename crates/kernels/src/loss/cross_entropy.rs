//! Cross-entropy of logits with class indices.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::Reduction;
use crate::Result;
use crate::cpu::{
    Float, apply1, by_float, collect, is_fused, map_ids, output, rows_per_chunk, simd, sum_by, tensor, values,
    with_values,
};
use crate::softmax::{composed_log_softmax, max_of};

/// The cross-entropy of every row of `logits` with its class, reduced.
///
/// With log-probabilities l = log_softmax(logits), class y, class weights w (1 where `weight` is `None`), smoothing s and
/// C classes, a row's loss is −(1 − s) w_y l_y − s / C · sum_c w_c l_c. A row whose target is `ignore_index` has loss 0
/// and gradient 0. The mean divides by the sum of the w_y of all rows that are not ignored. These are PyTorch's semantics,
/// but for the mean where that sum is 0: it is 0 here and NaN in PyTorch.
///
/// Forward keeps one number a row; backward computes the probabilities again.
///
/// # Shapes
/// `logits` (…, classes), of two dimensions or more; `targets` (…), u32 or i64; `weight` (classes), which gets no gradient.
/// Returns a scalar, or (…) without a reduction.
///
/// # Errors
/// Where shapes or dtypes disagree, `label_smoothing` is outside [0, 1], or a target is not below the number of classes.
pub fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    weight: Option<&Tensor>,
    label_smoothing: f64,
    ignore_index: Option<i64>,
    reduction: Reduction,
) -> Result<Tensor> {
    let op = CrossEntropy::new(logits, targets, weight, label_smoothing, ignore_index, reduction)?;
    if is_fused(logits) { apply1(logits, op) } else { op.composed(logits) }
}

/// Stands for the class of an ignored row. No class has it: it would not fit in memory.
const IGNORED: u32 = u32::MAX;

/// The classes, `IGNORED` for rows that are.
fn labels(targets: &Tensor, classes: usize, ignore_index: Option<i64>) -> Result<Vec<u32>> {
    map_ids("cross_entropy", targets, |row, label| match u32::try_from(label) {
        _ if ignore_index == Some(label) => Ok(IGNORED),
        Ok(class) if (class as usize) < classes && class != IGNORED => Ok(class),
        _ => candle_core::bail!("cross_entropy: target {label} at row {row}: expected one of {classes} classes"),
    })
}

fn class_weights(weight: &Tensor, classes: usize) -> Result<Vec<f64>> {
    if weight.dims() != [classes] {
        candle_core::bail!("cross_entropy: expected class weights [{classes}], got {:?}", weight.dims());
    }
    weight.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1()
}

/// All but the logits.
struct CrossEntropy {
    /// The class of every row, or [`IGNORED`].
    targets: Vec<u32>,
    classes: usize,
    weight: Option<Vec<f64>>,
    smoothing: f64,
    reduction: Reduction,
    /// What every row's loss is multiplied by where they are reduced.
    scale: f64,
    /// ln(sum of e^logit) of every row, which forward leaves for backward.
    log_sums: OnceLock<Vec<f64>>,
}

impl CrossEntropy {
    fn new(
        logits: &Tensor,
        targets: &Tensor,
        weight: Option<&Tensor>,
        smoothing: f64,
        ignore_index: Option<i64>,
        reduction: Reduction,
    ) -> Result<Self> {
        if !(0.0..=1.0).contains(&smoothing) {
            candle_core::bail!("cross_entropy: expected label smoothing in [0, 1], got {smoothing}");
        }
        let (leading, classes) = match logits.dims() {
            [leading @ .., classes] if !leading.is_empty() && *classes > 0 => (leading, *classes),
            other => candle_core::bail!("cross_entropy: expected logits (…, classes), got {other:?}"),
        };
        if targets.dims() != leading || !matches!(targets.dtype(), DType::U32 | DType::I64) {
            let (dims, dtype) = (targets.dims(), targets.dtype());
            candle_core::bail!("cross_entropy: expected targets {leading:?} of u32 or i64, got {dims:?} {dtype:?}");
        }
        let weight = weight.map(|w| class_weights(w, classes)).transpose()?;
        let targets = labels(targets, classes, ignore_index)?;
        let mut op = Self { targets, classes, weight, smoothing, reduction, scale: 1.0, log_sums: OnceLock::new() };
        if reduction == Reduction::Mean {
            let counted = op.targets.iter().filter(|&&y| y != IGNORED).map(|&y| op.weight_of(y)).sum::<f64>();
            // Where nothing counts, the sum of the losses is 0 as well, and so is then their mean.
            op.scale = if counted == 0.0 { 1.0 } else { 1.0 / counted };
        }
        Ok(op)
    }

    fn weight_of(&self, class: u32) -> f64 {
        self.weight.as_ref().map_or(1.0, |w| w[class as usize])
    }

    /// The weight of the target's log-probability.
    fn of_target(&self, class: u32) -> f64 {
        (1.0 - self.smoothing) * self.weight_of(class)
    }

    /// The weight of every log-probability, from smoothing; `None` without.
    fn of_all<T: Float>(&self) -> Option<Vec<T>> {
        let share = self.smoothing / self.classes as f64;
        let weight = |class| T::from_f64(share * self.weight_of(class as u32));
        (self.smoothing > 0.0).then(|| (0..self.classes).map(weight).collect())
    }

    /// The loss, and the logarithm of the sum of exponentials, of every row.
    fn forward<T: Float>(&self, logits: &[T]) -> Vec<(f64, f64)> {
        let smooth = self.of_all::<T>();
        let row = |(&class, xs): (&u32, &[T])| {
            if class == IGNORED {
                return (0.0, 0.0);
            }
            let log_sum = log_sum(xs);
            let smoothed = smooth.as_ref().map_or(0.0, |w| weighted_distance(xs, w, log_sum));
            (self.of_target(class) * (log_sum - xs[class as usize].to_f64()) + smoothed, log_sum)
        };
        let rows_each = rows_per_chunk(self.classes);
        if self.targets.len() <= 2 * rows_each {
            return self.targets.iter().zip(logits.chunks(self.classes)).map(row).collect();
        }
        self.targets.par_iter().zip(logits.par_chunks(self.classes)).with_min_len(rows_each).map(row).collect()
    }

    /// `grad` is one number for each row, or one for all.
    fn backward<T: Float>(&self, logits: &[T], grad: &[T], log_sums: &[f64]) -> Vec<T> {
        let (classes, smooth) = (self.classes, self.of_all::<T>());
        let smooth_total: f64 = smooth.iter().flatten().map(|w| w.to_f64()).sum();
        let scale = T::from_f64(self.scale);
        let part_len = rows_per_chunk(classes) * classes;
        collect(logits.len(), part_len, |start, part| {
            let rows = start / classes..(start + part.room()) / classes;
            for row in rows {
                let class = self.targets[row];
                if class == IGNORED {
                    part.extend(std::iter::repeat_n(T::zero(), classes));
                    continue;
                }
                let (xs, log_sum) = (&logits[row * classes..][..classes], T::from_f64(log_sums[row]));
                let of_target = self.of_target(class);
                let g = scale * if self.reduction == Reduction::None { grad[row] } else { grad[0] };
                let factor = g * T::from_f64(of_target + smooth_total);
                let out = part.extend(xs.iter().map(|&x| factor * (x - log_sum).exp()));
                if let Some(smooth) = &smooth {
                    out.iter_mut().zip(smooth).for_each(|(out, &w)| *out -= g * w);
                }
                out[class as usize] -= g * T::from_f64(of_target);
            }
        })
    }

    /// [`cross_entropy`] from Candle's operations.
    fn composed(&self, logits: &Tensor) -> Result<Tensor> {
        let (device, dtype, n) = (logits.device(), logits.dtype(), self.targets.len());
        let column = |data: Vec<f64>, shape: (usize, usize)| {
            Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        let used = |y: u32| y != IGNORED;
        let classes_of: Vec<u32> = self.targets.iter().map(|&y| if used(y) { y } else { 0 }).collect();
        let of_target = self.targets.iter().map(|&y| if used(y) { self.of_target(y) } else { 0.0 }).collect();
        let used: Vec<u8> = self.targets.iter().map(|&y| used(y).into()).collect();

        let log_probs = composed_log_softmax(&logits.reshape((n, self.classes))?, 1)?;
        let picked = log_probs.gather(&Tensor::from_vec(classes_of, (n, 1), device)?, 1)?;
        let mut losses = picked.mul(&column(of_target, (n, 1))?)?.neg()?;
        if let Some(smooth) = self.of_all::<f64>() {
            losses = (losses - log_probs.broadcast_mul(&column(smooth, (1, self.classes))?)?.sum_keepdim(1)?)?;
        }
        let losses = losses.squeeze(1)?;
        let losses = Tensor::from_vec(used, n, device)?.where_cond(&losses, &losses.zeros_like()?)?;
        match self.reduction {
            Reduction::None => losses.reshape(&logits.dims()[..logits.rank() - 1]),
            Reduction::Sum | Reduction::Mean => losses.sum_all()? * self.scale,
        }
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("cross_entropy", logits.dtype(), T => {
            let rows = self.forward(&values::<T>(logits, layout)?);
            // Another forward with the same op would find the same values.
            let _ = self.log_sums.set(rows.iter().map(|row| row.1).collect());
            Ok(match self.reduction {
                Reduction::None => {
                    let losses = rows.iter().map(|row| T::from_f64(row.0)).collect();
                    output(losses, &layout.dims()[..layout.dims().len() - 1])
                }
                Reduction::Sum | Reduction::Mean => {
                    let total: f64 = rows.iter().map(|row| row.0).sum();
                    output(vec![T::from_f64(total * self.scale)], ())
                }
            })
        })
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !logits.track_op() {
            return Ok(None);
        }
        let Some(log_sums) = self.log_sums.get() else {
            candle_core::bail!("cross_entropy: backward before forward");
        };
        by_float!("cross_entropy", logits.dtype(), T => {
            with_values::<T, _, 2>([logits, grad], |[x, g]| {
                tensor(self.backward(x, g, log_sums), logits.shape()).map(Some)
            })
        })
    }
}

/// ln(sum of e^x).
fn log_sum<T: Float>(xs: &[T]) -> f64 {
    simd(|| {
        let max = max_of(xs);
        max.to_f64() + sum_by(xs.len(), |i| (xs[i] - max).exp()).ln()
    })
}

/// The sum of w_c (log_sum − x_c).
fn weighted_distance<T: Float>(xs: &[T], weight: &[T], log_sum: f64) -> f64 {
    let log_sum = T::from_f64(log_sum);
    simd(|| sum_by(xs.len(), |i| weight[i] * (log_sum - xs[i])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, flat, run};
    use crate::testkit::{check_gradients, values as testvalues};

    fn logits(n: usize, classes: usize) -> Tensor {
        (testvalues((n, classes), 4).unwrap() * 4.0).unwrap()
    }

    /// Every combination of weights, smoothing and an ignored row.
    fn cases() -> Vec<(Option<Tensor>, f64, Option<i64>)> {
        let weight = Tensor::new(&[0.5, 2.0, 0.0, 1.5], &Device::Cpu).unwrap();
        [None, Some(weight)]
            .into_iter()
            .flat_map(|w| [0.0, 0.1, 1.0].map(|s| [None, Some(3)].map(|i| (w.clone(), s, i))))
            .flatten()
            .collect()
    }

    /// The losses of all rows.
    fn losses(xs: &Tensor, ys: &Tensor, w: Option<&Tensor>, s: f64, ignore: Option<i64>) -> Result<Tensor> {
        cross_entropy(xs, ys, w, s, ignore, Reduction::None)
    }

    #[test]
    fn gradients_and_composed() {
        let ys = Tensor::new(&[0u32, 3, 1, 2, 3], &Device::Cpu).unwrap();
        let xs = logits(5, 4);
        for (weight, smoothing, ignore) in cases() {
            for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
                let fused = |t: &[Tensor]| cross_entropy(&t[0], &ys, weight.as_ref(), smoothing, ignore, reduction);
                let composed = |t: &[Tensor]| {
                    CrossEntropy::new(&t[0], &ys, weight.as_ref(), smoothing, ignore, reduction)?.composed(&t[0])
                };
                check_gradients(std::slice::from_ref(&xs), fused).unwrap();
                check_gradients(std::slice::from_ref(&xs), composed).unwrap();
                let (fused, composed) =
                    (run(std::slice::from_ref(&xs), fused), run(std::slice::from_ref(&xs), composed));
                fused.iter().zip(&composed).for_each(|(a, b)| assert_close(&flat(a), &flat(b), 1e-13));
                let ignored = |losses: &[f64]| losses[1] == 0.0 && losses[4] == 0.0;
                assert!(ignore.is_none() || reduction != Reduction::None || ignored(&flat(&fused[0])));
            }
        }
    }

    /// The mean divides by the weight of what counts; leading dimensions are rows; an empty batch is no error.
    #[test]
    fn reductions() {
        let (xs, weight) = (logits(6, 2), Tensor::new(&[0.5, 2.0], &Device::Cpu).unwrap());
        let ys = Tensor::new(&[[0i64, -100, 1], [1, 0, 0]], &Device::Cpu).unwrap();
        let xs = xs.reshape((2, 3, 2)).unwrap();
        let rows = losses(&xs, &ys, Some(&weight), 0.1, Some(-100)).unwrap();
        assert_eq!(rows.dims(), [2, 3]);
        let total: f64 = flat(&rows).iter().sum();
        let reduced = |reduction| cross_entropy(&xs, &ys, Some(&weight), 0.1, Some(-100), reduction).unwrap();
        assert!((flat(&reduced(Reduction::Sum))[0] - total).abs() < 1e-13);
        assert!((flat(&reduced(Reduction::Mean))[0] - total / 5.5).abs() < 1e-13);
        let (none, no_ys) = (xs.narrow(0, 0, 0).unwrap(), ys.narrow(0, 0, 0).unwrap());
        assert_eq!(losses(&none, &no_ys, None, 0.0, None).unwrap().dims(), [0, 3]);
        assert_eq!(flat(&cross_entropy(&none, &no_ys, None, 0.0, None, Reduction::Mean).unwrap()), [0.0]);
    }

    #[test]
    fn equals_the_naive_formula_on_many_rows() {
        let (n, classes) = (3000, 17);
        let xs = logits(n, classes);
        let labels: Vec<i64> = (0..n as i64).map(|i| i * 7 % classes as i64).collect();
        let ys = Tensor::new(labels.clone(), &Device::Cpu).unwrap();
        let got = flat(&losses(&xs, &ys, None, 0.0, None).unwrap());
        let single = flat(&losses(&xs.to_dtype(DType::F32).unwrap(), &ys, None, 0.0, None).unwrap());
        for (i, row) in flat(&xs).chunks(classes).enumerate() {
            let want = row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[labels[i] as usize];
            assert!((got[i] - want).abs() < 1e-13 && (single[i] - want).abs() < 3e-6, "row {i}");
        }
    }

    #[test]
    fn far_logits_and_masked_classes_are_finite() {
        let infinity = f32::INFINITY;
        let xs = Tensor::new(&[[1e4f32, -1e4], [1e4, -1e4], [0.0, -infinity]], &Device::Cpu).unwrap();
        let xs = candle_core::Var::from_tensor(&xs).unwrap();
        let ys = Tensor::new(&[0u32, 1, 0], &Device::Cpu).unwrap();
        let losses = losses(&xs, &ys, None, 0.0, None).unwrap();
        assert_eq!(losses.to_vec1::<f32>().unwrap(), [0.0, 2e4, 0.0]);
        let grads = losses.backward().unwrap();
        assert_eq!(flat(grads.get(&xs).unwrap()), [0.0, 0.0, 1.0, -1.0, 0.0, 0.0]);
    }

    #[test]
    fn errors_are_named() {
        let xs = logits(3, 4);
        let message = |labels: &[i64], weight: Option<&Tensor>, smoothing| {
            let ys = Tensor::new(labels, &Device::Cpu).unwrap();
            losses(&xs, &ys, weight, smoothing, None).unwrap_err().to_string()
        };
        assert!(message(&[0, 4, 1], None, 0.0).contains("target 4 at row 1: expected one of 4 classes"));
        assert!(message(&[0, 1, -1], None, 0.0).contains("target -1 at row 2"));
        assert!(message(&[0, 1], None, 0.0).contains("expected targets [3] of u32 or i64, got [2] I64"));
        assert!(message(&[0, 1, 2], None, 1.5).contains("label smoothing in [0, 1], got 1.5"));
        assert!(message(&[0, 1, 2], Some(&xs), 0.0).contains("class weights [4], got [3, 4]"));
    }
}
