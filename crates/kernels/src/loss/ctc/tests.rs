//! Against the sum over all paths, gradients, and what is impossible.

use candle_core::{DType, Device, Tensor};
use rayon::ThreadPoolBuilder;

use super::{CtcParams, ctc};
use crate::loss::Reduction;
use crate::testing::{assert_close, flat, run};
use crate::testkit::{check_gradients, values};

const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

fn logits(shape: (usize, usize, usize)) -> Tensor {
    (values(shape, 5).unwrap() * 3.0).unwrap()
}

fn targets(labels: &[u32]) -> Tensor {
    Tensor::from_slice(labels, (1, labels.len()), &Device::Cpu).unwrap()
}

/// What a path spells.
fn spelled(path: &[usize], blank: usize) -> Vec<u32> {
    let mut labels = path.to_vec();
    labels.dedup();
    labels.retain(|&class| class != blank);
    labels.into_iter().map(|class| class as u32).collect()
}

/// Minus the logarithm of the summed probability of all paths that spell `labels`, path by path.
fn brute_force(logits: &Tensor, labels: &[u32], blank: usize) -> f64 {
    let probs = crate::softmax::softmax(logits, 1).unwrap().to_vec2::<f64>().unwrap();
    let (steps, classes) = (probs.len(), probs[0].len());
    let mut total = 0.0;
    for code in 0..classes.pow(steps as u32) {
        let path: Vec<_> = (0..steps).map(|step| code / classes.pow(step as u32) % classes).collect();
        if spelled(&path, blank) == labels {
            total += path.iter().zip(&probs).map(|(&class, probs)| probs[class]).product::<f64>();
        }
    }
    -total.ln()
}

#[test]
fn equals_the_sum_over_all_paths() {
    let xs = logits((1, 6, 4));
    let all = [&[][..], &[1], &[1, 1], &[1, 1, 1], &[1, 2, 1], &[3, 3, 1, 2], &[1, 2, 3, 1, 2, 3]];
    for (blank, rename) in [(0, 0), (3, 1)] {
        for labels in all {
            let labels: Vec<u32> = labels.iter().map(|label| label - rename).collect();
            for steps in [6, 5] {
                if labels.len() > steps {
                    continue;
                }
                let params = CtcParams { blank, input_lengths: Some(&[steps]), ..Default::default() };
                let params = CtcParams { reduction: Reduction::Sum, ..params };
                let got = flat(&ctc(&xs, &targets(&labels), &params).unwrap())[0];
                let want = brute_force(&xs.get(0).unwrap().narrow(0, 0, steps).unwrap(), &labels, blank);
                assert!((got - want).abs() < 1e-13 * (1.0 + want), "{labels:?} in {steps}: expected {want}, got {got}");
            }
        }
    }
}

/// Repeated labels, none at all, and lengths shorter than the padding.
fn batch() -> (Tensor, Vec<usize>, Vec<usize>) {
    let targets = Tensor::new(&[[1i64, 1, 2], [2, 9, -7], [9, 9, 9], [1, 2, 1]], &Device::Cpu).unwrap();
    (targets, vec![7, 3, 4, 3], vec![3, 1, 0, 3])
}

#[test]
fn gradients() {
    let (targets, inputs, labels) = batch();
    for reduction in REDUCTIONS {
        let (input_lengths, target_lengths) = (Some(&inputs[..]), Some(&labels[..]));
        let params = CtcParams { input_lengths, target_lengths, reduction, ..Default::default() };
        check_gradients(&[logits((4, 7, 4))], |t| ctc(&t[0], &targets, &params)).unwrap();
        let last = CtcParams { blank: 3, ..params };
        check_gradients(&[logits((4, 7, 4))], |t| ctc(&t[0], &targets, &last)).unwrap();
    }
}

#[test]
fn reductions_are_pytorchs() {
    let (targets, inputs, labels) = batch();
    let loss = |reduction| {
        let (input_lengths, target_lengths) = (Some(&inputs[..]), Some(&labels[..]));
        let params = CtcParams { input_lengths, target_lengths, reduction, ..Default::default() };
        flat(&ctc(&logits((4, 7, 4)), &targets, &params).unwrap())
    };
    let each = loss(Reduction::None);
    assert_close(&loss(Reduction::Sum), &[each.iter().sum()], 1e-15);
    let mean = (each[0] / 3.0 + each[1] + each[2] + each[3] / 3.0) / 4.0;
    assert_close(&loss(Reduction::Mean), &[mean], 1e-15);
}

/// Long enough for several jobs. In f32 the rounding of a hundred steps adds up.
#[test]
fn f32_agrees_with_f64_and_the_bits_with_any_number_of_threads() {
    let labels: Vec<u32> = (0..9 * 40).map(|i| 1 + (i * i % 29) as u32).collect();
    let targets = Tensor::from_vec(labels, (9, 40), &Device::Cpu).unwrap();
    let xs = logits((9, 120, 30));
    let loss = |xs: &Tensor| {
        run(std::slice::from_ref(xs), |t| {
            ctc(&t[0], &targets, &CtcParams { reduction: Reduction::None, ..Default::default() })
        })
    };
    let single = xs.to_dtype(DType::F32).unwrap();
    for (got, want) in loss(&single).iter().zip(&loss(&xs)) {
        assert_close(&flat(got), &flat(want), 2e-6);
    }
    let with_threads = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| loss(&single).iter().map(flat).collect::<Vec<_>>())
    };
    assert_eq!(with_threads(1), with_threads(2));
    let untracked = ctc(&single, &targets, &CtcParams { reduction: Reduction::None, ..Default::default() }).unwrap();
    assert_eq!(flat(&untracked), flat(&loss(&single)[0]));
}

