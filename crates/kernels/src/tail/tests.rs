use candle_core::{DType, Tensor};

use super::{Tail, TailBatchNorm};
use crate::Result;
use crate::activation::Activation;
use crate::conv::{Conv2dParams, ConvTranspose2dParams, conv_transpose2d, conv_transpose2d_with, conv2d, conv2d_with};
use crate::pool::Pool2dParams;
use crate::testing::{flat, run};
use crate::testkit::{check_gradients, values};

const PADDED: Conv2dParams = Conv2dParams { stride: [1, 1], padding: [[1, 1], [1, 1]], dilation: [1, 1], groups: 1 };

/// One of each stage, in every combination: normalisation by the batch, by given statistics, or none.
fn tails() -> Vec<(usize, bool, Option<Activation>, bool)> {
    let activations = [None, Some(Activation::Relu), Some(Activation::Silu), Some(Activation::Elu(1.5))];
    let mut all = Vec::new();
    for norm in 0..3 {
        for residual in [false, true] {
            for activation in activations {
                all.extend([false, true].map(|pool| (norm, residual, activation, pool)));
            }
        }
    }
    all
}

/// xs, weight, bias, scale, shift, residual; sizes that neither pooling window nor vectors divide.
fn inputs(dtype: DType) -> Vec<Tensor> {
    let shapes: [&[usize]; 6] = [&[2, 2, 5, 7], &[3, 2, 3, 3], &[3], &[3], &[3], &[2, 3, 5, 7]];
    let of = |(i, shape): (usize, &&[usize])| values(shape.to_vec(), i as u64 + 1).unwrap().to_dtype(dtype).unwrap();
    shapes.iter().enumerate().map(of).collect()
}

fn with_tail<'a>(
    t: &'a [Tensor],
    (norm, residual, activation, pool): (usize, bool, Option<Activation>, bool),
    statistics: (&'a Tensor, &'a Tensor),
) -> Tail<'a> {
    let statistics = (norm == 2).then_some(statistics);
    let batch_norm = TailBatchNorm { weight: Some(&t[3]), bias: Some(&t[4]), statistics, eps: 1e-3 };
    Tail {
        batch_norm: (norm > 0).then_some(batch_norm),
        residual: residual.then_some(&t[5]),
        activation,
        max_pool: pool.then_some(Pool2dParams::new([2, 3])),
    }
}

/// Runs `conv` with the tail, and makes every input count so that all gradients exist.
fn result(t: &[Tensor], case: (usize, bool, Option<Activation>, bool), fused: bool) -> Result<Tensor> {
    let statistics = (values(3, 8)?.to_dtype(t[0].dtype())?, (values(3, 9)? + 2.0)?.to_dtype(t[0].dtype())?);
    let tail = with_tail(t, case, (&statistics.0, &statistics.1));
    let ys = if fused {
        conv2d_with(&t[0], &t[1], Some(&t[2]), &PADDED, &tail)?
    } else {
        tail.composed(conv2d(&t[0], &t[1], Some(&t[2]), &PADDED)?)?
    };
    let parameters = ((t[3].sum_all()? + t[4].sum_all()?)? + t[5].sum_all()?)?;
    ys.output.broadcast_add(&parameters)
}

#[test]
fn gradients_of_every_tail() {
    for case in tails() {
        check_gradients(&inputs(DType::F64), |t| result(t, case, true)).unwrap_or_else(|e| panic!("{case:?}: {e}"));
    }
}

/// What `Sequential` relies on: fusing changes no bit.
#[test]
fn fused_has_the_bits_of_one_operation_after_the_other() {
    for case in tails() {
        for dtype in [DType::F32, DType::F64] {
            let fused = run(&inputs(dtype), |t| result(t, case, true));
            let apart = run(&inputs(dtype), |t| result(t, case, false));
            for (i, (fused, apart)) in fused.iter().zip(&apart).enumerate() {
                assert_eq!(flat(fused), flat(apart), "{case:?} {dtype:?} tensor {i}");
            }
        }
    }
}

#[test]
fn transposed_convolution_with_a_tail() {
    let params = ConvTranspose2dParams { stride: [2, 2], padding: [1, 1], ..Default::default() };
    let inputs = [values((2, 3, 3, 2), 1).unwrap(), values((3, 2, 4, 4), 2).unwrap(), values(2, 3).unwrap()];
    fn tail(scale: &Tensor) -> Tail<'_> {
        let norm = TailBatchNorm { weight: Some(scale), bias: None, statistics: None, eps: 1e-5 };
        Tail { batch_norm: Some(norm), activation: Some(Activation::Tanh), ..Default::default() }
    }
    let fused =
        |t: &[Tensor]| conv_transpose2d_with(&t[0], &t[1], None, &params, &tail(&t[2])).map(|tailed| tailed.output);
    check_gradients(&inputs, fused).unwrap();
    let apart =
        |t: &[Tensor]| tail(&t[2]).composed(conv_transpose2d(&t[0], &t[1], None, &params)?).map(|tailed| tailed.output);
    assert!(run(&inputs, fused).iter().zip(&run(&inputs, apart)).all(|(a, b)| flat(a) == flat(b)));
}

#[test]
fn what_is_not_wanted_gets_no_gradient_and_empty_batches_work() {
    let all = inputs(DType::F32);
    let weight = candle_core::Var::from_tensor(&all[1]).unwrap();
    let tail = Tail { activation: Some(Activation::Relu), residual: Some(&all[5]), ..Default::default() };
    let ys = conv2d_with(&all[0], &weight, Some(&all[2]), &PADDED, &tail).unwrap().output;
    assert_eq!(ys.backward().unwrap().get_ids().count(), 1);
    let empty = candle_core::Var::zeros((0, 2, 5, 7), DType::F32, all[0].device()).unwrap();
    let tail =
        Tail { activation: Some(Activation::Relu), max_pool: Some(Pool2dParams::new([2, 2])), ..Default::default() };
    let ys = conv2d_with(&empty, &weight, None, &PADDED, &tail).unwrap().output;
    assert_eq!(ys.dims(), [0, 3, 2, 3]);
    assert_eq!(ys.sum_all().unwrap().backward().unwrap().get(&weight).unwrap().dims(), [3, 2, 3, 3]);
}

#[test]
fn errors_are_named() {
    let all = inputs(DType::F32);
    let error = |tail: Tail| conv2d_with(&all[0], &all[1], None, &PADDED, &tail).err().unwrap().to_string();
    let residual = error(Tail { residual: Some(&all[0]), ..Default::default() });
    assert!(residual.contains("conv2d: expected residual of shape [2, 3, 5, 7], got [2, 2, 5, 7]"), "{residual}");
    let pool = Pool2dParams { stride: [1, 1], ..Pool2dParams::new([2, 2]) };
    let pool = error(Tail { max_pool: Some(pool), ..Default::default() });
    assert!(pool.contains("conv2d: expected pooling windows that do not overlap"), "{pool}");
    let norm = TailBatchNorm { weight: Some(&all[0]), bias: None, statistics: None, eps: 1e-5 };
    let norm = error(Tail { batch_norm: Some(norm), ..Default::default() });
    assert!(norm.contains("conv2d: expected weight of shape [3], got [2, 2, 5, 7]"), "{norm}");
}
