//! Cross-entropy of logits with class indices.

use std::sync::{Arc, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};

use crate::Result;
use crate::cpu::{Float, by_float, is_fused, output, rows, rows_per_chunk, simd, sum_by, tensor, values, with_values};
use crate::softmax::{composed_log_softmax, max_of};

/// The cross-entropy of every row of `logits` with its class, without a reduction.
///
/// With log-probabilities l = log_softmax(logits), class y, class weights w (1 where `weight` is `None`), smoothing s and
/// C classes, a row's loss is −(1 − s) w_y l_y − s / C · sum_c w_c l_c. A row whose target is `ignore_index` has loss 0
/// and gradient 0. These are PyTorch's semantics with `reduction="none"`; for its mean, divide the sum by
/// [`cross_entropy_denominator`].
///
/// Forward keeps one number a row; backward computes the probabilities again.
///
/// # Shapes
/// `logits` (n, classes); `targets` (n), u32 or i64; `weight` (classes), which gets no gradient. Returns (n).
///
/// # Errors
/// Where shapes or dtypes disagree, `label_smoothing` is outside [0, 1], or a target is not below the number of classes.
pub fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    weight: Option<&Tensor>,
    label_smoothing: f64,
    ignore_index: Option<i64>,
) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&label_smoothing) {
        candle_core::bail!("cross_entropy: expected label smoothing in [0, 1], got {label_smoothing}");
    }
    let (n, classes) = shape(logits)?;
    let targets = labels(targets, n, classes, ignore_index)?;
    let weight = weight.map(|w| class_weights(w, classes)).transpose()?;
    let rows = Arc::new(Rows { targets, weight, smoothing: label_smoothing, log_sums: OnceLock::new() });
    if is_fused(logits) { logits.apply_op1(CrossEntropy(rows)) } else { composed(logits, &rows) }
}

/// What PyTorch's mean divides by: the sum of the class weights of all targets that are not ignored, or their number
/// where `weight` is `None`.
///
/// # Shapes
/// `targets` (n), u32 or i64; `weight` (num_classes).
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_denominator(
    targets: &Tensor,
    num_classes: usize,
    weight: Option<&Tensor>,
    ignore_index: Option<i64>,
) -> Result<f64> {
    let targets = labels(targets, targets.elem_count(), num_classes, ignore_index)?;
    let weight = weight.map(|w| class_weights(w, num_classes)).transpose()?;
    Ok(targets.iter().flatten().map(|&y| weight.as_ref().map_or(1.0, |w| w[y])).sum())
}

fn shape(logits: &Tensor) -> Result<(usize, usize)> {
    match logits.dims() {
        &[n, classes] if classes > 0 => Ok((n, classes)),
        other => candle_core::bail!("cross_entropy: expected logits (n, classes), got {other:?}"),
    }
}

/// The checked classes, `None` for ignored rows.
fn labels(targets: &Tensor, n: usize, classes: usize, ignore_index: Option<i64>) -> Result<Vec<Option<usize>>> {
    if targets.dims() != [n] || !matches!(targets.dtype(), DType::U32 | DType::I64) {
        let (dims, dtype) = (targets.dims(), targets.dtype());
        candle_core::bail!("cross_entropy: expected targets [{n}] of u32 or i64, got {dims:?} {dtype:?}");
    }
    let labels = targets.to_device(&Device::Cpu)?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let check = |(row, &label): (usize, &i64)| {
        if ignore_index == Some(label) {
            return Ok(None);
        }
        match usize::try_from(label) {
            Ok(class) if class < classes => Ok(Some(class)),
            _ => candle_core::bail!("cross_entropy: target {label} at row {row}: expected one of {classes} classes"),
        }
    };
    labels.iter().enumerate().map(check).collect()
}

fn class_weights(weight: &Tensor, classes: usize) -> Result<Vec<f64>> {
    if weight.dims() != [classes] {
        candle_core::bail!("cross_entropy: expected class weights [{classes}], got {:?}", weight.dims());
    }
    weight.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1()
}

/// All but the logits.
struct Rows {
    targets: Vec<Option<usize>>,
    weight: Option<Vec<f64>>,
    smoothing: f64,
    /// ln(sum of e^logit) of every row, which forward leaves for backward.
    log_sums: OnceLock<Vec<f64>>,
}

impl Rows {
    /// The weight of the target's log-probability, for its class.
    fn of_target(&self, class: usize) -> f64 {
        (1.0 - self.smoothing) * self.weight.as_ref().map_or(1.0, |w| w[class])
    }

