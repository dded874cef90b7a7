//! Metrics against scikit-learn's values, and where they are not defined.

// Clippy lets `#[test]` functions unwrap, but not the functions that they share.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use glassbox_core::metric::{Mae, Mean, Mse};
use glassbox_core::{
    Accuracy, Average, ConfusionMatrix, FBeta, Metric, Perplexity, PrAuc, Precision, R2, Recall, RocAuc, TensorExt,
    TopK,
};

/// Counts are exact and sums are in f64, so scikit-learn's f64 values are met to rounding. What is left is the f32
/// log-softmax of the perplexity: 1e-7 relative to each token's log-probability, with a factor of 10 to spare.
const TOLERANCE: f64 = 1e-6;

/// Batches of these sizes, again and again, feed a case: uneven, one of a single sample.
const BATCH_SIZES: [usize; 4] = [2, 1, 13, 29];

/// Made by tools/fixtures/core_metrics.py; the header names the version of scikit-learn.
const FIXTURES: &[u8] = include_bytes!("fixtures/metrics.safetensors");

fn fixtures() -> HashMap<String, Tensor> {
    candle_core::safetensors::load_buffer(FIXTURES, &Device::Cpu).unwrap()
}

fn batches(case: &str) -> Vec<(Tensor, Tensor)> {
    let fixtures = fixtures();
    let (outputs, targets) = (&fixtures[&format!("{case}/outputs")], &fixtures[&format!("{case}/targets")]);
    let len = outputs.dim(0).unwrap();
    let (mut start, mut batches) = (0, vec![]);
    for size in BATCH_SIZES.into_iter().cycle() {
        let size = size.min(len - start);
        if size == 0 {
            break;
        }
        batches.push((outputs.narrow(0, start, size).unwrap(), targets.narrow(0, start, size).unwrap()));
        start += size;
    }
    batches
}

fn feed(metric: &mut dyn Metric, case: &str) {
    batches(case).iter().for_each(|(outputs, targets)| metric.update(outputs, targets).unwrap());
}

fn assert_close(got: f64, expected: f64, what: &str) {
    let error = (got - expected).abs() / expected.abs().max(1.0);
    assert!(error < TOLERANCE, "{what}: scikit-learn says {expected}, got {got}");
}

