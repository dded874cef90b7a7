//! RNN, GRU and LSTM against PyTorch's (`tools/fixtures/rnn_layers.py`): sequences, final states and all gradients, in f64.
#![allow(clippy::unwrap_used)] // The lint's exception for tests covers functions marked as tests, not their helpers.

use glassbox_core::candle_core::Tensor;
use glassbox_core::testkit::Golden;
use glassbox_core::{Init, Layer, Param, Pass, Result, VarBuilder};
use glassbox_rnn::{Gru, GruConfig, Lstm, LstmConfig, Recurrent, RecurrentState, Rnn, RnnActivation, RnnConfig};

const LENGTHS: [usize; 3] = [3, 5, 2];

/// The sequence and the final states in one row, from initial states that are parameters.
struct Everything<R> {
    layer: R,
    state: Option<(Param, Option<Param>)>,
    lengths: Option<[usize; 3]>,
}

impl<R: Recurrent> Layer for Everything<R> {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let state = self.state.as_ref();
        let state = state.map(|(h0, c0)| R::State::from_parts(h0.get(pass), c0.as_ref().map(|c0| c0.get(pass))));
        let lengths = self.lengths.as_ref().map(|lengths| &lengths[..]);
        let (sequence, last) = self.layer.forward_with(xs, state.transpose()?.as_ref(), lengths, pass)?;
        let (hidden, cell) = last.parts();
        let parts = [Some(&sequence), Some(hidden), cell].into_iter().flatten().map(Tensor::flatten_all);
        Ok(Tensor::cat(&parts.collect::<std::result::Result<Vec<_>, _>>()?, 0)?)
    }
}

#[track_caller]
fn check<R: Recurrent>(case: &str, state: bool, lengths: bool, make: impl Fn(VarBuilder) -> Result<R>) {
    let golden = Golden::open("tests/fixtures/layers.safetensors").unwrap();
    let lengths = lengths.then_some(LENGTHS);
    golden.check_layer(case, |vb| {
        let layer = make(vb.pp("layer"))?;
        let sizes = layer.sizes();
        let start = |name: &str, size: usize| vb.param(name, (sizes.num_states(), 3, size), Init::Zeros);
        let is_lstm = case.starts_with("lstm");
        let cell = |vb: bool| vb.then(|| start("c0", sizes.hidden_size)).transpose();
        let state = if state { Some((start("h0", sizes.state_size)?, cell(is_lstm)?)) } else { None };
        Ok(Everything { layer, state, lengths })
    });
}

#[test]
fn rnn() {
    for (name, activation) in [("rnn_tanh", RnnActivation::Tanh), ("rnn_relu", RnnActivation::Relu)] {
        let config = RnnConfig { activation, ..Default::default() };
        let deep = RnnConfig { num_layers: 2, bidirectional: true, ..config };
        check(&format!("{name}.deep"), false, true, |vb| Rnn::new(2, 3, deep, vb));
        check(&format!("{name}.state"), true, false, |vb| Rnn::new(2, 3, RnnConfig { bias: false, ..config }, vb));
    }
}

#[test]
fn gru() {
    let deep = GruConfig { num_layers: 2, bidirectional: true, ..Default::default() };
    check("gru.deep", false, true, |vb| Gru::new(2, 3, deep, vb));
    check("gru.state", true, false, |vb| Gru::new(2, 3, GruConfig { bias: false, ..Default::default() }, vb));
}

#[test]
fn lstm() {
    let deep = LstmConfig { num_layers: 2, bidirectional: true, ..Default::default() };
    check("lstm.deep", false, true, |vb| Lstm::new(2, 3, deep, vb));
    check("lstm.state", true, false, |vb| Lstm::new(2, 3, LstmConfig { bias: false, ..Default::default() }, vb));
    check("lstm.projected", true, true, |vb| Lstm::new(2, 3, LstmConfig { proj_size: Some(2), ..deep }, vb));
}