    /// The weight of every log-probability, from smoothing, for `classes` of them; `None` without smoothing.
    fn of_all<T: Float>(&self, classes: usize) -> Option<Vec<T>> {
        let share = self.smoothing / classes as f64;
        let weight = |class| self.weight.as_ref().map_or(share, |w: &Vec<f64>| share * w[class]);
        (self.smoothing > 0.0).then(|| (0..classes).map(|class| T::from_f64(weight(class))).collect())
    }
}

struct CrossEntropy(Arc<Rows>);

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, classes) = layout.shape().dims2()?;
        by_float!("cross_entropy", logits.dtype(), T => {
            let logits = values::<T>(logits, layout)?;
            let (losses, log_sums) = forward(&self.0, &logits, n, classes);
            // Another forward with the same op would find the same values.
            let _ = self.0.log_sums.set(log_sums);
            Ok(output(losses, n))
        })
    }

    fn bwd(&self, logits: &Tensor, _losses: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !logits.track_op() {
            return Ok(None);
        }
        let classes = logits.dim(1)?;
        let Some(log_sums) = self.0.log_sums.get() else {
            candle_core::bail!("cross_entropy: backward before forward");
        };
        by_float!("cross_entropy", logits.dtype(), T => {
            with_values::<T, _, 2>([logits, grad], |[x, g]| {
                tensor(backward(&self.0, x, g, log_sums, classes), logits.shape()).map(Some)
            })
        })
    }
}

/// The losses, and the logarithm of the sum of exponentials of every row.
fn forward<T: Float>(rows_of: &Rows, logits: &[T], n: usize, classes: usize) -> (Vec<T>, Vec<f64>) {
    let smooth = rows_of.of_all::<T>(classes);
    let mut both = vec![(T::zero(), 0.0); n];
    // `rows` decides by the number of elements it writes; these rows read many more.
    let chunk = rows_per_chunk(classes);
    let work = |(i, out): (usize, &mut (T, f64))| {
        let xs = &logits[i * classes..][..classes];
        if let Some(class) = rows_of.targets[i] {
            let log_sum = log_sum(xs);
            let smoothed = smooth.as_ref().map_or(0.0, |w| weighted_distance(xs, w, log_sum));
            let loss = rows_of.of_target(class) * (log_sum - xs[class].to_f64()) + smoothed;
            *out = (T::from_f64(loss), log_sum);
        }
    };
    parallel(&mut both, chunk, work);
    both.into_iter().unzip()
}

