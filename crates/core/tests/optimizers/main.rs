//! Optimizers, gradient transforms, weight averages and schedules against PyTorch's, and what they do with wrong input.
//!
//! The reference values are made by `tools/fixtures/core_optim.py`, which says what they are; the file's header holds the
//! version of PyTorch.
#![allow(clippy::unwrap_used)]

mod cases;
mod errors;
mod resume;
mod schedules;
mod transforms;
mod updates;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Gradients, Init, Optimizer, ParamStore, Seed, State};

/// The model of the fixtures: names and shapes, in order.
const SHAPES: [(&str, &[usize]); 5] =
    [("hidden.weight", &[3, 4]), ("hidden.bias", &[3]), ("head.weight", &[2, 3]), ("head.bias", &[2]), ("scale", &[1])];

struct Fixtures(HashMap<String, Tensor>);

impl Fixtures {
    fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/optim.safetensors");
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no fixture `{name}`"))
    }

    fn values(&self, name: &str) -> Vec<f64> {
        flat(self.get(name))
    }

    /// The model with the fixtures' initial values.
    fn model(&self, dtype: DType) -> ParamStore {
        let params = ParamStore::with_dtype(Seed(0), dtype, &Device::Cpu);
        for (name, part) in split(self.get("initial")) {
            params.root().param(name, part.shape(), Init::Constant(0.0)).unwrap().set(&part).unwrap();
        }
        params
    }

    /// The gradients of a step, counted from 0.
    fn gradients(&self, params: &ParamStore, step: usize) -> Gradients {
        let row = self.get("gradients").get(step).unwrap().to_dtype(params.dtype()).unwrap();
        Gradients::from_pairs(split(&row).map(|(name, part)| (params.get(name).unwrap(), part)).collect())
    }

    fn run(&self, optimizer: &mut dyn Optimizer, steps: std::ops::Range<usize>) {
        for step in steps {
            let gradients = self.gradients(optimizer.params(), step);
            optimizer.step(&gradients, 1.0).unwrap();
        }
    }
}

/// A row of all parameters, cut into them.
fn split(row: &Tensor) -> impl Iterator<Item = (&'static str, Tensor)> {
    let mut start = 0;
    SHAPES.into_iter().map(move |(name, shape)| {
        let count = shape.iter().product();
        start += count;
        (name, row.narrow(0, start - count, count).unwrap().reshape(shape).unwrap())
    })
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// All values of all parameters, one after the other. Widening f32 to f64 is exact, so equal values are equal bits.
fn values(params: &ParamStore) -> Vec<f64> {
    params.all().iter().flat_map(|p| flat(&p.value())).collect()
}

#[track_caller]
fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        // Written so that NaN fails.
        assert!((got - want).abs() <= tolerance * (1.0 + want.abs()), "{what} at {i}: expected {want}, got {got}");
    }
}

#[track_caller]
fn assert_message<T>(result: glassbox_core::Result<T>, want: &str) {
    match result {
        Ok(_) => panic!("expected an error with `{want}`"),
        Err(error) => assert!(error.to_string().contains(want), "expected `{want}` in `{error}`"),
    }
}

/// What a file would give back: tensors through safetensors, values through JSON.
fn through_files(state: &State) -> State {
    let bytes = safetensors::serialize(state.tensors.iter().map(|(name, t)| (name.as_str(), t)), None).unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let text = serde_json::to_string(&state.values).unwrap();
    State { tensors: tensors.into_iter().collect(), values: serde_json::from_str(&text).unwrap() }
}
