//! Binary cross-entropy on logits.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use crate::Result;
use crate::activation::composed_softplus;
use crate::activation::formulas::{sigmoid, softplus};
use crate::cpu::{Float, Gradients3, by_float, is_fused, map3, output, tensor, values, with_values};

/// The binary cross-entropy of every logit x with its target y:
/// −(p y ln(sigmoid(x)) + (1 − y) ln(1 − sigmoid(x))), p the weight of positive targets.
///
/// Computed as (1 − y) x + (1 + (p − 1) y) softplus(−x), which is finite for |x| up to 1e4 and beyond. Only `logits`
/// gets a gradient; PyTorch gives `targets` one too.
///
/// # Shapes
/// `logits` and `targets` have one shape, which the result takes; `pos_weight` broadcasts to it.
///
/// # Errors
/// Where shapes or dtypes disagree.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor, pos_weight: Option<&Tensor>) -> Result<Tensor> {
    if logits.dims() != targets.dims() || logits.dtype() != targets.dtype() {
        candle_core::bail!(
            "bce_with_logits: expected targets like the logits {:?} {:?}, got {:?} {:?}",
            logits.dims(),
            logits.dtype(),
            targets.dims(),
            targets.dtype()
        );
    }
    let targets = targets.detach();
    let positive = match pos_weight {
        None => targets.ones_like()?,
        Some(weight) => {
            let weight = weight.detach().to_dtype(logits.dtype())?;
            weight.broadcast_as(logits.shape()).map_err(|_| wrong_weight(&weight, logits))?.contiguous()?
        }
    };
    if is_fused(logits) {
        logits.apply_op3(&targets, &positive, BceWithLogits)
    } else {
        composed(logits, &targets, &positive)
    }
}

fn wrong_weight(weight: &Tensor, logits: &Tensor) -> candle_core::Error {
    let (got, shape) = (weight.dims(), logits.dims());
    candle_core::Error::Msg(format!("bce_with_logits: expected pos_weight to broadcast to {shape:?}, got {got:?}"))
}

fn composed(logits: &Tensor, targets: &Tensor, positive: &Tensor) -> Result<Tensor> {
    let scale = ((positive - 1.0)?.mul(targets)? + 1.0)?;
    let negative = targets.affine(-1.0, 1.0)?.mul(logits)?;
    negative + composed_softplus(&logits.neg()?)?.mul(&scale)?
}

struct BceWithLogits;

impl CustomOp3 for BceWithLogits {
    fn name(&self) -> &'static str {
        "bce_with_logits"
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
        by_float!("bce_with_logits", s1.dtype(), T => {
            let (logits, targets, positive) = (values::<T>(s1, l1)?, values(s2, l2)?, values(s3, l3)?);
            Ok(output(map3(&logits, &targets, &positive, loss), l1.shape()))
        })
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        positive: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<Gradients3> {
        if !logits.track_op() {
            return Ok((None, None, None));
        }
        let slope = by_float!("bce_with_logits", logits.dtype(), T => {
            with_values::<T, _, 3>([logits, targets, positive], |[x, y, p]| tensor(map3(x, y, p, slope), logits.shape()))
        })?;
        Ok((Some(slope.mul(grad)?), None, None))
    }
}

#[inline(always)]
fn loss<T: Float>(x: T, y: T, positive: T) -> T {
    let one = T::one();
    (one - y) * x + (one + (positive - one) * y) * softplus(-x)
}

/// The derivative of the loss with respect to the logit.
#[inline(always)]
fn slope<T: Float>(x: T, y: T, positive: T) -> T {
    let one = T::one();
    (one - y) - (one + (positive - one) * y) * sigmoid(-x)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testkit::{check_gradients, values};

    fn targets(shape: (usize, usize)) -> Tensor {
        values(shape, 8).unwrap().affine(0.5, 0.5).unwrap()
    }

    #[test]
    fn gradients() {
        let xs = [(values((4, 4), 1).unwrap() * 5.0).unwrap()];
        let (targets, weight) = (targets((4, 4)), values(4, 3).unwrap().affine(1.0, 2.0).unwrap());
        for weight in [None, Some(&weight)] {
            check_gradients(&xs, |t| bce_with_logits(&t[0], &targets, weight)).unwrap();
        }
        check_gradients(&xs, |t| composed(&t[0], &targets, &targets.ones_like()?)).unwrap();
    }

    #[test]
    fn equals_the_naive_formula() {
        let (xs, ys) = (values((5, 3), 1).unwrap(), targets((5, 3)));
        let weight = Tensor::new(&[0.5, 1.0, 3.0], &Device::Cpu).unwrap();
        let got = bce_with_logits(&xs, &ys, Some(&weight)).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let (xs, ys) = (xs.flatten_all().unwrap(), ys.flatten_all().unwrap());
        let inputs = xs.to_vec1::<f64>().unwrap().into_iter().zip(ys.to_vec1::<f64>().unwrap());
        for (i, ((x, y), got)) in inputs.zip(got).enumerate() {
            let (p, s) = ([0.5, 1.0, 3.0][i % 3], 1.0 / (1.0 + (-x).exp()));
            let want = -(p * y * s.ln() + (1.0 - y) * (1.0 - s).ln());
            assert!((got - want).abs() < 1e-14, "element {i}: {got}, {want}");
        }
    }

    #[test]
    fn far_logits_are_finite() {
        let xs = Tensor::new(&[-1e4f32, 1e4, -1e4, 1e4], &Device::Cpu).unwrap();
        let ys = Tensor::new(&[0f32, 0.0, 1.0, 1.0], &Device::Cpu).unwrap();
        let got = bce_with_logits(&xs, &ys, None).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got, [0.0, 1e4, 1e4, 0.0]);
    }

    #[test]
    fn shapes_are_named() {
        let error = bce_with_logits(&targets((2, 3)), &targets((3, 2)), None).unwrap_err().to_string();
        assert!(error.contains("expected targets like the logits [2, 3] F64, got [3, 2] F64"), "{error}");
        let weight = values(2, 1).unwrap();
        let error = bce_with_logits(&targets((2, 3)), &targets((2, 3)), Some(&weight)).unwrap_err().to_string();
        assert!(error.contains("expected pos_weight to broadcast to [2, 3], got [2]"), "{error}");
    }
}
