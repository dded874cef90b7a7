//! What recurrent layers promise beyond the contract: steps, carried states, lengths, dropout, initial values, length.
#![allow(clippy::unwrap_used)] // The lint's exception for tests covers functions marked as tests, not their helpers.

use glassbox_core::candle_core::{DType, Device, Tensor};
use glassbox_core::testkit::values;
use glassbox_core::{Gradients, Layer, ParamStore, Pass, Seed, TensorExt};
use glassbox_rnn::{Gru, GruConfig, Lstm, LstmConfig, LstmState, Recurrent, RecurrentState, Rnn, RnnConfig, RnnState};

/// Rounding of f32 in sums of a few products of numbers below 1.
const TOLERANCE: f64 = 1e-6;

fn store() -> ParamStore {
    ParamStore::new(Seed(1), &Device::Cpu)
}

fn input(shape: (usize, usize, usize)) -> Tensor {
    values(shape, 5).unwrap().to_dtype(DType::F32).unwrap()
}

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims());
    for (got, want) in got.to_f64_vec().unwrap().iter().zip(want.to_f64_vec().unwrap()) {
        assert!((got - want).abs() <= tolerance, "expected {want}, got {got}");
    }
}

#[track_caller]
fn assert_same_state<S: RecurrentState>(got: &S, want: &S, tolerance: f64) {
    let ((got_hidden, got_cell), (hidden, cell)) = (got.parts(), want.parts());
    assert_close(got_hidden, hidden, tolerance);
    assert_eq!(got_cell.is_some(), cell.is_some());
    got_cell.zip(cell).into_iter().for_each(|(got, cell)| assert_close(got, cell, tolerance));
}

/// Step by step, and in two pieces whose state is detached in between, as all at once.
fn check_pieces<R: Recurrent>(layer: &R) {
    let (xs, pass) = (input((9, 7, 3)), Pass::eval());
    let (whole, last) = layer.forward_with(&xs, None, None, &pass).unwrap();
    assert_close(&layer.forward(&xs, &pass).unwrap(), &whole, 0.0);

    let (mut state, mut outputs) = (None, vec![]);
    for time in 0..7 {
        let (output, next) = layer.step(&xs.get_on_dim(1, time).unwrap(), state.as_ref(), &pass).unwrap();
        outputs.push(output);
        state = Some(next);
    }
    assert_close(&Tensor::stack(&outputs, 1).unwrap(), &whole, TOLERANCE);
    assert_same_state(&state.unwrap(), &last, TOLERANCE);

    let pass = Pass::eval().with_gradients();
    let (first, state) = layer.forward_with(&xs.narrow(1, 0, 3).unwrap(), None, None, &pass).unwrap();
    assert!(state.parts().0.track_op());
    let state = state.detach();
    assert!(!state.parts().0.track_op() && state.parts().1.is_none_or(|cell| !cell.track_op()));
    let (second, end) = layer.forward_with(&xs.narrow(1, 3, 4).unwrap(), Some(&state), None, &pass).unwrap();
    assert_close(&Tensor::cat(&[first, second], 1).unwrap(), &whole, TOLERANCE);
    assert_same_state(&end, &last, TOLERANCE);
}

#[test]
fn pieces_give_what_the_whole_gives() {
    check_pieces(&Rnn::new(3, 5, RnnConfig { num_layers: 2, ..Default::default() }, store().root()).unwrap());
    check_pieces(&Gru::new(3, 5, GruConfig { layer_norm: true, ..Default::default() }, store().root()).unwrap());
    let config = LstmConfig { num_layers: 2, learned_state: true, layer_norm: true, ..Default::default() };
    check_pieces(&Lstm::new(3, 5, config, store().root()).unwrap());
    let config = LstmConfig { num_layers: 2, proj_size: Some(2), ..Default::default() };
    check_pieces(&Lstm::new(3, 5, config, store().root()).unwrap());
}

