//! MinGRU and minLSTM: the contract, the formulas, streaming.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use candle_core::{DType, Device, Tensor};
use glassbox_core::testkit::{check_layer, values};
use glassbox_core::{Layer, ParamStore, Pass, Result, Seed, TensorExt};
use glassbox_rnn::{MinGru, MinLstm};

#[test]
fn contract() {
    check_layer(|vb| MinGru::new(3, 4, vb), &[2, 5, 3]);
    check_layer(|vb| MinLstm::new(3, 4, vb), &[2, 5, 3]);
}

fn params() -> ParamStore {
    ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu)
}

fn close(got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims());
    let pairs = got.to_f64_vec().unwrap().into_iter().zip(want.to_f64_vec().unwrap());
    pairs.into_iter().for_each(|(a, b)| assert!((a - b).abs() <= tolerance, "expected {b}, got {a}"));
}

/// W x + b of one step.
fn projected(params: &ParamStore, name: &str, x: &Tensor) -> Tensor {
    let [weight, bias] = ["weight", "bias"].map(|part| params.get(&format!("{name}.{part}")).unwrap().value());
    x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap()
}

fn sigmoid(xs: &Tensor) -> Tensor {
    (xs.neg().unwrap().exp().unwrap() + 1.0).unwrap().recip().unwrap()
}

/// The states of all steps by the paper's formulas; `gates` gives the factors of the state before and of the candidate.
fn by_formula(params: &ParamStore, xs: &Tensor, h0: &Tensor, gates: impl Fn(&Tensor) -> (Tensor, Tensor)) -> Tensor {
    let mut state = h0.clone();
    let mut states = vec![];
    for step in 0..xs.dim(1).unwrap() {
        let x = xs.narrow(1, step, 1).unwrap().squeeze(1).unwrap().contiguous().unwrap();
        let (keep, take) = gates(&x);
        state = ((keep * state).unwrap() + (take * projected(params, "linear_h", &x)).unwrap()).unwrap();
        states.push(state.clone());
    }
    Tensor::stack(&states, 1).unwrap()
}

#[test]
fn the_papers_formulas() {
    let (xs, h0) = (values((2, 6, 3), 1).unwrap(), values((2, 5), 2).unwrap());
    let params_gru = params();
    let gru = MinGru::new(3, 5, params_gru.root()).unwrap();
    let want = by_formula(&params_gru, &xs, &h0, |x| {
        let z = sigmoid(&projected(&params_gru, "linear_z", x));
        (z.affine(-1.0, 1.0).unwrap(), z)
    });
    close(&gru.forward_from(&xs, Some(&h0), &Pass::eval()).unwrap().0, &want, 1e-14);

    let params_lstm = params();
    let lstm = MinLstm::new(3, 5, params_lstm.root()).unwrap();
    let want = by_formula(&params_lstm, &xs, &h0, |x| {
        let [f, i] = ["linear_f", "linear_i"].map(|name| sigmoid(&projected(&params_lstm, name, x)));
        let sum = (&f + &i).unwrap();
        ((f / &sum).unwrap(), (i / &sum).unwrap())
    });
    close(&lstm.forward_from(&xs, Some(&h0), &Pass::eval()).unwrap().0, &want, 1e-14);
}

/// `run(xs, state)` of all steps at once, of two pieces, and step by step gives the same.
fn check_streaming(
    run: impl Fn(&Tensor, Option<&Tensor>) -> Result<(Tensor, Tensor)>,
    step: impl Fn(&Tensor, Option<&Tensor>) -> Result<Tensor>,
) {
    let xs = values((3, 7, 4), 1).unwrap();
    let (all, last) = run(&xs, None).unwrap();
    let (first, state) = run(&xs.narrow(1, 0, 3).unwrap(), None).unwrap();
    let (second, end) = run(&xs.narrow(1, 3, 4).unwrap(), Some(&state)).unwrap();
    close(&Tensor::cat(&[first, second], 1).unwrap(), &all, 1e-14);
    close(&end, &last, 1e-14);
    let mut state = None;
    for i in 0..7 {
        state = Some(step(&xs.narrow(1, i, 1).unwrap().squeeze(1).unwrap(), state.as_ref()).unwrap());
        close(state.as_ref().unwrap(), &all.narrow(1, i, 1).unwrap().squeeze(1).unwrap(), 1e-14);
    }
}

