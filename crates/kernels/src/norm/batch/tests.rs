use candle_core::{DType, Tensor, Var};

use super::*;
use crate::testing::{self, flat, run};
use crate::testkit::{check_gradients, values};

const EPS: f64 = 1e-5;

fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), expected.dims());
    testing::assert_close(&flat(got), &flat(expected), tolerance);
}

fn inputs(shape: &[usize]) -> Vec<Tensor> {
    vec![values(shape, 1).unwrap(), values(shape[1], 2).unwrap(), values(shape[1], 3).unwrap()]
}

fn statistics(channels: usize) -> (Tensor, Tensor) {
    (values(channels, 4).unwrap(), (values(channels, 5).unwrap().sqr().unwrap() + 0.3).unwrap())
}

const SHAPES: [&[usize]; 5] = [&[5, 3], &[4, 2, 3], &[3, 2, 2, 4], &[2, 3, 2, 2, 2], &[1, 2, 3, 3]];

#[test]
fn train_gradients() {
    for shape in SHAPES {
        check_gradients(&inputs(shape), |t| Ok(batch_norm_train(&t[0], Some(&t[1]), Some(&t[2]), EPS)?.0)).unwrap();
        check_gradients(&inputs(shape)[..1], |t| Ok(batch_norm_train(&t[0], None, None, EPS)?.0)).unwrap();
    }
}

#[test]
fn eval_gradients() {
    for shape in SHAPES {
        let (mean, var) = statistics(shape[1]);
        let eval = |t: &[Tensor]| batch_norm_eval(&t[0], &mean, &var, Some(&t[1]), Some(&t[2]), EPS);
        check_gradients(&inputs(shape), eval).unwrap();
        check_gradients(&inputs(shape)[..1], |t| batch_norm_eval(&t[0], &mean, &var, None, None, EPS)).unwrap();
    }
}

#[test]
fn composed_agrees() {
    for shape in SHAPES {
        let inputs = inputs(shape);
        let fused = run(&inputs, |t| Ok(batch_norm_train(&t[0], Some(&t[1]), Some(&t[2]), EPS)?.0));
        let composed = run(&inputs, |t| Ok(train_composed(&t[0], Some(&t[1]), Some(&t[2]), EPS)?.0));
        // Both in f64; the gradient cancels against terms up to 1 / std = 1e2.
        fused.iter().zip(&composed).for_each(|(fused, composed)| assert_close(composed, fused, 1e-9));
        let (_, mean, var) = batch_norm_train(&inputs[0], None, None, EPS).unwrap();
        let (_, composed_mean, composed_var) = train_composed(&inputs[0], None, None, EPS).unwrap();
        assert_close(&mean, &composed_mean, 1e-12);
        assert_close(&var, &composed_var, 1e-12);
        let (mean, var) = statistics(shape[1]);
        let fused = run(&inputs, |t| batch_norm_eval(&t[0], &mean, &var, Some(&t[1]), Some(&t[2]), EPS));
        let composed = run(&inputs, |t| eval_composed(&t[0], &mean, &var, Some(&t[1]), Some(&t[2]), EPS));
        fused.iter().zip(&composed).for_each(|(fused, composed)| assert_close(composed, fused, 1e-9));
    }
}

#[test]
fn output_is_standardised_and_statistics_are_those_of_the_input() {
    let xs = Tensor::new(&[[1f64, 10.0], [3.0, 30.0]], &candle_core::Device::Cpu).unwrap();
    let (ys, mean, var) = batch_norm_train(&xs, None, None, 0.0).unwrap();
    assert_eq!(flat(&mean), [2.0, 20.0]);
    assert_eq!(flat(&var), [1.0, 100.0]);
    assert_eq!(flat(&ys), [-1.0, -1.0, 1.0, 1.0]);
}

/// The mean is a million times the deviation: one pass over squares would lose everything.
#[test]
fn variance_survives_a_large_mean() {
    let xs = values((4, 2, 8, 8), 1).unwrap();
    let shifted = (&xs + 1e6).unwrap();
    let expected = batch_norm_train(&xs, None, None, EPS).unwrap().2;
    assert_close(&batch_norm_train(&shifted, None, None, EPS).unwrap().2, &expected, 1e-8);
    // In f32 the input itself has lost digits: 2⁻⁷ at 1e5.
    let narrow = (&xs + 1e5).unwrap().to_dtype(DType::F32).unwrap();
    assert_close(&batch_norm_train(&narrow, None, None, EPS).unwrap().2, &expected, 1e-3);
}

#[test]
fn f32_agrees_with_f64() {
    let wide = inputs(&[3, 4, 7, 5]);
    let narrow: Vec<_> = wide.iter().map(|t| t.to_dtype(DType::F32).unwrap()).collect();
    let train = |t: &[Tensor]| Ok(batch_norm_train(&t[0], Some(&t[1]), Some(&t[2]), EPS)?.0);
    for (wide, narrow) in run(&wide, train).iter().zip(&run(&narrow, train)) {
        assert_eq!(narrow.dtype(), DType::F32);
        // Sums are in f64; each element is rounded a handful of times to 6e-8.
        assert_close(narrow, wide, 2e-6);
    }
}

#[test]
fn statistics_are_detached() {
    let xs = Var::from_tensor(&values((4, 2), 1).unwrap()).unwrap();
    let (_, mean, var) = batch_norm_train(&xs, None, None, EPS).unwrap();
    assert!(!mean.track_op() && !var.track_op());
}

#[test]
fn result_does_not_depend_on_the_number_of_threads() {
    let inputs: Vec<_> = inputs(&[9, 5, 11, 13]).iter().map(|t| t.to_dtype(DType::F32).unwrap()).collect();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let train = |t: &[Tensor]| Ok(batch_norm_train(&t[0], Some(&t[1]), Some(&t[2]), EPS)?.0);
        pool.install(|| run(&inputs, train)).iter().map(flat).collect::<Vec<_>>()
    };
    assert_eq!(with_threads(1), with_threads(3));
}

#[test]
fn errors_say_what_was_expected_and_what_came() {
    let xs = values((1, 3), 1).unwrap();
    let two = values(2, 1).unwrap();
    let checks = [
        (batch_norm_train(&xs, None, None, EPS).map(|_| ()), "more than 1 element per channel, got 1"),
        (batch_norm_train(&xs.get(0).unwrap(), None, None, EPS).map(|_| ()), "2 to 5 dimensions, got [3]"),
        (batch_norm_eval(&xs, &two, &two, None, None, EPS).map(|_| ()), "running_mean of shape [3], got [2]"),
        (batch_norm_train(&xs, Some(&two), None, EPS).map(|_| ()), "weight of shape [3], got [2]"),
        (batch_norm_train(&xs, None, None, f64::NAN).map(|_| ()), "finite eps of at least 0, got NaN"),
    ];
    for (result, part) in checks {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
}
