//! Where a classifier fails: what it takes for what, how sure it is of it, and its worst answers.

use candle_core::Tensor;
use glassbox_core::probe::Answer;
use glassbox_core::{Result, TensorExt};
use serde::{Deserialize, Serialize};

use crate::record::{Answers, classes_of};

/// Bins of the calibration, as in Guo et al. 2017.
pub const BINS: usize = 15;
/// Classes above which a confusion matrix would be too large to be kept or seen.
const CLASSES: usize = 32;
/// Worst answers that are kept.
const WORST: usize = 12;

/// Takes in the answers of a classifier, and reads out what is wrong with them.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_lens::views::Mistakes;
/// let mut mistakes = Mistakes::default();
/// let logits = Tensor::new(&[[4f32, 0.0], [0.0, 4.0], [4.0, 0.0]], &Device::Cpu)?;
/// mistakes.update(None, &logits, &Tensor::new(&[0u32, 1, 1], &Device::Cpu)?)?;
/// assert_eq!(mistakes.confusion(), [[1, 0], [1, 1]]);
/// assert_eq!(mistakes.worst()[0].index, 2);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mistakes {
    num_classes: usize,
    confusion: Vec<Vec<u64>>,
    counts: Vec<u64>,
    errors: Vec<u64>,
    bins: [Bin; BINS],
    worst: Vec<Worst>,
    seen: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    count: u64,
    confidence: f64,
    right: u64,
}

/// A sample that a classifier got wrong, or was least sure of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// Its place among the samples, in the order in which they were taken in.
    pub index: usize,
    /// Its class.
    pub target: usize,
    /// The class that it was taken for.
    pub predicted: usize,
    /// The probability that its class was given.
    pub probability: f64,
    /// −ln of that.
    pub loss: f64,
    /// What the model was given: shape and values, where that is small.
    pub input: Option<(Vec<usize>, Vec<f32>)>,
}

impl Mistakes {
    /// Takes in a batch: `logits` (batch, classes), `targets` (batch) of ids, and what the model was given (batch, …).
    /// Anything else, such as a regression's answers, is left out.
    ///
    /// # Errors
    /// Types that cannot be read.
    pub fn update(&mut self, input: Option<&Tensor>, logits: &Tensor, targets: &Tensor) -> Result<()> {
        let answer = Answer { input, outputs: logits, targets, training: false };
        let Some((classes, rows)) = classes_of(&answer)? else { return Ok(()) };
        self.grow(logits.dim(1)?);
        for (i, (&class, row)) in classes.iter().zip(&rows).enumerate() {
            self.add(class, row, input.filter(|input| input.dim(0).is_ok_and(|n| n == rows.len())), i)?;
        }
        Ok(())
    }

    fn grow(&mut self, num_classes: usize) {
        if num_classes <= self.num_classes {
            return;
        }
        self.num_classes = num_classes;
        self.counts.resize(num_classes, 0);
        self.errors.resize(num_classes, 0);
        if num_classes <= CLASSES {
            self.confusion.iter_mut().for_each(|row| row.resize(num_classes, 0));
            self.confusion.resize(num_classes, vec![0; num_classes]);
        } else {
            self.confusion.clear();
        }
    }

