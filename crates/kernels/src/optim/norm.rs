//! The norm of many tensors together.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{CHUNK, Element, by_float, is_fused, simd, sum_by, with_values};

/// The Euclidean norm of all elements of `tensors`: √(sum of x²), added up in f64 and in a fixed order.
///
/// # Shapes
/// Any.
///
/// # Errors
/// For tensors that are not of a float type.
pub fn global_norm(tensors: &[Tensor]) -> Result<f64> {
    let sums = tensors.iter().map(sum_of_squares).collect::<Result<Vec<_>>>()?;
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
}
