//! Diagnosis: rules with a published definition, as small pure functions over the [`Record`].
//!
//! A rule is silent on a healthy run: it warns when what it looks at lasts, not on one step. Each [`Finding`] says what was
//! measured, where the line is, who drew it, and what to try.

mod data;
mod finding;
mod flow;
mod init;
mod progress;
mod units;

use crate::record::Record;

pub use finding::{Certainty, Finding};

/// Looks for one thing that can be wrong.
pub type Rule = fn(&Record) -> Vec<Finding>;

/// Every rule, in the order of their names.
pub const RULES: &[(&str, Rule)] = &[
    ("class_imbalance", data::class_imbalance),
    ("class_errors", data::class_errors),
    ("calibration", data::calibration),
    ("constant_weights", init::constant_weights),
    ("dead_relu", units::dead_relu),
    ("discriminator_wins", progress::discriminator_wins),
    ("dropout_in_validation", units::dropout_in_validation),
    ("exploding_gradient", flow::exploding_gradient),
    ("initial_loss", init::initial_loss),
    ("input_scale", data::input_scale),
    ("loss_spikes", progress::loss_spikes),
    ("mode_collapse", progress::mode_collapse),
    ("no_better_than_chance", progress::no_better_than_chance),
    ("oscillation", progress::oscillation),
    ("outputs_are_probabilities", init::outputs_are_probabilities),
    ("overfitting", progress::overfitting),
    ("plateau", progress::plateau),
    ("poor_initial_values", init::poor_initial_values),
    ("saturation", units::saturation),
    ("signal_lost", flow::signal_lost),
    ("update_ratio", flow::update_ratio),
    ("vanishing_gradient", flow::vanishing_gradient),
    ("weights_stand_still", flow::weights_stand_still),
];

/// What the rules find in `record`, each once for each layer.
pub fn diagnose(record: &Record) -> Vec<Finding> {
    RULES.iter().flat_map(|(_, rule)| rule(record)).collect()
}

/// Recorded steps in a row for which something must hold before a rule speaks.
pub(crate) const PATIENCE: usize = 3;

/// The last [`PATIENCE`] of `values`, the newest first, where there are so many.
pub(crate) fn lasting<T>(values: impl DoubleEndedIterator<Item = T>) -> Option<Vec<T>> {
    let last: Vec<T> = values.rev().take(PATIENCE).collect();
    (last.len() == PATIENCE).then_some(last)
}

/// A number in a sentence: four digits.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => value.to_string(),
        0.0 => "0".into(),
        1e-3..1e5 => {
            let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            let text = format!("{value:.digits$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
        }
        _ => format!("{value:.2e}"),
    }
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", number((share * 1000.0).round() / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts: Vec<String> = [0.0, 0.25, 1234.5, 0.0001234, 1e9, f64::NAN, -3.0, 0.1 + 0.2].map(number).into();
        assert_eq!(texts, ["0", "0.25", "1234", "1.23e-4", "1.00e9", "NaN", "-3", "0.3"]);
        assert_eq!([percent(0.613), percent(1.0)], ["61.3 %", "100 %"]);
    }

    #[test]
    fn an_empty_record_has_no_findings() {
        assert_eq!(diagnose(&Record::default()), []);
    }
}