/// A path that the logits all but rule out still has its loss, in f32 too.
#[test]
fn unlikely_targets_have_finite_losses() {
    let row = [1e4f32, 0.0, -1e4];
    let xs = Tensor::new(&[[row, row, row, row]], &Device::Cpu).unwrap();
    let params = CtcParams { reduction: Reduction::Sum, ..Default::default() };
    for (labels, each, paths) in [(&[2u32][..], 2e4, 4f64), (&[1, 2], 3e4, 6.0), (&[1, 1], 2e4, 3.0), (&[], 0.0, 1.0)] {
        let got = run(std::slice::from_ref(&xs), |t| ctc(&t[0], &targets(labels), &params)?.reshape(1));
        // So many paths have the smallest loss; the others are far away. In f32, 3e4 is rounded to 0.002.
        assert!((flat(&got[0])[0] - (each - paths.ln())).abs() < 0.004, "{labels:?}: {}", got[0]);
        assert!(flat(&got[1]).iter().all(|g| g.is_finite()));
    }
}

#[test]
fn impossible_targets() {
    let infinity = f64::INFINITY;
    let xs = Tensor::new(&[[[0.0, 1.0, -infinity], [0.0, 0.0, -infinity]]], &Device::Cpu).unwrap();
    let params = CtcParams { reduction: Reduction::Sum, ..Default::default() };
    let loss = |labels: &[u32], params: &CtcParams| {
        let values = run(std::slice::from_ref(&xs), |t| ctc(&t[0], &targets(labels), params)?.reshape(1));
        values.iter().map(flat).collect::<Vec<_>>()
    };
    let got = loss(&[2], &params);
    assert!(got[0][0] == infinity && got[1].iter().all(|g| g.is_nan()));
    // A class of probability 0 that is not needed does no harm.
    assert!(loss(&[1], &params).concat().iter().all(|x| x.is_finite()));
    let zero = CtcParams { zero_infinity: true, ..params };
    for labels in [&[2u32][..], &[1, 1], &[1, 2, 1]] {
        assert_eq!(loss(labels, &zero), [vec![0.0], vec![0.0; 6]]);
    }
    let nan = Tensor::full(f64::NAN, (1, 2, 3), &Device::Cpu).unwrap();
    assert!(flat(&ctc(&nan, &targets(&[1]), &zero).unwrap())[0].is_nan());
}

#[test]
fn an_empty_batch() {
    let xs = Tensor::zeros((0, 4, 3), DType::F32, &Device::Cpu).unwrap();
    let targets = Tensor::zeros((0, 2), DType::U32, &Device::Cpu).unwrap();
    for reduction in REDUCTIONS {
        let got =
            run(std::slice::from_ref(&xs), |t| ctc(&t[0], &targets, &CtcParams { reduction, ..Default::default() }));
        assert!(flat(&got[0]).iter().all(|&x| x == 0.0));
        assert_eq!(got[1].dims(), [0, 4, 3]);
    }
}

#[test]
fn half_types_are_computed_in_f32() {
    let xs = logits((2, 5, 3)).to_dtype(DType::BF16).unwrap();
    let targets = Tensor::new(&[[1u32, 2], [2, 2]], &Device::Cpu).unwrap();
    let want = flat(&ctc(&xs.to_dtype(DType::F32).unwrap(), &targets, &CtcParams::default()).unwrap());
    let got = run(&[xs], |t| ctc(&t[0], &targets, &CtcParams::default())?.reshape(1));
    assert_eq!(got[0].dtype(), DType::BF16);
    assert!((flat(&got[0])[0] - want[0]).abs() < 0.02 * want[0]);
    assert!(flat(&got[1]).iter().any(|&g| g != 0.0));
}

#[test]
fn wrong_inputs_are_named() {
    let xs = logits((2, 3, 4));
    let good = Tensor::new(&[[1u32, 2], [3, 3]], &Device::Cpu).unwrap();
    let fails = |xs: &Tensor, targets: &Tensor, params: CtcParams, expected: &str| {
        let error = ctc(xs, targets, &params).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let params = CtcParams::default();
    fails(&xs.get(0).unwrap(), &good, params, "expected logits (batch, seq_len, classes), got [3, 4]");
    fails(&xs, &good.get(0).unwrap(), params, "expected targets (2, max_target_len), got [2]");
    fails(&xs, &good, CtcParams { blank: 4, ..params }, "expected a blank below 4, the number of classes, got 4");
    let of_blank = "sample 1, label 0: expected one of 4 classes but the blank 3, got 3";
    fails(&xs, &good, CtcParams { blank: 3, ..params }, of_blank);
    let far = Tensor::new(&[[1i64, -1], [3, 4]], &Device::Cpu).unwrap();
    fails(&xs, &far, params, "sample 0, label 1: expected one of 4 classes but the blank 0, got -1");
    fails(&xs, &far, CtcParams { target_lengths: Some(&[1, 2]), ..params }, "sample 1, label 1");
    let short = CtcParams { input_lengths: Some(&[3, 2]), ..params };
    fails(&xs, &good, short, "sample 1: expected at least 3 steps for its 2 labels, got 2");
    fails(&xs, &good, CtcParams { input_lengths: Some(&[3]), ..params }, "expected 2 input_lengths, got 1");
    let none = CtcParams { input_lengths: Some(&[3, 0]), ..params };
    fails(&xs, &good, none, "sample 1: expected input_lengths from 1 to 3, got 0");
    fails(&xs, &good, CtcParams { target_lengths: Some(&[3, 0]), ..params }, "target_lengths from 0 to 2, got 3");
    let floats = good.to_dtype(DType::F32).unwrap();
    fails(&xs, &floats, params, "expected ids of u32 or i64");
    fails(&xs.to_dtype(DType::U32).unwrap(), &good, params, "expected logits of a float type");
}
