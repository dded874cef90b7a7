//! What can be told before training has changed anything.

use super::flow::is_weight;
use super::{Certainty, Finding, number};
use crate::record::{ParamInfo, Record};

/// Nats by which the first loss of a classifier may differ from that of a network that knows nothing.
const FAR: f64 = 1.0;

/// The cross-entropy of the first batch, against ln(classes).
pub(super) fn initial_loss(record: &Record) -> Vec<Finding> {
    let (Some(classes), Some(loss)) = (record.network.num_classes, record.network.initial_cross_entropy) else {
        return vec![];
    };
    let expected = (classes as f64).ln();
    let Some(first) =
        record.vitals.first().filter(|first| first.step == 1 && loss - expected > FAR.max(0.5 * expected))
    else {
        return vec![];
    };
    let evidence =
        format!("the first loss is {}, that of a network that knows nothing is {}", number(loss), number(expected));
    vec![
        Finding::new("initial_loss", first.step, evidence, loss)
            .beyond(
                format!("ln(classes) = ln {classes} = {}, give or take half of it", number(expected)),
                "Karpathy, A Recipe for Training Neural Networks (2019)",
            )
            .advise("Smaller weights in the last layer, or inputs that are scaled.")
            .certainty(Certainty::Possible),
    ]
}

/// Outputs that are probabilities where the loss takes logits: softmax twice.
pub(super) fn outputs_are_probabilities(record: &Record) -> Vec<Finding> {
    if !record.network.answers_are_probabilities {
        return vec![];
    }
    let last = record.network.layers.last().map(|layer| layer.path.clone());
    let evidence = "the outputs are probabilities already: each row is positive and sums to 1";
    let finding = Finding::new("outputs_are_probabilities", 1, evidence, 1.0)
        .beyond("logits", "the definition of the cross-entropy from logits")
        .advise("Leave out the softmax at the end: the loss has one.")
        .certainty(Certainty::Certain);
    vec![Finding { layer: last, ..finding }]
}

/// Weights that are all the same: their units would learn the same.
pub(super) fn constant_weights(record: &Record) -> Vec<Finding> {
    let Some(first) = record.vitals.first().filter(|first| first.step == 1) else { return vec![] };
    let weights: Vec<_> = first.params.iter().filter(|p| is_weight(record, &p.name)).collect();
    let last = weights.last().map(|p| p.name.clone());
    // A last layer of zeros is a habit that does no harm.
    let constant = |p: &&&crate::record::ParamVitals| {
        p.weight_std <= 1e-6 * p.weight_norm.max(1e-30) && Some(&p.name) != last.as_ref()
    };
    let found = weights.iter().filter(constant).map(|p| {
        let evidence = format!("the elements of `{}` are all the same", p.name);
        Finding::new("constant_weights", first.step, evidence, p.weight_std)
            .in_layer(&p.name)
            .beyond("a deviation of 0", "Goodfellow, Bengio and Courville, Deep Learning (2016), 8.4")
            .advise("Random initial values: units that start the same stay the same.")
    });
    found.collect()
}

/// Factor by which variance × fan-in may differ from that of the other weights. The source has 10 for the variance itself;
/// the residual branches of a deep transformer start up to 2 · layers smaller, and are healthy.
const APART: f64 = 100.0;

/// A weight whose initial values are far larger or smaller than those of the others.
pub(super) fn poor_initial_values(record: &Record) -> Vec<Finding> {
    let Some(first) = record.vitals.first().filter(|first| first.step == 1) else { return vec![] };
    let scale = |info: &ParamInfo| {
        let vitals = first.params.iter().find(|p| p.name == info.name && is_weight(record, &p.name))?;
        let fan_in: usize = info.shape.iter().skip(1).product();
        let scale = vitals.weight_std.powi(2) * fan_in as f64;
        (scale > 0.0).then(|| (info.name.clone(), scale))
    };
    let mut scales: Vec<(String, f64)> = record.network.params.iter().filter_map(scale).collect();
    if scales.len() < 3 {
        return vec![];
    }
    let mut sorted: Vec<f64> = scales.iter().map(|(_, scale)| *scale).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    scales.retain(|(_, scale)| *scale > APART * median || *scale * APART < median);
    let found = scales.into_iter().map(|(name, scale)| {
        let evidence = format!("variance × fan-in of `{name}` is {}, usually {} here", number(scale), number(median));
        Finding::new("poor_initial_values", first.step, evidence, scale / median)
            .in_layer(name)
            .beyond(
                format!("a factor of {APART} from the median"),
                "after SageMaker Debugger, poor weight initialization",
            )
            .advise("He or Xavier initialisation, which keeps variance × fan-in at 1 to 2.")
    });
    found.collect()
}