/// A sample gives what it gives alone, cut to its length; beyond it there are zeros, whatever the input holds.
#[test]
fn lengths_end_samples() {
    let config = GruConfig { num_layers: 2, bidirectional: true, layer_norm: true, ..Default::default() };
    let gru = Gru::new(3, 4, config, store().root()).unwrap();
    let (xs, lengths, pass) = (input((3, 6, 3)), [4, 6, 1], Pass::eval());
    let beyond = Tensor::full(f32::NAN, (1, 2, 3), &Device::Cpu).unwrap();
    let xs = xs.slice_assign(&[0..1, 4..6, 0..3], &beyond).unwrap();
    let (sequence, last) = gru.forward_with(&xs, None, Some(&lengths), &pass).unwrap();
    for (sample, length) in lengths.into_iter().enumerate() {
        let own = xs.narrow(0, sample, 1).unwrap().narrow(1, 0, length).unwrap();
        let (alone, state) = gru.forward_with(&own, None, None, &pass).unwrap();
        let row = sequence.narrow(0, sample, 1).unwrap();
        assert_close(&row.narrow(1, 0, length).unwrap(), &alone, TOLERANCE);
        assert!(row.narrow(1, length, 6 - length).unwrap().to_f64_vec().unwrap().iter().all(|&y| y == 0.0));
        let index = Tensor::new(&[sample as u32], &Device::Cpu).unwrap();
        assert_same_state(&last.index_select(&index).unwrap(), &state, TOLERANCE);
    }
    assert_eq!(last.batch_size(), 3);
}

#[test]
fn names_and_first_values_are_those_of_pytorch() {
    let params = store();
    let config = LstmConfig { num_layers: 2, bidirectional: true, proj_size: Some(2), ..Default::default() };
    Lstm::new(3, 16, config, params.root()).unwrap();
    let mut names = vec![];
    for suffix in ["l0", "l0_reverse", "l1", "l1_reverse"] {
        for name in ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"] {
            names.push(format!("{name}_{suffix}"));
        }
    }
    assert_eq!(params.names(), names);
    let dims = |name: &str| params.get(name).unwrap().shape().dims().to_vec();
    assert_eq!([dims("weight_ih_l0"), dims("weight_ih_l1"), dims("weight_hh_l1")], [[64, 3], [64, 4], [64, 2]]);
    assert_eq!(dims("weight_hr_l1_reverse"), [2, 16]);
    for param in params.all() {
        // Uniform within ± 1/√16: of 32 values or more the largest lies above 0.2 but for a chance of 0.8^32.
        let largest = param.value().to_f64_vec().unwrap().iter().fold(0f64, |a, b| a.max(b.abs()));
        assert!(largest <= 0.25 && largest > 0.2, "{}: {largest}", param.name());
    }
}

#[test]
fn other_first_values() {
    let params = store();
    let config = LstmConfig { orthogonal: true, unit_forget_bias: true, ..Default::default() };
    Lstm::new(3, 4, config, params.root().pp("a")).unwrap();
    let value = |name: &str| params.get(name).unwrap().value();
    let weight = value("a.weight_hh_l0");
    let gram = weight.t().unwrap().matmul(&weight).unwrap();
    assert_close(&gram, &Tensor::eye(4, DType::F32, &Device::Cpu).unwrap(), TOLERANCE);
    let forget = |name: &str| value(name).narrow(0, 4, 4).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!((forget("a.bias_ih_l0"), forget("a.bias_hh_l0")), (vec![1.0; 4], vec![0.0; 4]));
    assert!(value("a.bias_ih_l0").narrow(0, 0, 4).unwrap().to_f64_vec().unwrap().iter().all(|b| b.abs() <= 0.5));

    // Parameters that exist keep their values: that is how weights are tied.
    let bias = params.get("a.bias_ih_l0").unwrap();
    bias.set(&bias.value().zeros_like().unwrap()).unwrap();
    Lstm::new(3, 4, config, params.root().pp("a")).unwrap();
    assert_eq!(forget("a.bias_ih_l0"), [0.0; 4]);
}

