//! Binary cross-entropy on logits.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::Reduction;
use crate::Result;
use crate::activation::composed_softplus;
use crate::activation::formulas::{sigmoid, softplus};
use crate::cpu::{Float, apply1, by_float, is_fused, map3, output, tensor, values, with_values};
use crate::reduce::sum_of;

/// The binary cross-entropy of every logit x with its target y, reduced:
/// −(p y ln(sigmoid(x)) + (1 − y) ln(1 − sigmoid(x))), p the weight of positive targets.
///
/// Computed as (1 − y) x + (1 + (p − 1) y) softplus(−x), which is finite for |x| up to 1e4 and beyond. The mean divides by
/// the number of elements. Only `logits` gets a gradient; PyTorch gives `targets` one too.
///
/// # Shapes
/// `logits` and `targets` have one shape, which the result takes if it is not reduced; `pos_weight` broadcasts to it.
///
/// # Errors
/// Where shapes or dtypes disagree.
pub fn bce_with_logits(
    logits: &Tensor,
    targets: &Tensor,
    pos_weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Tensor> {
    if logits.dims() != targets.dims() || logits.dtype() != targets.dtype() {
        candle_core::bail!(
            "bce_with_logits: expected targets like the logits {:?} {:?}, got {:?} {:?}",
            logits.dims(),
            logits.dtype(),
            targets.dims(),
            targets.dtype()
        );
    }
    let positive = pos_weight.map(|weight| full_weight(weight, logits)).transpose()?;
    let op = BceWithLogits { targets: targets.detach(), positive, reduction };
    if is_fused(logits) { apply1(logits, op) } else { op.composed(logits) }
}

/// The weight of every element.
fn full_weight(weight: &Tensor, logits: &Tensor) -> Result<Tensor> {
    let full = weight.detach().to_dtype(logits.dtype())?.broadcast_as(logits.shape());
    let (got, shape) = (weight.dims(), logits.dims());
    let wrong = |_| {
        candle_core::Error::Msg(format!("bce_with_logits: expected pos_weight to broadcast to {shape:?}, got {got:?}"))
    };
    full.map_err(wrong)?.contiguous()
}

/// All but the logits.
struct BceWithLogits {
    targets: Tensor,
    positive: Option<Tensor>,
    reduction: Reduction,
}

impl BceWithLogits {
    fn composed(&self, logits: &Tensor) -> Result<Tensor> {
        let mut positive = composed_softplus(&logits.neg()?)?;
        if let Some(weight) = &self.positive {
            positive = positive.mul(&((weight - 1.0)?.mul(&self.targets)? + 1.0)?)?;
        }
        let losses = (self.targets.affine(-1.0, 1.0)?.mul(logits)? + positive)?;
        match self.reduction {
            Reduction::None => Ok(losses),
            Reduction::Sum => losses.sum_all(),
            Reduction::Mean => losses.mean_all(),
        }
    }

    /// What every element's loss is multiplied by where they are reduced.
    fn scale(&self) -> f64 {
        match self.reduction {
            Reduction::Mean => 1.0 / self.targets.elem_count() as f64,
            Reduction::Sum | Reduction::None => 1.0,
        }
    }

    /// `f(logit, target, positive weight)` of every element.
    fn map<T: Float>(&self, logits: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Result<Vec<T>> {
        match &self.positive {
            None => with_values::<T, _, 1>([&self.targets], |[y]| Ok(map3(logits, y, y, |x, y, _| f(x, y, T::one())))),
            Some(p) => with_values::<T, _, 2>([&self.targets, p], |[y, p]| Ok(map3(logits, y, p, f))),
        }
    }
}

impl CustomOp1 for BceWithLogits {
    fn name(&self) -> &'static str {
        "bce_with_logits"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("bce_with_logits", logits.dtype(), T => {
            let losses = self.map::<T>(&values::<T>(logits, layout)?, loss)?;
            Ok(match self.reduction {
                Reduction::None => output(losses, layout.shape()),
                _ => output(vec![T::from_f64(sum_of(&losses) * self.scale())], ()),
            })
        })
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !logits.track_op() {
            return Ok(None);
        }
        by_float!("bce_with_logits", logits.dtype(), T => {
            with_values::<T, _, 2>([logits, grad], |[x, g]| {
                let slopes = match self.reduction {
                    Reduction::None => {
                        let slopes = self.map::<T>(x, slope)?;
                        map3(&slopes, g, g, |slope, g, _| slope * g)
                    }
                    _ => {
                        let g = g[0] * T::from_f64(self.scale());
                        self.map::<T>(x, |x, y, p| g * slope(x, y, p))?
                    }
                };
                tensor(slopes, logits.shape()).map(Some)
            })
        })
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
    use crate::testing::{assert_close, flat, run};
    use crate::testkit::{check_gradients, values};

    const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

    fn targets(shape: (usize, usize)) -> Tensor {
        values(shape, 8).unwrap().affine(0.5, 0.5).unwrap()
    }

    #[test]
    fn gradients() {
        let xs = [(values((4, 4), 1).unwrap() * 5.0).unwrap()];
        let (targets, weight) = (targets((4, 4)), values(4, 3).unwrap().affine(1.0, 2.0).unwrap());
        for weight in [None, Some(&weight)] {
            for reduction in REDUCTIONS {
                check_gradients(&xs, |t| bce_with_logits(&t[0], &targets, weight, reduction)).unwrap();
                check_gradients(&xs, |t| composed(&t[0], &targets, weight, reduction)).unwrap();
            }
        }
    }

    fn composed(xs: &Tensor, targets: &Tensor, weight: Option<&Tensor>, reduction: Reduction) -> Result<Tensor> {
        let positive = weight.map(|w| full_weight(w, xs)).transpose()?;
        BceWithLogits { targets: targets.clone(), positive, reduction }.composed(xs)
    }

    #[test]
    fn fused_equals_composed() {
        let (xs, ys) = ((values((300, 200), 1).unwrap() * 5.0).unwrap(), targets((300, 200)));
        let weight = values(200, 3).unwrap().affine(1.0, 2.0).unwrap();
        for weight in [None, Some(&weight)] {
            for reduction in REDUCTIONS {
                let fused = run(std::slice::from_ref(&xs), |t| bce_with_logits(&t[0], &ys, weight, reduction));
                let plain = run(std::slice::from_ref(&xs), |t| composed(&t[0], &ys, weight, reduction));
                fused.iter().zip(&plain).for_each(|(a, b)| assert_close(&flat(a), &flat(b), 1e-12));
            }
        }
        let none = Tensor::zeros((0, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(flat(&bce_with_logits(&none, &none, None, Reduction::Sum).unwrap()), [0.0]);
    }

    #[test]
    fn equals_the_naive_formula() {
        let (xs, ys) = (values((5, 3), 1).unwrap(), targets((5, 3)));
        let weight = Tensor::new(&[0.5, 1.0, 3.0], &Device::Cpu).unwrap();
        let got = flat(&bce_with_logits(&xs, &ys, Some(&weight), Reduction::None).unwrap());
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
        let got = bce_with_logits(&xs, &ys, None, Reduction::None).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got, [0.0, 1e4, 1e4, 0.0]);
    }

    #[test]
    fn shapes_are_named() {
        let error = bce_with_logits(&targets((2, 3)), &targets((3, 2)), None, Reduction::Mean).unwrap_err().to_string();
        assert!(error.contains("expected targets like the logits [2, 3] F64, got [3, 2] F64"), "{error}");
        let weight = values(2, 1).unwrap();
        let error = bce_with_logits(&targets((2, 3)), &targets((2, 3)), Some(&weight), Reduction::Mean);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("expected pos_weight to broadcast to [2, 3], got [2]"), "{error}");
    }
}
