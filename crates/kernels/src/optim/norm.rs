//! Gradients before the step: the norm of all together, scaled and limited ones.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{CHUNK, Element, by_float, copy_in_chunks, is_fused, simd, sum_by, tensor as new_tensor, with_values};

/// The Euclidean norm of all elements of `tensors`: √(sum of x²), added up in f64 and in a fixed order.
///
/// # Shapes
/// Any.
///
/// # Errors
/// For tensors that are not of a float type.
pub fn global_norm(tensors: &[Tensor]) -> Result<f64> {
    // All in one go, since a model has many small parameters.
    let sums = tensors.par_iter().map(sum_of_squares).collect::<Result<Vec<_>>>()?;
    Ok(sums.iter().sum::<f64>().sqrt())
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    if !tensor.dtype().is_float() {
        candle_core::bail!("global_norm: expected a float type, got {:?}", tensor.dtype());
    }
    if !is_fused(tensor) {
        return tensor.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar();
    }
    by_float!("global_norm", tensor.dtype(), T => with_values::<T, _, 1>([tensor], |[xs]| Ok(squares(xs))))
}

fn squares<T: Element>(xs: &[T]) -> f64 {
    let of_chunk = |xs: &[T]| simd(|| sum_by(xs.len(), |i| xs[i].to_f64() * xs[i].to_f64()));
    let sums: Vec<f64> = xs.par_chunks(CHUNK).with_min_len(2).map(of_chunk).collect();
    sums.iter().sum()
}

/// `tensor` times `factor`, in parallel and without a gradient of its own: clipping and averaging of gradients.
///
/// # Errors
/// For a tensor that is not of a float type.
pub fn scaled(tensor: &Tensor, factor: f64) -> Result<Tensor> {
    if !is_fused(tensor) {
        return tensor.detach().affine(factor, 0.0);
    }
    by_float!("scaled", tensor.dtype(), T => with_values::<T, _, 1>([tensor], |[xs]| {
        let factor = T::from_f64(factor);
        new_tensor(changed(xs, |x| x * factor), tensor.shape())
    }))
}

/// `tensor` with every element limited to [−limit, limit], in parallel and without a gradient of its own. NaN stays.
///
/// # Errors
/// For a tensor that is not of a float type.
pub fn limited(tensor: &Tensor, limit: f64) -> Result<Tensor> {
    if !is_fused(tensor) {
        return tensor.detach().clamp(-limit, limit);
    }
    by_float!("limited", tensor.dtype(), T => with_values::<T, _, 1>([tensor], |[xs]| {
        let (low, high) = (T::from_f64(-limit), T::from_f64(limit));
        let clip = |x: T| {
            let x = if x < low { low } else { x };
            if x > high { high } else { x }
        };
        new_tensor(changed(xs, clip), tensor.shape())
    }))
}

fn changed<T: Element>(xs: &[T], change: impl Fn(T) -> T + Sync) -> Vec<T> {
    copy_in_chunks(xs, CHUNK, |_, part| simd(|| part.iter_mut().for_each(|x| *x = change(*x))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::values;

    #[test]
    fn equals_the_plain_sum() {
        let (a, b) = (values((300, 200), 1).unwrap(), values(7, 2).unwrap());
        let plain = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        let want = (plain(&a) + plain(&b)).sqrt();
        assert!((global_norm(&[a.t().unwrap(), b]).unwrap() - want).abs() < 1e-10);
        let huge = Tensor::new(&[3e30f32, 4e30], &candle_core::Device::Cpu).unwrap();
        assert!((global_norm(&[huge]).unwrap() / 5e30 - 1.0).abs() < 1e-6);
        assert_eq!(global_norm(&[]).unwrap(), 0.0);
    }

    #[test]
    fn scales_and_limits() {
        let xs = Tensor::new(&[[-3f32, 0.5], [f32::NAN, 2.0]], &candle_core::Device::Cpu).unwrap();
        let rows = |t: Tensor| t.to_vec2::<f32>().unwrap();
        let [[a, b], [c, d]] = [[-3f32, 0.5], [f32::NAN, 2.0]];
        let scaled = rows(scaled(&xs.t().unwrap(), 0.5).unwrap());
        assert!(scaled[0][1].is_nan() && c.is_nan());
        assert_eq!((scaled[0][0], &scaled[1]), (a / 2.0, &vec![b / 2.0, d / 2.0]));
        let limited = rows(limited(&xs, 1.0).unwrap());
        assert!(limited[1][0].is_nan());
        assert_eq!((&limited[0], limited[1][1]), (&vec![-1.0, 0.5], 1.0));
    }
}