/// The second layer is made the identity of what it gets, but for the recurrence: so its input shows.
#[test]
fn variational_dropout_has_one_mask_for_all_steps() {
    for (variational_dropout, constant) in [(true, true), (false, false)] {
        let params = store();
        let config = RnnConfig {
            num_layers: 2,
            bias: false,
            dropout: 0.5,
            variational_dropout,
            activation: glassbox_rnn::RnnActivation::Relu,
            ..Default::default()
        };
        let rnn = Rnn::new(4, 4, config, params.root()).unwrap();
        let eye = Tensor::eye(4, DType::F32, &Device::Cpu).unwrap();
        for (name, value) in [("weight_ih", &eye), ("weight_hh", &eye.zeros_like().unwrap())] {
            (0..2).for_each(|layer| params.get(&format!("{name}_l{layer}")).unwrap().set(value).unwrap());
        }
        let xs = Tensor::ones((8, 6, 4), DType::F32, &Device::Cpu).unwrap();
        let ys = rnn.forward(&xs, &Pass::train(Seed(2))).unwrap().to_vec3::<f32>().unwrap();
        assert!(ys.iter().flatten().flatten().all(|&y| y == 0.0 || y == 2.0));
        // 192 masks of one element, each constant over six steps by chance once in 32 times.
        assert_eq!(ys.iter().all(|steps| steps.iter().all(|step| *step == steps[0])), constant);
        assert!(ys.iter().any(|steps| steps[0] != ys[0][0]), "every sample has a mask of its own");
        let evaluated = rnn.forward(&xs, &Pass::eval()).unwrap().to_vec3::<f32>().unwrap();
        assert!(evaluated.iter().flatten().flatten().all(|&y| y == 1.0));
    }
}

#[test]
fn a_learned_state_is_used_unless_one_is_given() {
    let params = store();
    let config = LstmConfig { learned_state: true, ..Default::default() };
    let lstm = Lstm::new(2, 3, config, params.root()).unwrap();
    assert_eq!(params.names()[4..], ["h0", "c0"]);
    let (xs, pass) = (input((2, 1, 2)), Pass::eval());
    let from_zeros = lstm.forward(&xs, &pass).unwrap();
    let (h0, c0) = (params.get("h0").unwrap(), params.get("c0").unwrap());
    c0.set(&Tensor::ones((1, 1, 3), DType::F32, &Device::Cpu).unwrap()).unwrap();
    h0.set(&Tensor::ones((1, 1, 3), DType::F32, &Device::Cpu).unwrap()).unwrap();
    let ones = Tensor::ones((1, 2, 3), DType::F32, &Device::Cpu).unwrap();
    let state = LstmState { hidden: ones.clone(), cell: ones.clone() };
    let (from_ones, _) = lstm.forward_with(&xs, Some(&state), None, &pass).unwrap();
    assert_close(&lstm.forward(&xs, &pass).unwrap(), &from_ones, 0.0);
    let zeros = ones.zeros_like().unwrap();
    let state = LstmState { hidden: zeros.clone(), cell: zeros };
    assert_close(&lstm.forward_with(&xs, Some(&state), None, &pass).unwrap().0, &from_zeros, 0.0);
}

