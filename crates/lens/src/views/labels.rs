//! Labels that are probably wrong, and samples that are learned and forgotten.

use candle_core::Tensor;
use glassbox_core::{Error, Result, TensorExt};

/// Samples whose label is probably wrong, by confident learning (Northcutt et al. 2021, arXiv 1911.00068).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSuspects {
    /// The mean probability that samples labelled with a class are given for it: what counts as confident.
    pub thresholds: Vec<f64>,
    /// How many samples labelled i (row) are confidently of class j (column).
    pub confident_joint: Vec<Vec<usize>>,
    /// Samples that are confidently of another class, the most suspicious (lowest margin) first: sample, label, class.
    pub suspects: Vec<(usize, usize, usize)>,
    /// p(label) − highest p of another class, for each sample: the lower, the more suspicious.
    pub margins: Vec<f64>,
}

/// Finds them from probabilities that were predicted out of sample (by cross-validation, or late in a run on held-out data).
///
/// # Shapes
/// `probabilities` (samples, classes), `labels` as many ids.
///
/// # Errors
/// Other shapes; a label outside the classes.
pub fn suspects(probabilities: &Tensor, labels: &[usize]) -> Result<LabelSuspects> {
    let (samples, classes) = probabilities.dims2()?;
    if samples != labels.len() || labels.iter().any(|&label| label >= classes) {
        let expected = format!("{samples} labels below {classes}");
        return Err(Error::invalid("labels", expected, format!("{} labels", labels.len())));
    }
    let values = probabilities.to_f64_vec()?;
    let rows: Vec<&[f64]> = values.chunks(classes.max(1)).collect();
    let mut sums = vec![(0.0, 0usize); classes];
    for (row, &label) in rows.iter().zip(labels) {
        sums[label].0 += row[label];
        sums[label].1 += 1;
    }
    // A class without samples is never confident.
    let thresholds: Vec<f64> =
        sums.iter().map(|&(sum, count)| if count == 0 { f64::INFINITY } else { sum / count as f64 }).collect();
    let mut found = LabelSuspects { confident_joint: vec![vec![0; classes]; classes], ..LabelSuspects::default() };
    for (i, (row, &label)) in rows.iter().zip(labels).enumerate() {
        let confident = (0..classes).filter(|&class| row[class] >= thresholds[class]);
        if let Some(class) = confident.max_by(|&a, &b| row[a].total_cmp(&row[b])) {
            found.confident_joint[label][class] += 1;
            if class != label {
                found.suspects.push((i, label, class));
            }
        }
        found.margins.push(row[label] - highest_other(row, label));
    }
    found.suspects.sort_by(|a, b| found.margins[a.0].total_cmp(&found.margins[b.0]));
    found.thresholds = thresholds;
    Ok(found)
}

fn highest_other(row: &[f64], label: usize) -> f64 {
    let others = row.iter().enumerate().filter(|(class, _)| *class != label).map(|(_, x)| *x);
    others.fold(f64::NEG_INFINITY, f64::max)
}

/// How each training sample fares over a run: the area under its margin (Pleiss et al. 2020, arXiv 2001.10528), and how often
/// it is forgotten (Toneva et al. 2019, arXiv 1812.05159).
///
/// Show it the logits of training batches with the samples' indices, all samples equally often.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_lens::views::labels::TrainingDynamics;
/// let mut dynamics = TrainingDynamics::new(2);
/// for _ in 0..3 {
///     dynamics.update(&[0, 1], &Tensor::new(&[[2f32, 0.0], [2.0, 0.0]], &Device::Cpu)?, &[0, 1])?;
/// }
/// assert_eq!(dynamics.areas_under_margin(), [2.0, -2.0]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainingDynamics {
    margins: Vec<(f64, u32)>,
    right: Vec<bool>,
    forgotten: Vec<u32>,
    ever_right: Vec<bool>,
}

impl TrainingDynamics {
    /// Of so many training samples.
    pub fn new(num_samples: usize) -> Self {
        Self {
            margins: vec![(0.0, 0); num_samples],
            right: vec![false; num_samples],
            forgotten: vec![0; num_samples],
            ever_right: vec![false; num_samples],
        }
    }

