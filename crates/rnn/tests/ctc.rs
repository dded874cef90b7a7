//! The CTC loss against PyTorch (`tools/fixtures/rnn_ctc.py`), and as a loss.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use candle_core::{DType, Device, Tensor};
use glassbox_core::testkit::{Golden, check_loss, values};
use glassbox_core::{Loss, Reduction};
use glassbox_rnn::Ctc;

fn golden() -> Golden {
    Golden::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ctc.safetensors")).unwrap()
}

fn lengths(golden: &Golden, case: &str, name: &str) -> Vec<usize> {
    let lengths = golden.tensor(case, name).unwrap().to_vec1::<i64>().unwrap();
    lengths.into_iter().map(|length| length as usize).collect()
}

#[track_caller]
fn check(golden: &Golden, case: &str, loss: &Ctc) {
    let (inputs, labels) = (lengths(golden, case, "input_lengths"), lengths(golden, case, "target_lengths"));
    golden.check_function(case, &["input"], |t| {
        loss.with_lengths(&t[0], golden.tensor(case, "target")?, Some(&inputs), Some(&labels))
    });
}

/// Within Golden's tolerances: 1e-10 in f64, 1e-5 in f32.
#[test]
fn equals_pytorchs() {
    let golden = golden();
    for prefix in ["f64", "f32"] {
        check(&golden, &format!("{prefix}/mean"), &Ctc::default());
        check(&golden, &format!("{prefix}/blank_last"), &Ctc::default().blank(4).reduction(Reduction::None));
        check(&golden, &format!("{prefix}/zero_infinity"), &Ctc::default().zero_infinity());
    }
    check(&golden, "f64/far", &Ctc::default());
    check(&golden, "f64/sum", &Ctc::default().reduction(Reduction::Sum));
    check(&golden, "f64/none", &Ctc::default().reduction(Reduction::None));
}

/// The loss and gradient of log-probabilities are those of the logits they come from, as PyTorch has them.
#[test]
fn log_probabilities_do_as_well() {
    let golden = golden();
    golden.check_function("f64/far", &["input"], |t| {
        let log_probs = glassbox_core::TensorExt::log_softmax(&t[0], 2)?;
        Ctc::default().forward(&log_probs, golden.tensor("f64/far", "target")?)
    });
}

#[test]
fn keeps_the_contract_of_losses() {
    let outputs = (values((3, 6, 4), 1).unwrap() * 3.0).unwrap();
    // Padded with the blank; the last has no labels.
    let targets = Tensor::new(&[[1i64, 1, 3], [2, 0, 0], [0, 0, 0]], &Device::Cpu).unwrap();
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        check_loss(&Ctc::default().reduction(reduction), &outputs, &targets);
    }
}

#[test]
fn padding_is_the_blank() {
    let outputs = values((2, 5, 4), 1).unwrap();
    let loss = Ctc::default().blank(3).reduction(Reduction::None);
    let padded = Tensor::new(&[[1u32, 2, 3], [0, 3, 3]], &Device::Cpu).unwrap();
    let unpadded = Tensor::new(&[[1i64, 2, -1], [0, 9, 9]], &Device::Cpu).unwrap();
    let got = loss.forward(&outputs, &padded).unwrap().to_vec1::<f64>().unwrap();
    let want = loss.with_lengths(&outputs, &unpadded, None, Some(&[2, 1])).unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(got, want);
}

#[test]
fn wrong_inputs_are_named() {
    let outputs = values((1, 2, 4), 1).unwrap();
    let fails = |targets: &Tensor, expected: &str| {
        let error = Ctc::default().forward(&outputs, targets).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let targets = |labels: &[u32]| Tensor::from_slice(labels, (1, labels.len()), &Device::Cpu).unwrap();
    fails(&targets(&[1, 0, 2]), "target of sample 0: expected nothing but the blank 0 after the first, got 2");
    fails(&targets(&[1, 1]), "sample 0: expected at least 3 steps for its 2 labels, got 2");
    fails(&targets(&[4]), "expected one of 4 classes but the blank 0, got 4");
    let floats = targets(&[1]).to_dtype(DType::F64).unwrap();
    fails(&floats, "targets: expected (batch, max_target_len) of type u32 or i64, got [1, 1] of F64");
}