/// Compares the metric with the fixture of its name, twice: the second time after a reset.
fn check(mut metric: impl Metric, case: &str) {
    let what = format!("{case}/{}", metric.name());
    let expected = fixtures()[&format!("{case}/expected/{}", metric.name())].to_f64().unwrap();
    for _ in 0..2 {
        feed(&mut metric, case);
        assert_close(metric.compute().unwrap(), expected, &what);
        metric.reset();
        assert!(metric.compute().unwrap_err().to_string().contains("at least one sample"), "{what}");
    }
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

fn error_of(metric: &mut dyn Metric, outputs: &Tensor, targets: &Tensor) -> String {
    metric.update(outputs, targets).unwrap_err().to_string()
}

#[test]
fn the_fixtures_say_which_scikit_learn_made_them() {
    let (_, header) = safetensors::SafeTensors::read_metadata(FIXTURES).unwrap();
    let header = header.metadata().clone().unwrap();
    assert!(header["scikit-learn"].starts_with("1."), "{header:?}");
}

#[test]
fn accuracy_is_scikit_learns() {
    check(Accuracy::default(), "classes");
    check(Accuracy::default(), "binary");
    check(Accuracy::default(), "tied");
    check(Accuracy::default().ignore_index(-100), "tokens");
}

#[test]
fn top_k_accuracy_is_scikit_learns_with_ties() {
    for k in 1..=3 {
        check(TopK::new(k), "classes");
    }
    check(TopK::new(5).ignore_index(-100), "tokens");
}

#[test]
fn precision_recall_and_f_beta_are_scikit_learns() {
    for average in [Average::Macro, Average::Micro] {
        for case in ["classes", "binary", "tied"] {
            check(Precision::new(average), case);
            check(Recall::new(average), case);
            for beta in [0.5, 1.0, 2.0] {
                check(FBeta::new(beta, average).unwrap(), case);
            }
        }
        check(Precision::new(average).ignore_index(-100), "tokens");
        check(Recall::new(average).ignore_index(-100), "tokens");
        check(FBeta::new(2.0, average).unwrap().ignore_index(-100), "tokens");
    }
    for (case, class) in [("classes", 3), ("classes", 5), ("binary", 1), ("tied", 1)] {
        check(Precision::new(Average::Class(class)), case);
        check(Recall::new(Average::Class(class)), case);
        check(FBeta::new(1.0, Average::Class(class)).unwrap(), case);
    }
}

#[test]
fn confusion_matrix_is_scikit_learns() {
    let mut matrix = ConfusionMatrix::new(6).unwrap();
    feed(&mut matrix, "classes");
    let expected = |name: &str| fixtures()[&format!("classes/expected/{name}")].to_f64_vec().unwrap();
    assert_eq!(matrix.rows().flatten().map(|&n| n as f64).collect::<Vec<_>>(), expected("confusion"));
    for (got, name) in [
        (matrix.normalised().concat(), "normalised"),
        (matrix.precisions(), "precisions"),
        (matrix.recalls(), "recalls"),
    ] {
        got.iter().zip(expected(name)).for_each(|(&got, expected)| assert_close(got, expected, name));
        assert_eq!(got.len(), expected(name).len());
    }
    check(ConfusionMatrix::new(6).unwrap(), "classes");
}

#[test]
fn areas_under_curves_are_scikit_learns_with_ties() {
    for case in ["binary", "tied"] {
        check(RocAuc::default(), case);
        check(PrAuc::default(), case);
    }
}

#[test]
fn areas_take_the_three_shapes_of_binary_scores() {
    let expected = |name: &str| fixtures()[&format!("tied/expected/{name}")].to_f64().unwrap();
    let (mut column, mut pair) = (RocAuc::default(), PrAuc::default());
    for (outputs, targets) in batches("tied") {
        let outputs = outputs.unsqueeze(1).unwrap();
        column.update(&outputs, &targets.unsqueeze(1).unwrap()).unwrap();
        // Logits (a, a + x) have the difference x; whole a keep the ties of quarter steps.
        let pairs = Tensor::cat(&[&outputs.ones_like().unwrap(), &(&outputs + 1.0).unwrap()], 1).unwrap();
        pair.update(&pairs, &targets.to_dtype(DType::U8).unwrap()).unwrap();
    }
    assert_close(column.compute().unwrap(), expected("roc_auc"), "roc_auc");
    assert_close(pair.compute().unwrap(), expected("pr_auc"), "pr_auc");
}

#[test]
fn regression_is_scikit_learns() {
    for case in ["values", "value", "constant"] {
        check(Mse::default(), case);
        check(Mae::default(), case);
        check(R2::default(), case);
    }
    assert!(!Mse::default().higher_is_better() && R2::default().higher_is_better());
}

#[test]
fn perplexity_is_the_exponential_of_scikit_learns_log_loss() {
    check(Perplexity::default().ignore_index(-100), "tokens");
    // A uniform guess hesitates between all tokens.
    let mut metric = Perplexity::default();
    metric.update(&Tensor::zeros((3, 7), DType::F32, &Device::Cpu).unwrap(), &tensor(&[0., 3., 6.])).unwrap();
    assert_close(metric.compute().unwrap(), 7.0, "uniform");
}

#[test]
fn transposed_outputs_give_the_same() {
    let (outputs, targets) = &batches("classes")[3];
    let transposed = outputs.t().unwrap().contiguous().unwrap().t().unwrap();
    assert!(!transposed.is_contiguous());
    for metric in [&mut Accuracy::default() as &mut dyn Metric, &mut TopK::new(2), &mut Perplexity::default()] {
        metric.update(outputs, targets).unwrap();
        let expected = metric.compute().unwrap();
        metric.reset();
        metric.update(&transposed, targets).unwrap();
        assert_eq!(metric.compute().unwrap(), expected);
    }
}

#[test]
fn binary_logits_predict_class_1_above_0() {
    let targets = Tensor::new(&[[1f32], [1.], [0.], [0.]], &Device::Cpu).unwrap();
    let logits = Tensor::new(&[[0.1f32], [0.], [-3.], [4.]], &Device::Cpu).unwrap();
    let mut accuracy = Accuracy::default();
    accuracy.update(&logits, &targets).unwrap();
    assert_eq!(accuracy.compute().unwrap(), 0.5);
    accuracy.update(&logits.flatten_all().unwrap(), &targets.flatten_all().unwrap()).unwrap();
    assert_eq!(accuracy.compute().unwrap(), 0.5);
}

#[test]
fn r2_of_constant_targets_is_1_only_where_they_are_met() {
    let mut r2 = R2::default();
    // 0.1 has no exact binary form: the spread must not become a rounding error.
    r2.update(&Tensor::full(0.1f64, 50, &Device::Cpu).unwrap(), &Tensor::full(0.1f64, 50, &Device::Cpu).unwrap())
        .unwrap();
    assert_eq!(r2.compute().unwrap(), 1.0);
    r2.update(&Tensor::full(0.2f64, 50, &Device::Cpu).unwrap(), &Tensor::full(0.1f64, 50, &Device::Cpu).unwrap())
        .unwrap();
    assert_eq!(r2.compute().unwrap(), 0.0);
}

#[test]
fn a_mean_weighs_its_values() {
    let mut mean = Mean::default();
    assert!(mean.compute().unwrap_err().to_string().contains("`mean`"));
    mean.update(1.0, 3.0);
    mean.update(5.0, 1.0);
    mean.update(100.0, 0.0);
    assert_eq!(mean.compute().unwrap(), 2.0);
}

#[test]
fn undefined_scores_are_errors() {
    let one_class = |metric: &mut dyn Metric, target: f32| {
        metric.update(&tensor(&[0.1, 0.2]), &tensor(&[target; 2])).unwrap();
        metric.compute().map_err(|e| e.to_string())
    };
    let expected = "metric `roc_auc`: expected samples of both classes, got 2 positive and 0 negative";
    assert_eq!(one_class(&mut RocAuc::default(), 1.0).unwrap_err(), expected);
    let expected = "metric `pr_auc`: expected at least one positive sample, got none";
    assert_eq!(one_class(&mut PrAuc::default(), 0.0).unwrap_err(), expected);
    assert_eq!(one_class(&mut PrAuc::default(), 1.0).unwrap(), 1.0);
    let mut r2 = R2::default();
    r2.update(&tensor(&[1.]), &tensor(&[2.])).unwrap();
    assert_eq!(r2.compute().unwrap_err().to_string(), "metric `r2`: expected at least two samples, got 1");
    let mut ignored = Accuracy::default().ignore_index(0);
    ignored.update(&tensor(&[1.]), &tensor(&[0.])).unwrap();
    assert_eq!(
        ignored.compute().unwrap_err().to_string(),
        "metric `accuracy`: expected at least one sample taken in, got none"
    );
}

#[test]
fn what_does_not_fit_is_an_error_that_says_so() {
    let scores = Tensor::zeros((4, 3), DType::F32, &Device::Cpu).unwrap();
    let classes = Tensor::new(&[0u32, 1, 2, 3], &Device::Cpu).unwrap();
    let accuracy = &mut Accuracy::default();
    assert_eq!(error_of(accuracy, &scores, &classes), "target 3 of the batch: expected a class from 0 to 2, got 3");
    let negative = Tensor::new(&[0i64, -1, 2, 2], &Device::Cpu).unwrap();
    assert_eq!(error_of(accuracy, &scores, &negative), "target 1 of the batch: expected a class from 0 to 2, got -1");
    let fraction = tensor(&[0., 1., 1.5, 2.]);
    assert_eq!(error_of(accuracy, &scores, &fraction), "target 2 of the batch: expected a class, got 1.5");
    let short = Tensor::new(&[0u32, 1], &Device::Cpu).unwrap();
    assert_eq!(error_of(accuracy, &scores, &short), "targets: expected shape [4], as the outputs', got [2]");
    assert_eq!(
        error_of(&mut TopK::new(4), &scores, &short),
        "k of the top-k accuracy: expected 1 to 3 (num_classes), got 4"
    );
    assert!(error_of(&mut TopK::new(0), &scores, &short).ends_with("got 0"));
    assert!(error_of(&mut Perplexity::default(), &tensor(&[1.]), &short).contains("num_classes"));
    assert!(error_of(&mut RocAuc::default(), &scores, &short).contains("(batch, 2)"));
    assert!(error_of(&mut PrAuc::default(), &tensor(&[f32::NAN]), &tensor(&[1.])).contains("got NaN"));
    assert!(error_of(&mut ConfusionMatrix::new(4).unwrap(), &scores, &tensor(&[0.; 4])).contains("expected 4 classes"));
    assert!(error_of(&mut Precision::new(Average::Class(3)), &scores, &tensor(&[0.; 4])).contains("got 3"));
    // (batch, 1) never broadcasts against other than (batch).
    let column = Tensor::zeros((4, 1), DType::F32, &Device::Cpu).unwrap();
    assert!(error_of(&mut Mse::default(), &column, &tensor(&[0.; 3])).contains("expected shape [4, 1]"));
    let mut mse = Mse::default();
    mse.update(&column, &tensor(&[2.; 4])).unwrap();
    assert_eq!(mse.compute().unwrap(), 4.0);
    assert!(FBeta::new(0.0, Average::Macro).is_err() && FBeta::new(f64::NAN, Average::Macro).is_err());
    assert!(ConfusionMatrix::new(0).is_err() && ConfusionMatrix::new(usize::MAX).is_err());
    assert!(ConfusionMatrix::new(2).unwrap().class_names(["one"]).unwrap_err().to_string().contains("class names"));
    assert!(ConfusionMatrix::new(2).unwrap().add(0, 2).is_err());
}

#[test]
fn an_error_leaves_the_score_as_it_was_and_an_empty_batch_too() {
    let scores = Tensor::new(&[[1f32, 0.], [0., 1.]], &Device::Cpu).unwrap();
    let mut matrix = ConfusionMatrix::new(2).unwrap();
    matrix.update(&scores, &Tensor::new(&[0u32, 0], &Device::Cpu).unwrap()).unwrap();
    matrix.update(&scores, &Tensor::new(&[1u32, 9], &Device::Cpu).unwrap()).unwrap_err();
    let (none, no_targets) = (scores.narrow(0, 0, 0).unwrap(), Tensor::zeros(0, DType::U32, &Device::Cpu).unwrap());
    matrix.update(&none, &no_targets).unwrap();
    assert_eq!(matrix.rows().collect::<Vec<_>>(), [[1, 1], [0, 0]]);
    for metric in [&mut Accuracy::default() as &mut dyn Metric, &mut Perplexity::default(), &mut TopK::new(1)] {
        metric.update(&none, &no_targets).unwrap();
        assert!(metric.compute().is_err(), "{}", metric.name());
    }
}

#[test]
fn a_nan_never_scores_a_top_k_hit() {
    let scores = Tensor::new(&[[f32::NAN, 0., 1.], [0., f32::NAN, 1.]], &Device::Cpu).unwrap();
    let mut top = TopK::new(1);
    top.update(&scores, &Tensor::new(&[0u32, 2], &Device::Cpu).unwrap()).unwrap();
    assert_eq!(top.compute().unwrap(), 0.0);
}
