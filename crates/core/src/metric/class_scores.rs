//! Precision, recall and the F-beta score.

use candle_core::Tensor;

use super::classes::ClassBatch;
use super::{Metric, nothing_taken_in};
use crate::{Error, Result};

/// How the scores of the classes become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Average {
    /// The mean over the classes that occur as a target or as a prediction, whatever their size (scikit-learn's `macro`).
    #[default]
    Macro,
    /// The score of all classes' counts added up (scikit-learn's `micro`). Where no index is ignored and every sample has
    /// one class, precision, recall and F are then all the accuracy.
    Micro,
    /// The score of one class alone; `Class(1)` is scikit-learn's `binary`.
    Class(usize),
}

impl Average {
    fn suffix(self) -> String {
        match self {
            Self::Macro => "macro".to_string(),
            Self::Micro => "micro".to_string(),
            Self::Class(class) => format!("class_{class}"),
        }
    }
}

/// One class's counts.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Predicted and right: true positives.
    hits: u64,
    /// Predicted: true and false positives.
    predicted: u64,
    /// The target: true positives and false negatives.
    actual: u64,
}

/// `(p + a) · hits / (p · predicted + a · actual)` with weights p and a: precision is (1, 0), recall (0, 1) and F-beta
/// (1, beta²). A division by zero gives 0.
#[derive(Clone, Debug)]
struct ClassScore {
    name: String,
    weights: (f64, f64),
    average: Average,
    ignore_index: Option<i64>,
    /// By class; empty until the first batch tells the number of classes.
    tallies: Vec<Tally>,
}

impl ClassScore {
    fn new(kind: &str, weights: (f64, f64), average: Average) -> Self {
        let name = format!("{kind}_{}", average.suffix());
        Self { name, weights, average, ignore_index: None, tallies: vec![] }
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let batch = ClassBatch::read(outputs, targets, self.ignore_index)?;
        self.expect_classes(batch.num_classes)?;
        self.tallies.resize(batch.num_classes, Tally::default());
        for (target, predicted) in batch.pairs {
            self.tallies[target].hits += u64::from(target == predicted);
            self.tallies[target].actual += 1;
            self.tallies[predicted].predicted += 1;
        }
        Ok(())
    }

    fn expect_classes(&self, num_classes: usize) -> Result<()> {
        let what = || format!("metric `{}`", self.name);
        if !self.tallies.is_empty() && self.tallies.len() != num_classes {
            let expected = format!("{} classes, as in the batches before", self.tallies.len());
            return Err(Error::invalid(what(), expected, num_classes));
        }
        match self.average {
            Average::Class(class) if class >= num_classes => {
                Err(Error::invalid(what(), format!("a class from 0 to {}", num_classes - 1), class))
            }
            _ => Ok(()),
        }
    }

    fn compute(&self) -> Result<f64> {
        let seen: Vec<Tally> = self.tallies.iter().copied().filter(|t| t.predicted + t.actual > 0).collect();
        if seen.is_empty() {
            return Err(nothing_taken_in(&self.name));
        }
        Ok(match self.average {
            Average::Macro => seen.iter().map(|t| self.score(*t)).sum::<f64>() / seen.len() as f64,
            Average::Micro => self.score(seen.iter().fold(Tally::default(), |a, b| a.plus(*b))),
            Average::Class(class) => self.score(self.tallies.get(class).copied().unwrap_or_default()),
        })
    }

    fn score(&self, tally: Tally) -> f64 {
        let (p, a) = self.weights;
        let below = p * tally.predicted as f64 + a * tally.actual as f64;
        if below == 0.0 { 0.0 } else { (p + a) * tally.hits as f64 / below }
    }
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            predicted: self.predicted + other.predicted,
            actual: self.actual + other.actual,
        }
    }
}

/// The three public scores differ in their weights alone.
macro_rules! class_score {
    ($score:ident) => {
        impl $score {
            /// Leaves out the samples whose target is `index`.
            pub fn ignore_index(mut self, index: i64) -> Self {
                self.0.ignore_index = Some(index);
                self
            }
        }

        impl Metric for $score {
            fn name(&self) -> &str {
                &self.0.name
            }

            fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
                self.0.update(outputs, targets)
            }

            fn compute(&self) -> Result<f64> {
                self.0.compute()
            }

            fn reset(&mut self) {
                self.0.tallies.clear();
            }
        }
    };
}

/// The share of the predictions of a class that are right: `true positives / (true positives + false positives)`, 0 for a
/// class that is never predicted (scikit-learn's `zero_division=0`).
///
/// Named `precision_macro`, `precision_micro` or `precision_class_1`.
///
/// # Shapes
/// As [`Accuracy`](super::Accuracy).
#[derive(Clone, Debug)]
pub struct Precision(ClassScore);

impl Precision {
    /// Precision with the given average over the classes.
    pub fn new(average: Average) -> Self {
        Self(ClassScore::new("precision", (1.0, 0.0), average))
    }
}

class_score!(Precision);

/// The share of a class's samples that are predicted as such: `true positives / (true positives + false negatives)`, 0 for
/// a class without samples that is predicted (scikit-learn's `zero_division=0`).
///
/// Named `recall_macro`, `recall_micro` or `recall_class_1`.
///
/// # Shapes
/// As [`Accuracy`](super::Accuracy).
#[derive(Clone, Debug)]
pub struct Recall(ClassScore);

impl Recall {
    /// Recall with the given average over the classes.
    pub fn new(average: Average) -> Self {
        Self(ClassScore::new("recall", (0.0, 1.0), average))
    }
}

class_score!(Recall);

/// The weighted harmonic mean of precision and recall, `(1 + beta²) · precision · recall / (beta² · precision + recall)`,
/// in which recall counts `beta` times as much (van Rijsbergen, Information Retrieval, 1979).
///
/// Named `f1_macro`, `f1_micro` or `f1_class_1` where `beta` is 1, `f0_5_macro` where it is 0.5.
///
/// # Shapes
/// As [`Accuracy`](super::Accuracy).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{FBeta, Metric, metric::Average};
/// let logits = Tensor::new(&[3f32, 2., -1., 1.], &Device::Cpu)?;
/// let mut f1 = FBeta::new(1.0, Average::Class(1))?;
/// f1.update(&logits, &Tensor::new(&[1f32, 0., 1., 1.], &Device::Cpu)?)?; // precision 2/3, recall 2/3
/// assert!((f1.compute()? - 2.0 / 3.0).abs() < 1e-12);
/// assert_eq!(f1.name(), "f1_class_1");
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FBeta(ClassScore);

impl FBeta {
    /// F-beta with the given average over the classes.
    ///
    /// # Errors
    /// `beta` is not finite or not above 0.
    pub fn new(beta: f64, average: Average) -> Result<Self> {
        if !(beta.is_finite() && beta > 0.0) {
            return Err(Error::invalid("beta of the F score", "a finite number above 0", beta));
        }
        let kind = format!("f{beta}").replace('.', "_");
        Ok(Self(ClassScore::new(&kind, (1.0, beta * beta), average)))
    }
}

class_score!(FBeta);