    fn add(&mut self, class: usize, row: &[f64], input: Option<&Tensor>, at: usize) -> Result<()> {
        let index = self.seen;
        self.seen += 1;
        let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = highest + row.iter().map(|x| (x - highest).exp()).sum::<f64>().ln();
        let predicted = row.iter().position(|&x| x == highest).unwrap_or(0);
        let (confidence, loss) = ((highest - log_sum).exp(), log_sum - row[class]);
        if !loss.is_finite() {
            return Ok(());
        }
        self.counts[class] += 1;
        self.errors[class] += u64::from(predicted != class);
        if let Some(cell) = self.confusion.get_mut(class).and_then(|row| row.get_mut(predicted)) {
            *cell += 1;
        }
        // As Guo et al.: intervals open below and closed above.
        let bin = &mut self.bins[((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1];
        bin.count += 1;
        bin.confidence += confidence;
        bin.right += u64::from(predicted == class);
        if self.worst.len() < WORST || self.worst.last().is_some_and(|last| loss > last.loss) {
            let input = input.map(|input| small(input, at)).transpose()?.flatten();
            let worst = Worst { index, target: class, predicted, probability: (-loss).exp(), loss, input };
            let place = self.worst.partition_point(|other| other.loss >= loss);
            self.worst.insert(place, worst);
            self.worst.truncate(WORST);
        }
        Ok(())
    }

    /// A row for each true class, with how often it was taken for each class; empty for more than 32 classes.
    pub fn confusion(&self) -> &[Vec<u64>] {
        &self.confusion
    }

    /// The samples with the highest losses, the worst first.
    pub fn worst(&self) -> &[Worst] {
        &self.worst
    }

    /// Samples taken in.
    pub fn num_samples(&self) -> usize {
        self.seen
    }

    /// Expected calibration error: Σ over bins of share · |accuracy − mean confidence|, 15 bins of equal width (Guo et al.
    /// 2017, arXiv 1706.04599). NaN of no samples.
    pub fn calibration_error(&self) -> f64 {
        let total: u64 = self.bins.iter().map(|bin| bin.count).sum();
        let gap = |bin: &Bin| (bin.right as f64 - bin.confidence).abs();
        self.bins.iter().map(gap).sum::<f64>() / total as f64
    }

    /// Errors of each class over its samples; NaN of a class without any.
    pub fn class_errors(&self) -> Vec<f64> {
        self.errors.iter().zip(&self.counts).map(|(&errors, &count)| errors as f64 / count as f64).collect()
    }

    /// For the record; none where there were no classes.
    pub(crate) fn answers(&self, step: u64) -> Option<Answers> {
        if self.num_classes == 0 {
            return None;
        }
        let bin = |bin: &Bin| {
            let count = bin.count.max(1) as f64;
            (bin.count, crate::record::compact::rounded(bin.confidence / count), bin.right as f64 / count)
        };
        Some(Answers {
            step,
            confusion: self.confusion.clone(),
            counts: self.counts.clone(),
            errors: self.errors.clone(),
            calibration_error: self.calibration_error(),
            calibration: self.bins.iter().map(bin).collect(),
            ..Answers::default()
        })
    }
}

/// Elements of an input that is kept, at most.
const SMALL: usize = 64 * 64 * 3;

/// The sample at `at`, where it is small and of numbers.
fn small(input: &Tensor, at: usize) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
    let sample = input.get(at)?;
    if sample.elem_count() > SMALL || sample.rank() == 0 {
        return Ok(None);
    }
    let values = sample.to_f64_vec()?.into_iter().map(|x| x as f32).collect();
    Ok(Some((sample.dims().to_vec(), values)))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use glassbox_core::Seed;

    use super::*;

    /// Against the formula of the paper, computed sample by sample in f64.
    #[test]
    fn the_calibration_error_is_that_of_guo() {
        let mut rng = Seed(3).rng();
        let logits: Vec<[f32; 3]> = (0..500).map(|_| std::array::from_fn(|_| (2.0 * rng.normal()) as f32)).collect();
        let targets: Vec<u32> = (0..500).map(|_| rng.below(3) as u32).collect();
        let mut mistakes = Mistakes::default();
        for (logits, targets) in logits.chunks(64).zip(targets.chunks(64)) {
            let logits = Tensor::from_slice(logits.as_flattened(), (logits.len(), 3), &Device::Cpu).unwrap();
            mistakes.update(None, &logits, &Tensor::new(targets, &Device::Cpu).unwrap()).unwrap();
        }
        let mut expected = 0.0;
        for bin in 0..15 {
            let (low, high) = (f64::from(bin) / 15.0, f64::from(bin + 1) / 15.0);
            let (mut confidence, mut right) = (0.0, 0.0);
            for (row, &target) in logits.iter().zip(&targets) {
                let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                let best = (0..3).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
                let p = f64::from(row[best]).exp() / total;
                if p > low && p <= high {
                    confidence += p;
                    right += f64::from(u8::from(best == target as usize));
                }
            }
            expected += (right - confidence).abs() / 500.0;
        }
        assert!((mistakes.calibration_error() - expected).abs() < 1e-12, "{expected}");
        assert_eq!(mistakes.confusion().iter().flatten().sum::<u64>(), 500);
        assert_eq!(mistakes.num_samples(), 500);
        let worst = mistakes.worst();
        assert!(worst.len() == 12 && worst.windows(2).all(|w| w[0].loss >= w[1].loss));
    }

    #[test]
    fn what_is_no_classification_is_left_out() {
        let mut mistakes = Mistakes::default();
        let values = Tensor::new(&[[1f32], [2.0]], &Device::Cpu).unwrap();
        mistakes.update(None, &values, &values).unwrap();
        assert!(mistakes.answers(1).is_none() && mistakes.calibration_error().is_nan());
    }
}
