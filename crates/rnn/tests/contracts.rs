//! Every layer keeps the contract of layers: gradients in f64, saving, errors with its path.

use glassbox_core::testkit::check_layer;
use glassbox_rnn::{Gru, GruConfig, Lstm, LstmConfig, Rnn, RnnActivation, RnnConfig};

const INPUT: [usize; 3] = [3, 4, 2];

#[test]
fn plain_layers() {
    check_layer(|vb| Rnn::new(2, 3, RnnConfig::default(), vb), &INPUT);
    check_layer(|vb| Gru::new(2, 3, GruConfig::default(), vb), &INPUT);
    check_layer(|vb| Lstm::new(2, 3, LstmConfig::default(), vb), &INPUT);
}

#[test]
fn two_layers_in_both_directions() {
    // The weights of a ReLU are moved far enough from its kink by the check itself.
    let config = RnnConfig { num_layers: 2, bidirectional: true, dropout: 0.3, ..Default::default() };
    check_layer(|vb| Rnn::new(2, 3, RnnConfig { activation: RnnActivation::Relu, ..config }, vb), &INPUT);
    let config = GruConfig { num_layers: 2, bidirectional: true, bias: false, ..Default::default() };
    check_layer(|vb| Gru::new(2, 3, config, vb), &INPUT);
    let config = LstmConfig { num_layers: 2, bidirectional: true, proj_size: Some(2), ..Default::default() };
    check_layer(|vb| Lstm::new(2, 3, config, vb), &INPUT);
}

#[test]
fn all_options_at_once() {
    let config = LstmConfig {
        num_layers: 3,
        bidirectional: true,
        dropout: 0.4,
        variational_dropout: true,
        recurrent_dropout: 0.2,
        layer_norm: true,
        learned_state: true,
        orthogonal: true,
        unit_forget_bias: true,
        ..Default::default()
    };
    check_layer(|vb| Lstm::new(2, 3, config, vb), &INPUT);
    let config = GruConfig { layer_norm: true, learned_state: true, recurrent_dropout: 0.2, ..Default::default() };
    check_layer(|vb| Gru::new(2, 3, config, vb), &INPUT);
}