    /// Takes in a batch: the samples' indices, their logits (batch, classes), their labels.
    ///
    /// # Errors
    /// Numbers that do not agree; an index or a label out of range.
    pub fn update(&mut self, indices: &[usize], logits: &Tensor, labels: &[usize]) -> Result<()> {
        let (batch, classes) = logits.dims2()?;
        if indices.len() != batch || labels.len() != batch {
            let got = format!("{} indices, {} labels", indices.len(), labels.len());
            return Err(Error::invalid("training dynamics", format!("{batch} of each"), got));
        }
        let values = logits.to_f64_vec()?;
        for ((&index, row), &label) in indices.iter().zip(values.chunks(classes.max(1))).zip(labels) {
            if index >= self.margins.len() || label >= classes || classes < 2 {
                let expected = format!("indices below {}, labels below {classes}", self.margins.len());
                return Err(Error::invalid("training dynamics", expected, format!("{index}, {label}")));
            }
            self.add(index, row[label] - highest_other(row, label));
        }
        Ok(())
    }

    fn add(&mut self, index: usize, margin: f64) {
        self.margins[index].0 += margin;
        self.margins[index].1 += 1;
        let right = margin > 0.0;
        self.forgotten[index] += u32::from(self.right[index] && !right);
        self.right[index] = right;
        self.ever_right[index] |= right;
    }

    /// The mean logit margin of each sample, z(label) − highest other: low, or negative, for labels that are probably wrong.
    /// NaN of a sample that was never shown.
    pub fn areas_under_margin(&self) -> Vec<f64> {
        self.margins.iter().map(|&(sum, count)| sum / f64::from(count)).collect()
    }

    /// How often each sample went from right to wrong; none for one that was never right.
    pub fn forgetting_events(&self) -> Vec<Option<u32>> {
        self.forgotten.iter().zip(&self.ever_right).map(|(&count, &ever)| ever.then_some(count)).collect()
    }
}

/// The area under the ROC curve of `scores` for telling the samples that are `positive` from the others: the chance that a
/// positive one scores higher (Mann and Whitney), ties counting half.
pub fn roc_auc(scores: &[f64], positive: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len().min(positive.len())).collect();
    order.sort_by(|&i, &j| scores[i].total_cmp(&scores[j]));
    let (mut rank_sum, mut start) = (0.0, 0);
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&i| scores[i] == scores[order[start]]).count();
        let rank = start as f64 + (same as f64 + 1.0) / 2.0;
        rank_sum += order[start..start + same].iter().filter(|&&i| positive[i]).count() as f64 * rank;
        start += same;
    }
    let positives = order.iter().filter(|&&i| positive[i]).count() as f64;
    let negatives = order.len() as f64 - positives;
    (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Worked by hand: thresholds 0.65 and 0.6; sample 1 is labelled 0 and has 0.7 ≥ 0.6 for class 1.
    #[test]
    fn the_confident_joint_is_that_of_northcutt() {
        let p = Tensor::new(&[[0.9f64, 0.1], [0.3, 0.7], [0.75, 0.25], [0.2, 0.8], [0.6, 0.4]], &Device::Cpu).unwrap();
        let found = suspects(&p, &[0, 0, 0, 1, 1]).unwrap();
        assert!((found.thresholds[0] - 0.65).abs() < 1e-12 && (found.thresholds[1] - 0.6).abs() < 1e-12);
        assert_eq!(found.confident_joint, [[2, 1], [0, 1]]);
        assert_eq!(found.suspects, [(1, 0, 1)]);
        assert!((found.margins[1] + 0.4).abs() < 1e-12);
        assert!(suspects(&p, &[0, 0, 0, 1, 2]).is_err());
    }

    #[test]
    fn what_is_learned_and_lost_is_counted() {
        let mut dynamics = TrainingDynamics::new(3);
        for value in [1f32, -1.0, 1.0, -1.0] {
            let logits = Tensor::new(&[[value, 0.0], [-1.0, 0.0]], &Device::Cpu).unwrap();
            dynamics.update(&[0, 2], &logits, &[0, 0]).unwrap();
        }
        assert_eq!(dynamics.forgetting_events(), [Some(2), None, None]);
        let areas = dynamics.areas_under_margin();
        assert!(areas[0] == 0.0 && areas[1].is_nan() && areas[2] == -1.0);
        let logits = Tensor::new(&[[1f32, 0.0]], &Device::Cpu).unwrap();
        assert!(dynamics.update(&[3], &logits, &[0]).is_err());
    }

    #[test]
    fn areas_under_the_curve() {
        assert_eq!(roc_auc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), 0.75);
        assert_eq!(roc_auc(&[1.0, 1.0], &[true, false]), 0.5);
    }
}