/// Neither the forward nor the backward recurses over the steps.
#[test]
fn twenty_thousand_steps_train_on_a_small_stack() {
    let train = || {
        let params = store();
        let config = LstmConfig { num_layers: 2, bidirectional: true, proj_size: Some(2), ..Default::default() };
        let lstm = Lstm::new(2, 4, config, params.root().pp("lstm")).unwrap();
        let gru = Gru::new(4, 4, GruConfig::default(), params.root().pp("gru")).unwrap();
        let pass = Pass::train(Seed(1));
        let ys = gru.forward(&lstm.forward(&input((1, 20_000, 2)), &pass).unwrap(), &pass).unwrap();
        let grads = Gradients::of(&ys.sqr().unwrap().mean_all().unwrap(), &params).unwrap();
        let grad = grads.get("lstm.weight_hh_l0").unwrap().to_f64_vec().unwrap();
        assert!(grad.iter().all(|g| g.is_finite()) && grad.iter().any(|&g| g != 0.0));
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(train).unwrap().join().unwrap();
}

#[test]
fn bad_input_is_named_with_the_layers_path() {
    let params = store();
    let lstm = Lstm::new(3, 4, LstmConfig::default(), params.root().pp("model.lstm")).unwrap();
    let deep = LstmConfig { num_layers: 2, bidirectional: true, ..Default::default() };
    let deep = Lstm::new(3, 4, deep, params.root().pp("model.deep")).unwrap();
    let pass = Pass::eval();
    let fails = |layer: &Lstm, xs: &Tensor, state: Option<&LstmState>, lengths: Option<&[usize]>, expected: &str| {
        let error = layer.forward_with(xs, state, lengths, &pass).unwrap_err().to_string();
        assert!(error.starts_with("at `model.") && error.contains(expected), "{error}");
    };
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let xs = zeros(&[2, 5, 3]);
    fails(&lstm, &zeros(&[2, 0, 3]), None, None, "expected sequences of at least one step, got [2, 0, 3]");
    fails(&lstm, &zeros(&[2, 5, 4]), None, None, "expected last dimension 3 (input_size), got [2, 5, 4]");
    fails(&lstm, &zeros(&[5, 3]), None, None, "(batch, seq_len, input_size)");
    fails(&lstm, &xs, None, Some(&[5, 6]), "expected lengths from 1 to 5, got 6 for sample 1");
    fails(&deep, &xs, None, Some(&[0, 5]), "expected lengths from 1 to 5, got 0 for sample 0");
    fails(&lstm, &xs, None, Some(&[5]), "expected 2 lengths, one for each sample, got 1");
    fails(&lstm, &xs.to_dtype(DType::F64).unwrap(), None, None, "F64");
    let state = |hidden: &[usize], cell: &[usize]| LstmState { hidden: zeros(hidden), cell: zeros(cell) };
    let expected = "hidden state: expected (1, 2, 4), (num_layers · num_directions, batch, size), got [1, 3, 4]";
    fails(&lstm, &xs, Some(&state(&[1, 3, 4], &[1, 3, 4])), None, expected);
    fails(&deep, &xs, Some(&state(&[4, 2, 4], &[1, 2, 4])), None, "cell state: expected (4, 2, 4)");
    let error = deep.step(&zeros(&[2, 3]), None, &pass).unwrap_err().to_string();
    assert!(error.contains("at `model.deep`") && error.contains("one direction"), "{error}");
    assert!(lstm.step(&xs, None, &pass).unwrap_err().to_string().contains("(batch, input_size)"));
    let (empty, _) = lstm.forward_with(&zeros(&[0, 5, 3]), None, None, &pass).unwrap();
    assert_eq!(empty.dims(), [0, 5, 4]);
}

#[test]
fn impossible_networks_are_refused() {
    let fails = |config: LstmConfig, expected: &str| {
        let error = Lstm::new(3, 4, config, store().root().pp("lstm")).unwrap_err().to_string();
        assert!(error.starts_with("at `lstm`") && error.contains(expected), "{error}");
    };
    fails(LstmConfig { num_layers: 0, ..Default::default() }, "num_layers: expected at least 1");
    fails(LstmConfig { proj_size: Some(4), ..Default::default() }, "proj_size");
    fails(LstmConfig { proj_size: Some(0), ..Default::default() }, "proj_size");
    fails(LstmConfig { dropout: 1.0, ..Default::default() }, "dropout");
    fails(LstmConfig { recurrent_dropout: -0.1, ..Default::default() }, "dropout");
    assert!(Gru::new(0, 4, GruConfig::default(), store().root()).unwrap_err().to_string().contains("input_size"));
    assert!(Rnn::new(3, 0, RnnConfig::default(), store().root()).unwrap_err().to_string().contains("hidden_size"));
    assert!(LstmState::from_parts(input((1, 1, 1)), None).is_err());
    assert!(RnnState::from_parts(input((1, 1, 1)), None).is_ok());
}