fn parallel<T: Send>(items: &mut [T], chunk: usize, work: impl Fn((usize, &mut T)) + Sync + Send) {
    use rayon::prelude::*;
    if items.len() <= 2 * chunk {
        items.iter_mut().enumerate().for_each(work);
    } else {
        items.par_iter_mut().with_min_len(chunk).enumerate().for_each(work);
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

fn backward<T: Float>(rows_of: &Rows, logits: &[T], grad: &[T], log_sums: &[f64], classes: usize) -> Vec<T> {
    let smooth = rows_of.of_all::<T>(classes);
    let smooth_total: f64 = smooth.iter().flatten().map(|w| w.to_f64()).sum();
    let mut out = vec![T::zero(); logits.len()];
    rows(&mut out, classes, |i, out| {
        let Some(class) = rows_of.targets[i] else { return };
        let (xs, g) = (&logits[i * classes..][..classes], grad[i]);
        let of_target = rows_of.of_target(class);
        let (log_sum, scale) = (T::from_f64(log_sums[i]), g * T::from_f64(of_target + smooth_total));
        out.iter_mut().zip(xs).for_each(|(out, &x)| *out = scale * (x - log_sum).exp());
        if let Some(smooth) = &smooth {
            out.iter_mut().zip(smooth).for_each(|(out, &w)| *out -= g * w);
        }
        out[class] -= g * T::from_f64(of_target);
    });
    out
}

/// [`cross_entropy`] from Candle's operations.
fn composed(logits: &Tensor, rows: &Rows) -> Result<Tensor> {
    let (device, dtype) = (logits.device(), logits.dtype());
    let (n, classes) = logits.dims2()?;
    let column = |data: Vec<f64>, shape: (usize, usize)| {
        Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
    };
    let used: Vec<u8> = rows.targets.iter().map(|y| y.is_some().into()).collect();
    let classes_of: Vec<u32> = rows.targets.iter().map(|y| y.unwrap_or(0) as u32).collect();
    let of_target = rows.targets.iter().map(|y| y.map_or(0.0, |y| rows.of_target(y))).collect();

    let log_probs = composed_log_softmax(logits, 1)?;
    let picked = log_probs.gather(&Tensor::from_vec(classes_of, (n, 1), device)?, 1)?;
    let mut losses = picked.mul(&column(of_target, (n, 1))?)?.neg()?;
    if let Some(smooth) = rows.of_all::<f64>(classes) {
        losses = (losses - log_probs.broadcast_mul(&column(smooth, (1, classes))?)?.sum_keepdim(1)?)?;
    }
    let losses = losses.squeeze(1)?;
    Tensor::from_vec(used, n, device)?.where_cond(&losses, &losses.zeros_like()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flat;
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

    fn composed_of(xs: &Tensor, ys: &Tensor, w: Option<&Tensor>, s: f64, ignore: Option<i64>) -> Tensor {
        let weight = w.map(flat);
        let targets = labels(ys, xs.dim(0).unwrap(), xs.dim(1).unwrap(), ignore).unwrap();
        composed(xs, &Rows { targets, weight, smoothing: s, log_sums: OnceLock::new() }).unwrap()
    }

    #[test]
    fn gradients_and_composed() {
        let ys = Tensor::new(&[0u32, 3, 1, 2, 3], &Device::Cpu).unwrap();
        let xs = logits(5, 4);
        for (weight, smoothing, ignore) in cases() {
            let w = weight.as_ref();
            check_gradients(std::slice::from_ref(&xs), |t| cross_entropy(&t[0], &ys, w, smoothing, ignore)).unwrap();
            check_gradients(std::slice::from_ref(&xs), |t| Ok(composed_of(&t[0], &ys, w, smoothing, ignore))).unwrap();
            let fused = flat(&cross_entropy(&xs, &ys, w, smoothing, ignore).unwrap());
            for (a, b) in fused.iter().zip(flat(&composed_of(&xs, &ys, w, smoothing, ignore))) {
                assert!((a - b).abs() < 1e-13, "{a}, {b}");
            }
            assert!(ignore.is_none() || (fused[1] == 0.0 && fused[4] == 0.0));
        }
    }

    #[test]
    fn equals_the_naive_formula_on_many_rows() {
        let (n, classes) = (3000, 17);
        let xs = logits(n, classes);
        let labels: Vec<i64> = (0..n as i64).map(|i| i * 7 % classes as i64).collect();
        let ys = Tensor::new(labels.clone(), &Device::Cpu).unwrap();
        let got = flat(&cross_entropy(&xs, &ys, None, 0.0, None).unwrap());
        let single = flat(&cross_entropy(&xs.to_dtype(DType::F32).unwrap(), &ys, None, 0.0, None).unwrap());
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
        let losses = cross_entropy(&xs, &ys, None, 0.0, None).unwrap();
        assert_eq!(losses.to_vec1::<f32>().unwrap(), [0.0, 2e4, 0.0]);
        let grads = losses.backward().unwrap();
        assert_eq!(flat(grads.get(&xs).unwrap()), [0.0, 0.0, 1.0, -1.0, 0.0, 0.0]);
    }

    #[test]
    fn denominator_is_the_weight_of_what_counts() {
        let ys = Tensor::new(&[0i64, -100, 1, 1], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[0.5, 2.0], &Device::Cpu).unwrap();
        assert_eq!(cross_entropy_denominator(&ys, 2, Some(&weight), Some(-100)).unwrap(), 4.5);
        assert_eq!(cross_entropy_denominator(&ys, 2, None, Some(-100)).unwrap(), 3.0);
    }

    #[test]
    fn errors_are_named() {
        let xs = logits(3, 4);
        let message = |labels: &[i64], weight: Option<&Tensor>, smoothing| {
            let ys = Tensor::new(labels, &Device::Cpu).unwrap();
            cross_entropy(&xs, &ys, weight, smoothing, None).unwrap_err().to_string()
        };
        assert!(message(&[0, 4, 1], None, 0.0).contains("target 4 at row 1: expected one of 4 classes"));
        assert!(message(&[0, 1, -1], None, 0.0).contains("target -1 at row 2"));
        assert!(message(&[0, 1], None, 0.0).contains("expected targets [3] of u32 or i64, got [2] I64"));
        assert!(message(&[0, 1, 2], None, 1.5).contains("label smoothing in [0, 1], got 1.5"));
        assert!(message(&[0, 1, 2], Some(&xs), 0.0).contains("class weights [4], got [3, 4]"));
    }
}
