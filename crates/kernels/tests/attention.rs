//! Attention against PyTorch's `scaled_dot_product_attention` (`tools/fixtures/kernels_attention.py`).

// The lint's exception for tests covers functions marked as tests, not their helpers.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use glassbox_kernels::attention::{AttentionMask, AttentionParams, attention};

struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/attention.safetensors");
        Fixture(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn input(&self, name: &str, dtype: DType) -> Tensor {
        self.0[&format!("in.{name}")].to_dtype(dtype).unwrap()
    }

    /// Compares output and gradients at the named queries, keys and values, in f64 and in f32.
    fn check(
        &self,
        case: &str,
        inputs: [&str; 3],
        additive: Option<&str>,
        mask: AttentionMask,
        params: AttentionParams,
    ) {
        // Rounding of sums of some dozen terms; in f32 the inputs are rounded too, and stand in exponents.
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-6)] {
            let vars = inputs.map(|name| Var::from_tensor(&self.input(name, dtype).copy().unwrap()).unwrap());
            let mask = AttentionMask { additive: additive.map(|name| self.input(name, dtype)), ..mask.clone() };
            let [q, k, v] = vars.each_ref().map(|var| var.as_tensor());
            let y = attention(q, k, v, Some(&mask), &params).unwrap();
            let weights = Tensor::arange(1.0, 1.0 + y.elem_count() as f64, &Device::Cpu).unwrap();
            let weights = weights.reshape(y.shape()).unwrap().to_dtype(dtype).unwrap();
            let grads = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
            compare(&format!("{case}.y {dtype:?}"), &y, &self.0[&format!("{case}.y")], tolerance);
            for (letter, var) in ["q", "k", "v"].iter().zip(&vars) {
                let name = format!("{case}.g{letter}");
                compare(&format!("{name} {dtype:?}"), grads.get(var).unwrap(), &self.0[&name], tolerance);
            }
        }
    }
}

/// Relative to the expected value plus 80, the largest of the weights that gradients are multiplied by.
fn compare(name: &str, got: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), expected.dims(), "{name}");
    let flat = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    for (i, (got, expected)) in flat(got).into_iter().zip(flat(expected)).enumerate() {
        let close = (got - expected).abs() <= tolerance * (80.0 + expected.abs());
        assert!(close, "{name} at {i}: expected {expected}, got {got}");
    }
}

#[test]
fn as_pytorch_has_it() {
    let fixture = Fixture::load();
    let (plain, none) = (AttentionParams::default(), AttentionMask::default);
    let own = ["q", "k", "v"];
    fixture.check("plain", own, None, none(), plain);
    fixture.check("scale", own, None, none(), AttentionParams { scale: Some(0.3), ..plain });
    fixture.check("causal", own, None, none(), AttentionParams { causal: true, ..plain });
    fixture.check("window", own, None, none(), AttentionParams { window: Some(2), ..plain });
    fixture.check("additive", own, Some("mask"), none(), plain);
    fixture.check("padding", own, None, AttentionMask::padding(&fixture.input("padding", DType::U8)), plain);
    fixture.check("grouped", ["q", "shared_k", "shared_v"], None, none(), plain);
}
