//! What the record tells of the data.

use super::{Certainty, Finding, lasting, number, percent};
use crate::record::{Answers, Record};

const SAGEMAKER: &str = "SageMaker Debugger, class imbalance";

/// The largest class has more than ten times the samples of the smallest.
pub(super) fn class_imbalance(record: &Record) -> Vec<Finding> {
    let Some(answers) = record.answers.first() else { return vec![] };
    let classes = || answers.counts.iter().copied().enumerate();
    let (Some((_, most)), Some((rare, least))) = (classes().max_by_key(|c| c.1), classes().min_by_key(|c| c.1)) else {
        return vec![];
    };
    // A class without any sample is a matter of the split, unless there are samples enough for all.
    let ratio = most as f64 / least.max(1) as f64;
    if ratio <= 10.0 || most < 50 {
        return vec![];
    }
    let evidence = format!("the largest class has {most} samples of validation, class {rare} has {least}");
    vec![
        Finding::new("class_imbalance", answers.step, evidence, ratio)
            .beyond("largest / smallest > 10", SAGEMAKER)
            .advise("Weigh the loss by class, draw classes evenly (`class_balanced_weights`), and look at F1, not accuracy.")
            .certainty(Certainty::Certain),
    ]
}

/// Whether errors have fallen by a tenth within the last validations, the newest first.
fn is_learning(last: &[&Answers]) -> bool {
    let errors = |answers: Option<&&Answers>| answers.map_or(0, |answers| answers.errors.iter().sum::<u64>());
    (errors(last.first()) as f64) < 0.9 * errors(last.last()) as f64
}

/// A class of which most are taken for another, though others are learned and no more is learned.
pub(super) fn class_errors(record: &Record) -> Vec<Finding> {
    let Some(last) = lasting(record.answers.iter()) else { return vec![] };
    let newest = last[0];
    let rate = |answers: &Answers, class: usize| {
        let (errors, count) = (answers.errors.get(class).copied(), answers.counts.get(class).copied());
        errors.zip(count).map_or(0.0, |(errors, count)| errors as f64 / count.max(1) as f64)
    };
    let (errors, total): (u64, u64) = (newest.errors.iter().sum(), newest.counts.iter().sum());
    let learned = (errors as f64) < 0.4 * total as f64 && !is_learning(&last);
    let bad = (0..newest.counts.len()).filter(|&class| {
        learned && newest.counts[class] >= 10 && last.iter().all(|answers| rate(answers, class) > 0.7)
    });
    let found = bad.map(|class| {
        let share = rate(newest, class);
        let evidence = format!("{} of class {class} are taken for another class", percent(share));
        Finding::new("class_errors", newest.step, evidence, share)
            .in_layer(format!("class {class}"))
            .beyond("an error above 0.7 in one class, in 3 validations", SAGEMAKER)
            .advise("More or better samples of this class, or weights by class; are its labels right?")
    });
    found.collect()
}

/// Confidence and truth are far apart.
pub(super) fn calibration(record: &Record) -> Vec<Finding> {
    let Some(last) = lasting(record.answers.iter()) else { return vec![] };
    let samples: u64 = last[0].counts.iter().sum();
    // With few samples the estimate itself is off by that much.
    let far = last.iter().all(|answers| answers.calibration_error > 0.2);
    // A network that still learns is right more often than it yet dares to say.
    if !far || samples < 200 || is_learning(&last) {
        return vec![];
    }
    let evidence = format!("confidence and accuracy differ by {} on average", number(last[0].calibration_error));
    vec![
        Finding::new("calibration", last[0].step, evidence, last[0].calibration_error)
            .beyond("expected calibration error above 0.2, 15 bins", "Guo et al. 2017")
            .advise("Label smoothing, earlier stopping, or temperature scaling on a validation set.")
            .certainty(Certainty::Possible),
    ]
}

/// Inputs far from mean 0 and deviation 1.
pub(super) fn input_scale(record: &Record) -> Vec<Finding> {
    let Some(last) = lasting(record.vitals.iter().filter_map(|v| Some((v.step, v.input.as_ref()?)))) else {
        return vec![];
    };
    let off =
        |mean: f64, std: f64| std > 20.0 || mean.abs() > 20.0 || (std > 0.0 && std < 0.01) || mean.abs() > 20.0 * std;
    if !last.iter().all(|(_, input)| off(input.mean, input.std)) {
        return vec![];
    }
    let (step, input) = last[0];
    // A first layer that normalises takes any scale.
    if record.network.layers.first().is_some_and(|layer| layer.kind.contains("Norm")) {
        return vec![];
    }
    let evidence = format!("inputs have the mean {} and the deviation {}", number(input.mean), number(input.std));
    let first = record.network.layers.first().map(|layer| layer.path.clone());
    let finding = Finding::new("input_scale", step, evidence, input.std)
        .beyond("mean near 0, deviation near 1; here beyond 20 or below 0.01", "LeCun et al. 1998, Efficient BackProp")
        .advise("Standardise the inputs: subtract the mean of the training data, divide by its deviation.");
    vec![Finding { layer: first, ..finding }]
}
