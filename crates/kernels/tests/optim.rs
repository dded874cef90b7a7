//! Ten steps of every optimizer against PyTorch's (`tools/fixtures/kernels_optim.py`).

// The lint's exception for tests covers functions marked as tests, not their helpers.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use glassbox_kernels::optim::*;

struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/optim.safetensors");
        Fixture(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    /// Runs `step(param, grad, four state variables, number of the step)` ten times and compares after 1, 2 and 10.
    fn check(&self, case: &str, tolerance: [f64; 2], step: impl Fn(&Var, &Tensor, &[Var], u64)) {
        for (dtype, tolerance) in ["f32", "f64"].iter().zip(tolerance) {
            let start = &self.0[&format!("{dtype}.start")];
            let param = Var::from_tensor(&start.copy().unwrap()).unwrap();
            let state: Vec<_> = (0..4).map(|_| Var::from_tensor(&start.zeros_like().unwrap()).unwrap()).collect();
            for t in 1..=10 {
                let grad = self.0[&format!("{dtype}.grads")].get(t - 1).unwrap();
                step(&param, &grad, &state, t as u64);
                if let Some(want) = self.0.get(&format!("{case}.{dtype}.{t}")) {
                    compare(&format!("{case}.{dtype}.{t}"), &param, want, tolerance);
                }
            }
            assert!(self.0.contains_key(&format!("{case}.{dtype}.10")), "no case {case}");
        }
    }
}

fn compare(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    let flat = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    for (i, (a, b)) in flat(got).iter().zip(flat(want)).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{name} at {i}: expected {b}, got {a}");
    }
}

/// A few roundings a step of numbers near 1, over ten steps.
const CLOSE: [f64; 2] = [1e-6, 1e-12];

#[test]
fn sgd() {
    let fixture = Fixture::load();
    let plain = SgdStep { lr: 0.1, momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0, first: false };
    fixture.check("sgd", CLOSE, |p, g, _, _| sgd_step(p, g, None, &plain).unwrap());
    for (case, dampening, nesterov) in [("sgd_momentum", 0.3, false), ("sgd_nesterov", 0.0, true)] {
        fixture.check(case, CLOSE, |p, g, s, t| {
            let step = SgdStep { momentum: 0.9, dampening, nesterov, weight_decay: 0.02, first: t == 1, ..plain };
            sgd_step(p, g, Some(&s[0]), &step).unwrap();
        });
    }
}

#[test]
fn adam() {
    let fixture = Fixture::load();
    for (case, decoupled, amsgrad) in [("adam", false, false), ("adam_amsgrad", false, true), ("adamw", true, false)] {
        fixture.check(case, CLOSE, |p, g, s, step| {
            let step = AdamStep { lr: 0.05, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, decoupled, step };
            adam_step(p, g, &s[0], &s[1], amsgrad.then_some(&s[2]), &step).unwrap();
        });
    }
}

#[test]
fn rmsprop_adagrad_and_lion() {
    let fixture = Fixture::load();
    let rmsprop = RmspropStep { lr: 0.05, alpha: 0.9, eps: 1e-8, weight_decay: 0.1, momentum: 0.0 };
    fixture.check("rmsprop", CLOSE, |p, g, s, _| rmsprop_step(p, g, &s[0], None, None, &rmsprop).unwrap());
    let centered = RmspropStep { eps: 1e-3, weight_decay: 0.0, momentum: 0.5, ..rmsprop };
    fixture.check("rmsprop_centered", CLOSE, |p, g, s, _| {
        rmsprop_step(p, g, &s[0], Some(&s[1]), Some(&s[2]), &centered).unwrap();
    });
    fixture.check("adagrad", CLOSE, |p, g, s, step| {
        let step = AdagradStep { lr: 0.05, lr_decay: 0.1, eps: 1e-10, weight_decay: 0.1, step };
        adagrad_step(p, g, &s[0], &step).unwrap();
    });
    let lion = LionStep { lr: 0.05, beta1: 0.9, beta2: 0.99, weight_decay: 0.1 };
    fixture.check("lion", CLOSE, |p, g, s, _| lion_step(p, g, &s[0], &lion).unwrap());
}

#[test]
fn muon() {
    let fixture = Fixture::load();
    let adjust = MuonAdjust::Original;
    let step = MuonStep { lr: 0.05, momentum: 0.95, nesterov: true, weight_decay: 0.1, ns_steps: 5, adjust };
    fixture.check("muon", CLOSE, |p, g, s, _| muon_step(p, g, &s[0], &step).unwrap());
    // PyTorch's own iteration is in bfloat16: 3 digits an entry, times the rate 0.06, over ten steps.
    fixture.check("muon_bfloat16", [1e-2, 1e-2], |p, g, s, _| muon_step(p, g, &s[0], &step).unwrap());
    let matched = MuonStep { momentum: 0.9, nesterov: false, adjust: MuonAdjust::MatchRmsAdamw, ..step };
    fixture.check("muon_match_rms", CLOSE, |p, g, s, _| muon_step(p, g, &s[0], &matched).unwrap());
}
