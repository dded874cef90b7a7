//! The leaky ReLU whose slope is learned.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

use super::composed::where_positive;
use crate::Result;
use crate::cpu::{
    Element, Gradients2, apply2, by_float, chunks, is_fused, output, planes_of_channel, rows, simd, sum_by, tensor,
    values, with_values,
};

/// The leaky ReLU with a learned slope: x where x > 0, else weight · x.
///
/// # Shapes
/// `xs` is (batch, num_channels, …); `weight` has one element, or num_channels. Returns the shape of `xs`. With one
/// element, `xs` may have any shape.
///
/// # Errors
/// Where `weight` has neither one element nor as many as dimension 1 of `xs`, or another dtype.
///
/// He et al. 2015, arXiv 1502.01852.
pub fn prelu(xs: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let channels = if xs.rank() < 2 { 1 } else { xs.dim(1)? };
    let slopes = weight.elem_count();
    if slopes != 1 && slopes != channels {
        candle_core::bail!("prelu: expected a weight of 1 or {channels} elements, got {:?}", weight.dims());
    }
    if weight.dtype() != xs.dtype() {
        candle_core::bail!("prelu: expected a weight of dtype {:?}, got {:?}", xs.dtype(), weight.dtype());
    }
    if is_fused(xs) { apply2(xs, weight, Prelu) } else { composed(xs, weight) }
}

fn composed(xs: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; xs.rank()];
    if weight.elem_count() > 1 {
        shape[1] = weight.elem_count();
    }
    where_positive(xs, &xs.broadcast_mul(&weight.reshape(shape)?)?)
}

struct Prelu;

/// How many elements share a slope, and how many slopes there are.
fn planes(shape: &Shape, slopes: usize) -> usize {
    if slopes == 1 { shape.elem_count() } else { shape.dims()[2..].iter().product() }
}

impl CustomOp2 for Prelu {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("prelu", s1.dtype(), T => {
            let (xs, weight) = (values::<T>(s1, l1)?, values::<T>(s2, l2)?);
            Ok(output(forward(&xs, &weight, planes(l1.shape(), weight.len())), l1.shape()))
        })
    }

    fn bwd(&self, xs: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Gradients2> {
        by_float!("prelu", xs.dtype(), T => {
            with_values::<T, _, 3>([xs, weight, grad], |[x, w, g]| {
                let plane = planes(xs.shape(), w.len());
                let grad_xs = xs.track_op().then(|| tensor(grad_input(x, w, g, plane), xs.shape()));
                let grad_w = weight.track_op().then(|| tensor(grad_weight(x, g, w.len(), plane), weight.shape()));
                Ok((grad_xs.transpose()?, grad_w.transpose()?))
            })
        })
    }
}

fn forward<T: Element>(xs: &[T], weight: &[T], plane: usize) -> Vec<T> {
    let mut out = vec![T::zero(); xs.len()];
    rows(&mut out, plane, |i, out| {
        let (w, xs) = (weight[i % weight.len()], &xs[i * plane..][..out.len()]);
        out.iter_mut().zip(xs).for_each(|(out, &x)| *out = if x <= T::zero() { w * x } else { x });
    });
    out
}

fn grad_input<T: Element>(xs: &[T], weight: &[T], grad: &[T], plane: usize) -> Vec<T> {
    let mut out = vec![T::zero(); xs.len()];
    rows(&mut out, plane, |i, out| {
        let w = weight[i % weight.len()];
        let (xs, grad) = (&xs[i * plane..][..out.len()], &grad[i * plane..][..out.len()]);
        out.iter_mut().zip(xs).zip(grad).for_each(|((out, &x), &g)| *out = if x <= T::zero() { g * w } else { g });
    });
    out
}

/// The sum of grad · x over the elements with x <= 0 of each slope's planes, in order.
fn grad_weight<T: Element>(xs: &[T], grad: &[T], slopes: usize, plane: usize) -> Vec<T> {
    let mut out = vec![T::zero(); slopes];
    chunks(&mut out, 1, |channel, out| {
        let planes = |values| planes_of_channel(values, plane, slopes, channel);
        let products = planes(xs).zip(planes(grad)).map(|(xs, grad)| masked_product(xs, grad));
        out[0] = T::from_f64(products.sum());
    });
    out
}

fn masked_product<T: Element>(xs: &[T], grad: &[T]) -> f64 {
    simd(|| sum_by(xs.len(), |i| if xs[i] <= T::zero() { xs[i] * grad[i] } else { T::zero() }))
}

#[cfg(test)]
mod tests {
    use super::{composed, prelu};
    use crate::testkit::{check_gradients, values};

    #[test]
    fn gradients_for_one_slope_and_for_many() {
        for slopes in [1, 3] {
            // Dimension 1 of the transposed input is the same size, so that the weight still fits.
            let inputs = [values((2, 3, 4, 4), 1).unwrap(), values(slopes, 2).unwrap()];
            check_gradients(&inputs, |t| prelu(&t[0], &t[1])).unwrap();
            check_gradients(&inputs, |t| composed(&t[0], &t[1])).unwrap();
        }
    }

    #[test]
    fn fused_equals_composed() {
        let (xs, weight) = (values((2, 3, 5), 1).unwrap(), values(3, 2).unwrap());
        let fused = prelu(&xs, &weight).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let other = composed(&xs, &weight).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(fused, other);
    }

    #[test]
    fn wrong_weight_is_named() {
        let error = prelu(&values((2, 3), 1).unwrap(), &values(2, 2).unwrap()).unwrap_err().to_string();
        assert!(error.contains("expected a weight of 1 or 3 elements, got [2]"), "{error}");
    }
}
