//! Units that no longer say anything.

use super::{Certainty, Finding, lasting, percent};
use crate::record::Record;

/// Share of dead units above which a layer counts as dying.
const DEAD: f64 = 0.5;

/// More than half of a ReLU layer's units fire for no sample, in every one of the last recorded steps.
pub(super) fn dead_relu(record: &Record) -> Vec<Finding> {
    let relus = record.network.layers.iter().filter(|layer| layer.kind == "Relu");
    let found = relus.filter_map(|layer| {
        let last = lasting(record.layer(&layer.path))?;
        let share = last.iter().map(|(_, vitals)| vitals.dead.unwrap_or(0.0)).fold(1.0, f64::min);
        let step = last.first()?.0;
        (share > DEAD).then(|| {
            let evidence = format!("{} of the units of `{}` never fire (dead ReLU)", percent(share), layer.path);
            Finding::new("dead_relu", step, evidence, share)
                .in_layer(&layer.path)
                .beyond(
                    format!("above {} in {} recorded steps", percent(DEAD), super::PATIENCE),
                    "CS231n; AutoTrainer (Zhang et al., ICSE 2021)",
                )
                .advise("A smaller learning rate, He initialisation, a leaky ReLU, or normalisation before it.")
        })
    });
    found.collect()
}

/// Share of saturated outputs above which a layer hardly passes a gradient on.
const SATURATED: f64 = 0.5;

/// More than half of a saturating layer's outputs lie at their bounds, in every one of the last recorded steps.
pub(super) fn saturation(record: &Record) -> Vec<Finding> {
    // The last layer of a classifier of two classes may well be sure of itself.
    let last_layer = record.network.layers.last().map(|layer| layer.path.as_str());
    let layers = record.network.layers.iter().filter(|layer| Some(layer.path.as_str()) != last_layer);
    let found = layers.filter_map(|layer| {
        let last = lasting(record.layer(&layer.path))?;
        let share = last.iter().map(|(_, vitals)| vitals.saturated.unwrap_or(0.0)).fold(1.0, f64::min);
        let step = last.first()?.0;
        (share > SATURATED).then(|| {
            let evidence = format!("{} of the outputs of `{}` are at their bounds", percent(share), layer.path);
            Finding::new("saturation", step, evidence, share)
                .in_layer(&layer.path)
                .beyond(
                    format!("above {} beyond ±0.97 (tanh) or 0.03 and 0.97 (sigmoid)", percent(SATURATED)),
                    "Glorot and Bengio 2010; the bound is lecture convention",
                )
                .advise("Scale the inputs, make the initial weights smaller, or normalise before it.")
        })
    });
    found.collect()
}

/// A dropout layer that changes what it is given in a validation.
pub(super) fn dropout_in_validation(record: &Record) -> Vec<Finding> {
    let found = record.answers.iter().flat_map(|answers| answers.dropping.iter().map(|path| (answers.step, path)));
    let mut findings: Vec<Finding> = vec![];
    for (step, path) in found {
        let evidence = format!("`{path}` drops values in a validation");
        let finding = Finding::new("dropout_in_validation", step, evidence, 1.0)
            .in_layer(path)
            .beyond("no value dropped", "Srivastava et al. 2014")
            .advise("Validate under `Pass::eval()`: scores are then those of the whole network.")
            .certainty(Certainty::Certain);
        if !findings.iter().any(|other| other.is_same(&finding)) {
            findings.push(finding);
        }
    }
    findings
}
