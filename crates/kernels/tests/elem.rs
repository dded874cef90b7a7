//! Activations, softmaxes, losses, norms and embeddings against PyTorch (`tools/fixtures/kernels_elem.py`).

// The lint's exception for tests covers functions marked as tests, not their helpers.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use glassbox_kernels::activation::{Activation, activation, prelu};
use glassbox_kernels::embedding::embedding;
use glassbox_kernels::loss::{Reduction, bce_with_logits, cross_entropy};
use glassbox_kernels::norm::{group_norm, layer_norm, rms_norm};
use glassbox_kernels::softmax::{log_softmax, softmax};

struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/elem.safetensors");
        Fixture(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn input(&self, name: &str) -> &Tensor {
        &self.0[&format!("in.{name}")]
    }

    /// Compares output and gradients of `function` at the named inputs, in f64 and in f32.
    fn check(&self, case: &str, inputs: &[&str], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
        // Rounding of a few operations. PyTorch's hardsigmoid and hardswish take 1/6 rounded to f32 in f64 too.
        let double = if case.starts_with("hard") { 3e-8 } else { 1e-12 };
        // In f32 the inputs are rounded too, and stand in exponents.
        for (dtype, tolerance) in [(DType::F64, double), (DType::F32, 1e-5)] {
            let leaf =
                |name: &&str| Var::from_tensor(&self.input(name).to_dtype(dtype).unwrap().copy().unwrap()).unwrap();
            let vars: Vec<Var> = inputs.iter().map(leaf).collect();
            let args: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
            let y = function(&args).unwrap();
            let weights = Tensor::arange(1.0, 1.0 + y.elem_count() as f64, &Device::Cpu).unwrap();
            let weights = weights.reshape(y.shape()).unwrap().to_dtype(dtype).unwrap();
            let grads = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
            compare(&format!("{case}.y {dtype:?}"), &y, &self.0[&format!("{case}.y")], tolerance);
            for (i, var) in vars.iter().enumerate() {
                let name = format!("{case}.g{i} {dtype:?}");
                compare(&name, grads.get(var).unwrap(), &self.0[&format!("{case}.g{i}")], tolerance);
            }
        }
    }
}

/// Relative to the expected value plus 5, about the size of the weights that gradients are multiplied by.
fn compare(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    let flat = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (got, want) = (flat(got), flat(want));
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (a, b)) in got.iter().zip(&want).enumerate() {
        assert!((a - b).abs() <= tolerance * (5.0 + b.abs()), "{name} at {i}: expected {b}, got {a}");
    }
}

#[test]
fn activations() {
    let fixture = Fixture::load();
    for kind in [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu(0.1),
        Activation::Elu(1.3),
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Softplus { beta: 2.0, threshold: 15.0 },
        Activation::Mish,
        Activation::HardSwish,
        Activation::HardSigmoid,
        Activation::LogSigmoid,
    ] {
        fixture.check(kind.name(), &["x"], |t| activation(&t[0], kind));
    }
    fixture.check("prelu", &["image", "slope"], |t| prelu(&t[0], &t[1]));
}

#[test]
fn softmaxes() {
    let fixture = Fixture::load();
    fixture.check("softmax_1", &["image"], |t| softmax(&t[0], 1));
    fixture.check("softmax_2", &["image"], |t| softmax(&t[0], 2));
    fixture.check("log_softmax_0", &["image"], |t| log_softmax(&t[0], 0));
    fixture.check("log_softmax_2", &["image"], |t| log_softmax(&t[0], 2));
}

#[test]
fn losses() {
    let fixture = Fixture::load();
    let (targets, weight) = (fixture.input("targets"), fixture.input("class_weight"));
    for (case, weight, smoothing) in [
        ("cross_entropy", None, 0.0),
        ("cross_entropy_weighted", Some(weight), 0.0),
        ("cross_entropy_smooth", None, 0.1),
        ("cross_entropy_both", Some(weight), 0.1),
    ] {
        fixture.check(case, &["logits"], |t| {
            cross_entropy(&t[0], targets, weight, smoothing, Some(-100), Reduction::None)
        });
    }
    fixture.check("cross_entropy_mean", &["logits"], |t| {
        cross_entropy(&t[0], targets, Some(weight), 0.1, Some(-100), Reduction::Mean)
    });
    fixture.check("bce", &["logits"], |t| {
        let targets = fixture.input("probabilities").to_dtype(t[0].dtype())?;
        bce_with_logits(&t[0], &targets, Some(weight), Reduction::None)
    });
}

#[test]
fn norms_and_embedding() {
    let fixture = Fixture::load();
    fixture.check("layer_norm", &["image", "row_scale", "row_shift"], |t| {
        layer_norm(&t[0], Some(&t[1]), Some(&t[2]), &[4, 3], 1e-5)
    });
    fixture.check("rms_norm", &["image", "last_scale"], |t| rms_norm(&t[0], &t[1], 1e-6));
    fixture.check("group_norm", &["image", "scale", "shift"], |t| group_norm(&t[0], 2, Some(&t[1]), Some(&t[2]), 1e-5));
    fixture.check("embedding", &["table"], |t| embedding(&t[0], fixture.input("ids"), Some(1)));
}
