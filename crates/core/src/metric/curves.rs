//! Areas under the curves that a binary score's threshold draws.

use candle_core::Tensor;

use super::classes::{read_targets, scores_shape};
use super::{Metric, nothing_taken_in};
use crate::{Error, Result, TensorExt};

/// Every sample's score, and whether it is positive: the areas need all of them.
#[derive(Clone, Debug, Default)]
struct Scored(Vec<(f64, bool)>);

impl Scored {
    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let (samples, num_scores) = scores_shape(outputs)?;
        if num_scores > 2 {
            let expected = "binary scores: shape (batch), (batch, 1) or (batch, 2)";
            return Err(Error::invalid("outputs", expected, format!("{:?}", outputs.dims())));
        }
        let targets = read_targets(samples, targets, 2, None)?;
        // Of two logits, the difference orders samples as class 1's softmax does.
        let score = |scores: &[f64]| if let [zero, one] = scores { one - zero } else { scores.iter().sum() };
        let scores: Vec<f64> = outputs.to_f64_vec()?.chunks_exact(num_scores).map(score).collect();
        if let Some(position) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::invalid(format!("score {position} of the batch"), "a number", "NaN"));
        }
        self.0.extend(scores.into_iter().zip(targets.into_iter().map(|target| target == Some(1))));
        Ok(())
    }

    /// The number of positive and of negative samples of each distinct score, from the highest score down.
    fn groups(&self) -> Vec<[u64; 2]> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let count = |group: &[(f64, bool)], label| group.iter().filter(|s| s.1 == label).count() as u64;
        sorted.chunk_by(|a, b| a.0 == b.0).map(|group| [count(group, true), count(group, false)]).collect()
    }
}

/// Area under the receiver operating characteristic: the probability that a positive sample scores above a negative one,
/// a tie counting half. 1 is perfect, 0.5 is chance. Equal to scikit-learn's `roc_auc_score`.
///
/// The scores may be probabilities or logits: only their order matters. It keeps every sample's score (16 bytes).
///
/// # Shapes
/// Outputs (batch), (batch, 1), or (batch, 2) of which the difference is the score; targets (batch) of 0 and 1.
///
/// # Errors
/// [`compute`](Metric::compute) fails where all samples are of one class; a NaN score fails at once.
///
/// Reference: Hanley and McNeil, The meaning and use of the area under a ROC curve, 1982.
#[derive(Clone, Debug, Default)]
pub struct RocAuc(Scored);

impl Metric for RocAuc {
    fn name(&self) -> &str {
        "roc_auc"
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        self.0.update(outputs, targets)
    }

    fn compute(&self) -> Result<f64> {
        if self.0.0.is_empty() {
            return Err(nothing_taken_in(self.name()));
        }
        // In whole numbers, doubled for the halves: exact until the division.
        let (mut positives, mut negatives, mut doubled) = (0u128, 0u128, 0u128);
        for [positive, negative] in self.0.groups().into_iter().map(|group| group.map(u128::from)) {
            doubled += negative * (2 * positives + positive);
            positives += positive;
            negatives += negative;
        }
        if positives == 0 || negatives == 0 {
            let got = format!("{positives} positive and {negatives} negative");
            return Err(Error::invalid("metric `roc_auc`", "samples of both classes", got));
        }
        Ok(doubled as f64 / (2 * positives * negatives) as f64)
    }

    fn reset(&mut self) {
        self.0.0.clear();
    }
}

/// Area under the precision-recall curve as average precision, `Σ (recall_i − recall_(i−1)) · precision_i` over the
/// distinct scores from the highest down. Equal to scikit-learn's `average_precision_score`, which does not interpolate;
/// the trapezoid rule over the same points gives another, too optimistic number (Davis and Goadrich, 2006).
///
/// The scores may be probabilities or logits: only their order matters. It keeps every sample's score (16 bytes).
///
/// # Shapes
/// As [`RocAuc`].
///
/// # Errors
/// [`compute`](Metric::compute) fails where no sample is positive (scikit-learn warns and says 0); a NaN score fails at
/// once.
#[derive(Clone, Debug, Default)]
pub struct PrAuc(Scored);

impl Metric for PrAuc {
    fn name(&self) -> &str {
        "pr_auc"
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        self.0.update(outputs, targets)
    }

    fn compute(&self) -> Result<f64> {
        if self.0.0.is_empty() {
            return Err(nothing_taken_in(self.name()));
        }
        let (mut positives, mut taken, mut sum) = (0u64, 0u64, 0.0);
        for [positive, negative] in self.0.groups() {
            positives += positive;
            taken += positive + negative;
            sum += positive as f64 * positives as f64 / taken as f64;
        }
        if positives == 0 {
            return Err(Error::invalid("metric `pr_auc`", "at least one positive sample", "none"));
        }
        Ok(sum / positives as f64)
    }

    fn reset(&mut self) {
        self.0.0.clear();
    }
}
