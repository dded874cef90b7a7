//! What does not fit is named.

use candle_core::{DType, Device, Tensor};

use crate::recurrent::{RecurrentParams, RecurrentWeights, RnnActivation, bidirectional_lstm, gru, lstm, rnn};

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap()
}

fn assert_names<T>(result: crate::Result<T>, expected: &str) {
    let error = result.err().unwrap().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn shapes_types_and_lengths() {
    let (xs, ih, hh, bias, h0) = (zeros(&[2, 4, 5]), zeros(&[12, 5]), zeros(&[12, 3]), zeros(&[12]), zeros(&[2, 3]));
    let weights = RecurrentWeights { weight_ih: &ih, weight_hh: &hh, bias: Some((&bias, &bias)), weight_hr: None };
    let params = RecurrentParams::default();
    lstm(&xs, &weights, Some((&h0, &h0)), &params).unwrap();

    assert_names(lstm(&ih, &weights, None, &params), "lstm: expected xs (batch, seq_len, input_size), got [12, 5]");
    assert_names(lstm(&zeros(&[2, 0, 5]), &weights, None, &params), "lstm: expected at least one step");
    assert_names(gru(&xs, &weights, None, &params), "gru: expected weight_ih of shape [9, 5], got [12, 5]");
    let wrong = RecurrentWeights { weight_hh: &ih, ..weights };
    assert_names(lstm(&xs, &wrong, None, &params), "lstm: expected weight_ih of shape [20, 5], got [12, 5]");
    let empty = zeros(&[0, 0]);
    let wrong = RecurrentWeights { weight_hh: &empty, ..weights };
    assert_names(rnn(&xs, &wrong, None, RnnActivation::Tanh, &params), "rnn: expected a hidden size of at least 1");
    let wrong = RecurrentWeights { bias: Some((&bias, &h0)), ..weights };
    assert_names(lstm(&xs, &wrong, None, &params), "lstm: expected bias_hh of shape [12], got [2, 3]");
    assert_names(lstm(&xs, &weights, Some((&h0, &bias)), &params), "lstm: expected c0 of shape [2, 3], got [12]");
    let double = h0.to_dtype(DType::F64).unwrap();
    assert_names(lstm(&xs, &weights, Some((&double, &h0)), &params), "lstm: expected h0 of dtype F32, got F64");
    let integers = xs.to_dtype(DType::U32).unwrap();
    assert_names(lstm(&integers, &weights, None, &params), "lstm: expected a float type, got U32");

    let with =
        |lengths: &[usize]| lstm(&xs, &weights, None, &RecurrentParams { lengths: Some(lengths), reverse: true });
    assert_names(with(&[4]), "lstm: expected 2 lengths, one for each sample, got 1");
    assert_names(with(&[4, 0]), "lstm: expected lengths from 1 to 4, got 0 for sample 1");
    assert_names(with(&[5, 1]), "lstm: expected lengths from 1 to 4, got 5 for sample 0");

    let (projection, narrow_hh, narrow_h0) = (zeros(&[2, 3]), zeros(&[12, 2]), zeros(&[2, 2]));
    let projected = RecurrentWeights { weight_hh: &narrow_hh, weight_hr: Some(&projection), ..weights };
    lstm(&xs, &projected, Some((&narrow_h0, &h0)), &params).unwrap();
    assert_names(lstm(&xs, &projected, Some((&h0, &h0)), &params), "lstm: expected h0 of shape [2, 2], got [2, 3]");
    let wrong = RecurrentWeights { weight_hh: &hh, ..projected };
    assert_names(lstm(&xs, &wrong, None, &params), "lstm: expected weight_hr of shape [3, 3], got [2, 3]");
    let wrong = RecurrentWeights { weight_hr: Some(&hh), ..weights };
    assert_names(lstm(&xs, &wrong, None, &params), "lstm: expected weight_hr of shape [3, 3], got [12, 3]");
    let wrong = bidirectional_lstm(&xs, [&projected, &weights], None, None);
    assert_names(wrong, "bidirectional_lstm: expected weight_hh of shape [12, 2], got [12, 3]");
    let (ih, hh) = (zeros(&[9, 5]), zeros(&[9, 2]));
    let of_gru = RecurrentWeights { weight_ih: &ih, weight_hh: &hh, bias: None, weight_hr: Some(&projection) };
    assert_names(gru(&xs, &of_gru, None, &params), "gru: only an lstm has a projection");

    let (small_ih, small_hh) = (zeros(&[8, 5]), zeros(&[8, 2]));
    let small = RecurrentWeights { weight_ih: &small_ih, weight_hh: &small_hh, bias: None, weight_hr: None };
    let both = bidirectional_lstm(&xs, [&weights, &small], None, None);
    assert_names(both, "bidirectional_lstm: expected weight_ih of shape [12, 5], got [8, 5]");
}