#[test]
fn streaming() {
    let gru = MinGru::new(4, 6, params().root()).unwrap();
    let lstm = MinLstm::new(4, 6, params().root()).unwrap();
    let pass = Pass::eval();
    check_streaming(|xs, h0| gru.forward_from(xs, h0, &pass), |x, h| gru.step(x, h, &pass));
    check_streaming(|xs, h0| lstm.forward_from(xs, h0, &pass), |x, h| lstm.step(x, h, &pass));
}

/// Where both gates of a minLSTM are nearly 0, f / (f + i) is still a number: here both are alike.
#[test]
fn closed_gates() {
    let params = params();
    let lstm = MinLstm::new(1, 1, params.root()).unwrap();
    let xs = Tensor::new(&[[[1000f64], [1000.0]]], &Device::Cpu).unwrap();
    for name in ["linear_f", "linear_i"] {
        params.get(&format!("{name}.weight")).unwrap().set(&Tensor::new(&[[-5f64]], &Device::Cpu).unwrap()).unwrap();
        params.get(&format!("{name}.bias")).unwrap().set(&Tensor::new(&[0f64], &Device::Cpu).unwrap()).unwrap();
    }
    let candidate = projected(&params, "linear_h", &Tensor::new(&[[1000f64]], &Device::Cpu).unwrap());
    let candidate = candidate.to_f64_vec().unwrap()[0];
    let got = lstm.forward(&xs, &Pass::eval()).unwrap().to_f64_vec().unwrap();
    assert!((got[0] - 0.5 * candidate).abs() < 1e-10 && (got[1] - 0.75 * candidate).abs() < 1e-10, "{got:?}");
}

/// One operation whatever the length: no stack of a thread overflows.
#[test]
fn twenty_thousand_steps_train() {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let layer = MinGru::new(2, 3, params.root()).unwrap();
    let xs = values((1, 20_000, 2), 1).unwrap().to_dtype(DType::F32).unwrap();
    let loss = layer.forward(&xs, &Pass::train(Seed(1))).unwrap().sqr().unwrap().mean_all().unwrap();
    let grads = loss.backward().unwrap();
    for param in params.trainable() {
        let grad = grads.get(param.var().as_tensor()).unwrap().to_f64_vec().unwrap();
        assert!(grad.iter().all(|g| g.is_finite()) && grad.iter().any(|&g| g != 0.0), "{}", param.name());
    }
}

#[test]
fn wrong_inputs_are_named() {
    let fails = |result: Result<Tensor>, expected: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let (params, pass) = (params(), Pass::eval());
    let layer = MinGru::new(3, 4, params.root().pp("gru")).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap();
    let expected = "at `gru`: input: expected (batch, seq_len, 3) of a step or more, got [2, 5, 2]";
    fails(layer.forward(&zeros(&[2, 5, 2]), &pass), expected);
    fails(layer.forward(&zeros(&[2, 0, 3]), &pass), "got [2, 0, 3]");
    fails(layer.step(&zeros(&[2, 4]), None, &pass), "at `gru`: input: expected (batch, 3), got [2, 4]");
    let state = zeros(&[1, 4]);
    fails(layer.step(&zeros(&[2, 3]), Some(&state), &pass), "at `gru`: gated_scan: expected h0 (2, 4), got [1, 4]");
    let error = MinLstm::new(3, 0, params.root().pp("lstm")).unwrap_err().to_string();
    assert!(error.contains("at `lstm`: hidden_size: expected 1 or more, got 0"), "{error}");
}
