//! The share of samples whose class is predicted.

use candle_core::Tensor;

use super::classes::{ClassBatch, read_targets, several_scores_shape};
use super::{Metric, ratio};
use crate::{Error, Result, TensorExt};

/// The share of samples whose class has the highest score, from 0 to 1: `correct / total`.
///
/// Among equal highest scores the first class is the prediction, as with NumPy's `argmax`.
///
/// # Shapes
/// Outputs (batch, …, num_classes) of scores with targets (batch, …) of classes; or binary: outputs (batch) or
/// (batch, …, 1) of logits, where above 0 is class 1, with targets of 0 and 1 of the same shape, integers or floats.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Accuracy, Metric};
/// let scores = Tensor::new(&[[0.1f32, 0.9], [0.8, 0.2], [0.3, 0.7]], &Device::Cpu)?;
/// let mut accuracy = Accuracy::default();
/// accuracy.update(&scores, &Tensor::new(&[1u32, 0, 0], &Device::Cpu)?)?;
/// assert_eq!(accuracy.compute()?, 2.0 / 3.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    hits: Hits,
    ignore_index: Option<i64>,
}

impl Accuracy {
    /// Leaves out the samples whose target is `index`, such as PyTorch's −100 of padding.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.ignore_index = Some(index);
        self
    }
}

impl Metric for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let batch = ClassBatch::read(outputs, targets, self.ignore_index)?;
        self.hits.correct += batch.pairs.iter().filter(|(target, predicted)| target == predicted).count() as u64;
        self.hits.total += batch.pairs.len() as u64;
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        self.hits.share(self.name())
    }

    fn reset(&mut self) {
        self.hits = Hits::default();
    }
}

/// The share of samples whose class is among the `k` highest scores, from 0 to 1; named `top_5_accuracy` where `k` is 5.
///
/// Among equal scores the higher class ranks first, as in scikit-learn's `top_k_accuracy_score`; so with ties the top 1
/// may differ from [`Accuracy`].
///
/// # Shapes
/// Outputs (batch, …, num_classes) of scores with targets (batch, …) of classes; `k` from 1 to num_classes.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    name: String,
    hits: Hits,
    ignore_index: Option<i64>,
}

impl TopK {
    /// The accuracy of the `k` highest scores.
    pub fn new(k: usize) -> Self {
        Self { k, name: format!("top_{k}_accuracy"), hits: Hits::default(), ignore_index: None }
    }

    /// Leaves out the samples whose target is `index`.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.ignore_index = Some(index);
        self
    }
}

impl Metric for TopK {
    fn name(&self) -> &str {
        &self.name
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let (samples, num_classes) = several_scores_shape(outputs)?;
        if self.k == 0 || self.k > num_classes {
            return Err(Error::invalid("k of the top-k accuracy", format!("1 to {num_classes} (num_classes)"), self.k));
        }
        let targets = read_targets(samples, targets, num_classes, self.ignore_index)?;
        let scores = outputs.to_f64_vec()?;
        for (row, target) in scores.chunks_exact(num_classes).zip(targets) {
            let Some(target) = target else { continue };
            self.hits.correct += u64::from(rank(row, target) < self.k);
            self.hits.total += 1;
        }
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        self.hits.share(&self.name)
    }

    fn reset(&mut self) {
        self.hits = Hits::default();
    }
}

/// Number of classes that rank before `class`. Written so that a NaN ranks before everything and never scores a hit.
fn rank(scores: &[f64], class: usize) -> usize {
    let own = scores[class];
    let after = |(other, &score): (usize, &f64)| score < own || (score == own && other <= class);
    scores.len() - scores.iter().enumerate().filter(|&pair| after(pair)).count()
}

#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    correct: u64,
    total: u64,
}

impl Hits {
    fn share(self, name: &str) -> Result<f64> {
        ratio(name, self.correct as f64, self.total as f64)
    }
}
