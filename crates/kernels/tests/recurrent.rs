//! RNN, GRU and LSTM against PyTorch (`tools/fixtures/kernels_recurrent.py`).

// The lint's exception for tests covers functions marked as tests, not their helpers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use glassbox_kernels::recurrent::{
    RecurrentParams, RecurrentWeights, RnnActivation, bidirectional_gru, bidirectional_lstm, bidirectional_rnn, gru,
    lstm, rnn,
};

/// The inputs of one case, and what PyTorch made of them.
struct Case {
    inputs: BTreeMap<String, Var>,
    lengths: Option<Vec<usize>>,
    expected: BTreeMap<String, Tensor>,
}

impl Case {
    fn load(name: &str, dtype: DType) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/recurrent.safetensors");
        let mut case = Self { inputs: BTreeMap::new(), lengths: None, expected: BTreeMap::new() };
        let tensors: BTreeMap<_, _> = candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect();
        for (key, tensor) in tensors {
            let Some(key) = key.strip_prefix(&format!("{name}.")) else { continue };
            if key == "lengths" {
                let lengths = tensor.to_vec1::<i64>().unwrap();
                case.lengths = Some(lengths.into_iter().map(|length| length as usize).collect());
            } else if let Some(key) = key.strip_prefix("in.") {
                let var = Var::from_tensor(&tensor.to_dtype(dtype).unwrap().copy().unwrap()).unwrap();
                case.inputs.insert(key.to_string(), var);
            } else {
                case.expected.insert(key.to_string(), tensor);
            }
        }
        case
    }

    fn input(&self, name: &str) -> &Tensor {
        self.inputs[name].as_tensor()
    }

    fn weights(&self, suffix: &str) -> RecurrentWeights<'_> {
        let get = |name: &str| self.input(&format!("{name}_l0{suffix}"));
        let bias = Some((get("bias_ih"), get("bias_hh")));
        RecurrentWeights { weight_ih: get("weight_ih"), weight_hh: get("weight_hh"), bias, weight_hr: None }
    }

    /// The initial states of the two directions.
    fn states(&self, name: &str) -> [Tensor; 2] {
        [0, 1].map(|direction| self.input(name).get(direction).unwrap())
    }

    /// Compares outputs and the gradients of all inputs.
    fn check(&self, name: &str, outputs: &[(&str, Tensor)], tolerance: f64) {
        let mut total = Tensor::zeros((), outputs[0].1.dtype(), &Device::Cpu).unwrap();
        for (key, output) in outputs {
            compare(&format!("{name}.{key}"), output, &self.expected[&format!("out.{key}")], tolerance);
            let weights = Tensor::arange(1.0, 1.0 + output.elem_count() as f64, &Device::Cpu).unwrap();
            let weights = weights.reshape(output.shape()).unwrap().to_dtype(output.dtype()).unwrap();
            total = (total + (output * weights).unwrap().sum_all().unwrap()).unwrap();
        }
        let grads = total.backward().unwrap();
        for (key, input) in &self.inputs {
            let expected = &self.expected[&format!("grad.{key}")];
            compare(&format!("{name}.{key}"), grads.get(input).unwrap(), expected, tolerance);
        }
    }
}

/// Relative to the expected value plus 50, about the size of the weights that gradients are multiplied by.
fn compare(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims(), "{name}");
    let flat = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    for (i, (a, b)) in flat(got).iter().zip(&flat(want)).enumerate() {
        assert!((a - b).abs() <= tolerance * (50.0 + b.abs()), "{name} at {i}: expected {b}, got {a}");
    }
}

/// Rounding of five steps: in f32 inputs and parameters are rounded too.
const TOLERANCES: [(DType, f64); 2] = [(DType::F64, 1e-13), (DType::F32, 1e-6)];

const RNNS: [(&str, RnnActivation); 2] = [("rnn_tanh", RnnActivation::Tanh), ("rnn_relu", RnnActivation::Relu)];

/// (directions, batch, hidden), as PyTorch has final states.
fn stacked(states: &[Tensor]) -> Tensor {
    Tensor::stack(states, 0).unwrap()
}

#[test]
fn one_direction() -> Result<()> {
    let params = RecurrentParams::default();
    for (dtype, tolerance) in TOLERANCES {
        let case = Case::load("lstm", dtype);
        let ys = lstm(case.input("xs"), &case.weights(""), None, &params)?;
        let states = [("hidden", stacked(&[ys.hidden])), ("cell", stacked(&[ys.cell]))];
        case.check("lstm", &[&[("sequence", ys.sequence)], &states[..]].concat(), tolerance);

        let case = Case::load("gru", dtype);
        let ys = gru(case.input("xs"), &case.weights(""), None, &params)?;
        case.check("gru", &[("sequence", ys.sequence), ("hidden", stacked(&[ys.hidden]))], tolerance);

        for (name, activation) in RNNS {
            let case = Case::load(name, dtype);
            let ys = rnn(case.input("xs"), &case.weights(""), None, activation, &params)?;
            case.check(name, &[("sequence", ys.sequence), ("hidden", stacked(&[ys.hidden]))], tolerance);
        }
    }
    Ok(())
}

#[test]
fn both_directions_of_packed_sequences_with_initial_states() -> Result<()> {
    for (dtype, tolerance) in TOLERANCES {
        let case = Case::load("packed_lstm", dtype);
        let (forward, backward, lengths) = (case.weights(""), case.weights("_reverse"), case.lengths.as_deref());
        let (h0, c0) = (case.states("h0"), case.states("c0"));
        let state = Some(([&h0[0], &h0[1]], [&c0[0], &c0[1]]));
        let ys = bidirectional_lstm(case.input("xs"), [&forward, &backward], state, lengths)?;
        let states = [("hidden", stacked(&ys.hidden)), ("cell", stacked(&ys.cell))];
        case.check("packed_lstm", &[&[("sequence", ys.sequence)], &states[..]].concat(), tolerance);

        let case = Case::load("packed_gru", dtype);
        let (forward, backward, lengths) = (case.weights(""), case.weights("_reverse"), case.lengths.as_deref());
        let h0 = case.states("h0");
        let ys = bidirectional_gru(case.input("xs"), [&forward, &backward], Some([&h0[0], &h0[1]]), lengths)?;
        case.check("packed_gru", &[("sequence", ys.sequence), ("hidden", stacked(&ys.hidden))], tolerance);

        for (name, activation) in RNNS {
            let name = format!("packed_{name}");
            let case = Case::load(&name, dtype);
            let (forward, backward, lengths) = (case.weights(""), case.weights("_reverse"), case.lengths.as_deref());
            let (h0, weights) = (case.states("h0"), [&forward, &backward]);
            let h0 = Some([&h0[0], &h0[1]]);
            let ys = bidirectional_rnn(case.input("xs"), weights, h0, activation, lengths)?;
            case.check(&name, &[("sequence", ys.sequence), ("hidden", stacked(&ys.hidden))], tolerance);
        }
    }
    Ok(())
}
