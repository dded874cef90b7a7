use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::testkit::values;

fn var(seed: u64) -> Var {
    Var::from_tensor(&values((6, 5), seed).unwrap()).unwrap()
}

fn state() -> Var {
    Var::zeros((6, 5), DType::F64, &Device::Cpu).unwrap()
}

/// One step: parameter, gradient, state, number of the step.
type Step<'a> = dyn Fn(&Var, &Tensor, &[Var], u64) + 'a;

/// Runs three steps of `fused` and of `composed` from the same parameter and compares parameter and all state.
fn compare(
    name: &str,
    num_state: usize,
    fused: impl Fn(&Var, &Tensor, &[Var], u64),
    composed: impl Fn(&Var, &Tensor, &[Var], u64),
) {
    let run = |f: &Step| {
        let (param, state) = (var(1), (0..num_state).map(|_| state()).collect::<Vec<_>>());
        // A transposed gradient, as a matrix product's backward leaves it.
        (1..4).for_each(|t| f(&param, &values((5, 6), 10 + t).unwrap().t().unwrap(), &state, t));
        [vec![param], state]
            .concat()
            .iter()
            .flat_map(|v| v.flatten_all().unwrap().to_vec1::<f64>().unwrap())
            .collect::<Vec<_>>()
    };
    for (i, (a, b)) in run(&fused).into_iter().zip(run(&composed)).enumerate() {
        assert!((a - b).abs() <= 1e-13 * (1.0 + b.abs()), "{name} at {i}: fused {a}, composed {b}");
    }
}

#[test]
fn fused_equals_composed() {
    let sgd = |t, momentum, nesterov| SgdStep {
        lr: 0.1,
        momentum,
        dampening: if nesterov { 0.0 } else { 0.3 },
        nesterov,
        weight_decay: 0.02,
        first: t == 1,
    };
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        let buffer = |s: &[Var]| (momentum != 0.0).then(|| s[0].clone());
        compare(
            "sgd",
            1,
            |p, g, s, t| sgd_step(p, g, buffer(s).as_ref(), &sgd(t, momentum, nesterov)).unwrap(),
            |p, g, s, t| super::sgd::composed(p, g, buffer(s).as_ref(), &sgd(t, momentum, nesterov)).unwrap(),
        );
    }
    let adam =
        |step, decoupled| AdamStep { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, decoupled, step };
    for (decoupled, amsgrad) in [(false, false), (true, false), (true, true)] {
        let top = |s: &[Var]| amsgrad.then(|| s[2].clone());
        compare(
            "adam",
            3,
            |p, g, s, t| adam_step(p, g, &s[0], &s[1], top(s).as_ref(), &adam(t, decoupled)).unwrap(),
            |p, g, s, t| super::adam::composed(p, g, &s[0], &s[1], top(s).as_ref(), &adam(t, decoupled)).unwrap(),
        );
    }
    let rmsprop = RmspropStep { lr: 0.1, alpha: 0.9, eps: 1e-8, weight_decay: 0.1, momentum: 0.5 };
    for (with_buffer, centered) in [(false, false), (true, false), (false, true), (true, true)] {
        let (b, a) = (|s: &[Var]| with_buffer.then(|| s[1].clone()), |s: &[Var]| centered.then(|| s[2].clone()));
        compare(
            "rmsprop",
            3,
            |p, g, s, _| rmsprop_step(p, g, &s[0], b(s).as_ref(), a(s).as_ref(), &rmsprop).unwrap(),
            |p, g, s, _| super::simple::composed_rmsprop(p, g, &s[0], b(s).as_ref(), a(s).as_ref(), &rmsprop).unwrap(),
        );
    }
    let adagrad = |step| AdagradStep { lr: 0.1, lr_decay: 0.1, eps: 1e-10, weight_decay: 0.1, step };
    compare(
        "adagrad",
        1,
        |p, g, s, t| adagrad_step(p, g, &s[0], &adagrad(t)).unwrap(),
        |p, g, s, t| super::simple::composed_adagrad(p, g, &s[0], &adagrad(t)).unwrap(),
    );
    let lion = LionStep { lr: 0.1, beta1: 0.9, beta2: 0.99, weight_decay: 0.1 };
    compare(
        "lion",
        1,
        |p, g, s, _| lion_step(p, g, &s[0], &lion).unwrap(),
        |p, g, s, _| super::simple::composed_lion(p, g, &s[0], &lion).unwrap(),
    );
}

/// The parallel path gives each element what it gets alone.
#[test]
fn long_parameters() {
    let n = 100_000;
    let step = AdamStep { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, decoupled: true, step: 1 };
    let run = |values: &Tensor| {
        let grad = values.affine(0.5, 0.1).unwrap();
        let param = Var::from_tensor(values).unwrap();
        let (m, v) = (
            Var::from_tensor(&values.zeros_like().unwrap()).unwrap(),
            Var::from_tensor(&values.zeros_like().unwrap()).unwrap(),
        );
        adam_step(&param, &grad, &m, &v, None, &step).unwrap();
        param.to_vec1::<f64>().unwrap()
    };
    let all = values(n, 3).unwrap();
    let (whole, part) = (run(&all), run(&all.narrow(0, n - 100, 100).unwrap()));
    assert_eq!(whole[n - 100..], part);
}

#[test]
fn newton_schulz_brings_singular_values_near_one() {
    for shape in [(4, 9), (9, 4)] {
        let x = newton_schulz(&values(shape, 5).unwrap(), 10).unwrap();
        let x = if shape.0 > shape.1 { x.t().unwrap().contiguous().unwrap() } else { x };
        let gram = x.matmul(&x.t().unwrap()).unwrap().to_vec2::<f64>().unwrap();
        for (i, row) in gram.iter().enumerate() {
            // Singular values end between 0.68 and 1.14 (Jordan 2024): squares between 0.4 and 1.4.
            assert!(row[i] > 0.4 && row[i] < 1.4, "{gram:?}");
        }
    }
}

#[test]
fn errors_are_named() {
    let lion = LionStep { lr: 0.1, beta1: 0.9, beta2: 0.99, weight_decay: 0.0 };
    let (param, m) = (var(1), state());
    let error = lion_step(&param, &values((5, 6), 1).unwrap(), &m, &lion).unwrap_err().to_string();
    assert!(
        error.contains("lion: expected a gradient and state like the parameter [6, 5] F64, got [5, 6] F64"),
        "{error}"
    );
    // The same memory twice would wait for its own lock.
    let error = lion_step(&param, &values((6, 5), 1).unwrap(), &param, &lion).unwrap_err().to_string();
    assert!(error.contains("memory of their own"), "{error}");
    let sgd = SgdStep { lr: 0.1, momentum: 0.9, dampening: 0.0, nesterov: false, weight_decay: 0.0, first: true };
    let error = sgd_step(&param, &values((6, 5), 1).unwrap(), None, &sgd).unwrap_err().to_string();
    assert!(error.contains("sgd: expected a momentum buffer for momentum 0.9, got none"), "{error}");
}
