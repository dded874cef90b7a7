//! Group normalisation.

use candle_core::Tensor;

use super::layer::{Affine, RowNorm, check_eps, composed_normal, parameter};
use crate::Result;
use crate::cpu::{apply3, is_fused};

/// Normalises groups of channels of every sample: (x − mean) / √(variance + eps) · weight + bias, the statistics over a
/// group's channels and all positions, the variance biased, weight and bias per channel.
///
/// With as many groups as channels it is instance normalisation.
///
/// # Shapes
/// `xs` (batch, num_channels, …), `weight` and `bias` (num_channels). The result has the shape of `xs`.
///
/// # Errors
/// Where `num_groups` does not divide the channels, shapes or dtypes disagree, or `eps` is negative.
///
/// Wu and He 2018, arXiv 1803.08494.
pub fn group_norm(
    xs: &Tensor,
    num_groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let (channels, plane) = sizes(xs, num_groups)?;
    let weight = parameter("group_norm", "weight", weight, xs, &[channels], 1.0)?;
    let bias = parameter("group_norm", "bias", bias, xs, &[channels], 0.0)?;
    check_eps("group_norm", eps)?;
    if is_fused(xs) && plane > 0 {
        let row_len = channels / num_groups * plane;
        apply3(xs, &weight, &bias, RowNorm::new(Affine { row_len, channels, plane }, eps))
    } else {
        composed(xs, num_groups, &weight, &bias, eps)
    }
}

/// The number of channels, and of elements in each.
fn sizes(xs: &Tensor, num_groups: usize) -> Result<(usize, usize)> {
    let [_, channels, rest @ ..] = xs.dims() else {
        candle_core::bail!("group_norm: expected (batch, num_channels, …), got {:?}", xs.dims());
    };
    if num_groups == 0 || *channels == 0 || channels % num_groups != 0 {
        candle_core::bail!("group_norm: expected num_groups to divide {channels} channels, got {num_groups}");
    }
    Ok((*channels, rest.iter().product()))
}

fn composed(xs: &Tensor, num_groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let mut shape = vec![1; xs.rank()];
    shape[1] = weight.elem_count();
    let rows = xs.reshape((xs.dim(0)? * num_groups, xs.elem_count() / (xs.dim(0)? * num_groups).max(1)))?;
    let normal = composed_normal(&rows, eps)?.reshape(xs.shape())?;
    normal.broadcast_mul(&weight.reshape(shape.as_slice())?)?.broadcast_add(&bias.reshape(shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{check_gradients, values};

    #[test]
    fn gradients() {
        let inputs = [values((2, 4, 3, 3), 1).unwrap(), values(4, 2).unwrap(), values(4, 3).unwrap()];
        for groups in [1, 2, 4] {
            check_gradients(&inputs, |t| group_norm(&t[0], groups, Some(&t[1]), Some(&t[2]), 1e-5)).unwrap();
            check_gradients(&inputs, |t| composed(&t[0], groups, &t[1], &t[2], 1e-5)).unwrap();
        }
        check_gradients(&inputs[..1], |t| group_norm(&t[0], 2, None, None, 1e-5)).unwrap();
    }

    #[test]
    fn fused_equals_composed() {
        for shape in [(3, 6, 1, 1), (3, 6, 5, 7), (8, 6, 40, 40)] {
            let (xs, w, b) = (values(shape, 1).unwrap(), values(6, 2).unwrap(), values(6, 3).unwrap());
            let got = group_norm(&xs, 3, Some(&w), Some(&b), 1e-5).unwrap();
            let worst = (got - composed(&xs, 3, &w, &b, 1e-5).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
            assert!(worst.to_scalar::<f64>().unwrap() < 1e-11, "{worst}");
        }
    }

    #[test]
    fn wrong_groups_are_named() {
        let error = group_norm(&values((2, 6), 1).unwrap(), 4, None, None, 1e-5).unwrap_err().to_string();
        assert!(error.contains("expected num_groups to divide 6 channels, got 4"), "{error}");
    }
}
