//! The lines of `lens.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::compact;
use super::stats::Histogram;
use crate::rules::Finding;

/// One line of `lens.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The network, once.
    Network(Network),
    /// A recorded step.
    Vitals(Vitals),
    /// A validation of a classifier.
    Answers(Answers),
    /// Something that a rule found.
    Finding(Finding),
}

/// The network as the first recorded step showed it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Layers in the order of the forward.
    pub layers: Vec<LayerInfo>,
    /// Parameters in the order of creation.
    pub params: Vec<ParamInfo>,
    /// Number of classes, where the answers are logits of classes.
    #[serde(default)]
    pub num_classes: Option<usize>,
    /// Where the answers are logits of classes, whether they look like probabilities already.
    #[serde(default)]
    pub answers_are_probabilities: bool,
    /// The cross-entropy of the first batch, before any update, in nats.
    #[serde(default, with = "compact::option")]
    pub initial_cross_entropy: Option<f64>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Its path.
    pub path: String,
    /// Its type.
    pub kind: String,
    /// The shape of its output, batch included.
    pub shape: Vec<usize>,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamInfo {
    /// Its name; with its role before it where a run trains several networks.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it is declared frozen.
    pub frozen: bool,
}

/// The vital signs of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// The step, counted from 1.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// The step's loss.
    #[serde(with = "compact")]
    pub loss: f64,
    /// The step's learning rate, where it says one.
    #[serde(default, with = "compact::option")]
    pub learning_rate: Option<f64>,
    /// What the first layer was given, where that is numbers and not ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<LayerVitals>,
    /// By layer, in the order of the forward.
    pub layers: Vec<LayerVitals>,
    /// By parameter, in the order of creation.
    pub params: Vec<ParamVitals>,
}

/// What a layer gave out in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerVitals {
    /// The layer's path.
    pub path: String,
    /// Mean of its outputs.
    #[serde(with = "compact")]
    pub mean: f64,
    /// Standard deviation of its outputs.
    #[serde(with = "compact")]
    pub std: f64,
    /// The smallest output.
    #[serde(with = "compact")]
    pub min: f64,
    /// The largest.
    #[serde(with = "compact")]
    pub max: f64,
    /// Of a ReLU: the share of units that no sample of the batch made fire.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::option")]
    pub dead: Option<f64>,
    /// Of tanh, sigmoid and recurrent layers: the share of outputs close to their bounds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::option")]
    pub saturated: Option<f64>,
    /// Outputs that are NaN or infinite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub non_finite: u64,
    /// How the outputs are distributed.
    pub histogram: Histogram,
}

/// A parameter in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ParamVitals {
    /// The parameter's name.
    pub name: String,
    /// Norm of its value before the update.
    #[serde(with = "compact")]
    pub weight_norm: f64,
    /// Standard deviation of its value before the update.
    #[serde(with = "compact")]
    pub weight_std: f64,
    /// Norm of its gradient, before clipping.
    #[serde(with = "compact")]
    pub gradient_norm: f64,
    /// Norm of the update over the norm of the value; none where the step made no update.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::option")]
    pub update_ratio: Option<f64>,
    /// Elements of its gradient that are NaN or infinite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub non_finite: u64,
}

/// What a classifier answered in one validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// The step after which it was validated.
    pub step: u64,
    /// How often each class (row) was taken for each class (column); empty for more than 32 classes.
    pub confusion: Vec<Vec<u64>>,
    /// Samples of each class.
    pub counts: Vec<u64>,
    /// Samples of each class that were taken for another.
    pub errors: Vec<u64>,
    /// Expected calibration error, 15 bins (Guo et al. 2017).
    #[serde(with = "compact")]
    pub calibration_error: f64,
    /// For each of the 15 bins: samples, mean confidence, share of right answers.
    pub calibration: Vec<(u64, f64, f64)>,
    /// Layers that drop out in a validation, where they should not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropping: Vec<String>,
    /// More numbers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature.
fn is_zero(value: &u64) -> bool {
    *value == 0
}
