//! Which classes are taken for which.

use std::fmt;

use candle_core::Tensor;

use super::classes::ClassBatch;
use super::{Metric, ratio};
use crate::{Error, Result};

/// More classes than this would take most of a gigabyte of counts.
const MAX_CLASSES: usize = 10_000;

/// How often samples of each class were predicted as each class.
///
/// Printed, it is a table with a row for each true class and a column for each predicted one, recall at the right,
/// precision at the bottom, accuracy in the corner. As a [`Metric`] its score is the accuracy, and named so.
///
/// # Shapes
/// As [`Accuracy`](super::Accuracy).
///
/// ```
/// use glassbox_core::ConfusionMatrix;
/// let mut matrix = ConfusionMatrix::new(2)?.class_names(["cat", "dog"])?;
/// for (target, predicted) in [(0, 0), (0, 0), (0, 1), (1, 1)] {
///     matrix.add(target, predicted)?;
/// }
/// println!("{matrix}");
/// # assert_eq!(matrix.to_string(), "\
/// # true \\ predicted     cat     dog  recall
/// # cat                    2       1  0.6667
/// # dog                    0       1  1.0000
/// # precision         1.0000  0.5000  0.7500");
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    class_names: Vec<String>,
    /// (true class, predicted class), row-major.
    counts: Vec<u64>,
    ignore_index: Option<i64>,
}

impl ConfusionMatrix {
    /// No counts yet, for classes 0 to `num_classes` − 1, which are their names too.
    ///
    /// # Errors
    /// `num_classes` is 0 or above 10,000.
    pub fn new(num_classes: usize) -> Result<Self> {
        if num_classes == 0 || num_classes > MAX_CLASSES {
            return Err(Error::invalid(
                "num_classes of the confusion matrix",
                format!("1 to {MAX_CLASSES}"),
                num_classes,
            ));
        }
        let class_names = (0..num_classes).map(|class| class.to_string()).collect();
        Ok(Self { class_names, counts: vec![0; num_classes * num_classes], ignore_index: None })
    }

    /// Names the classes, for the table.
    ///
    /// # Errors
    /// The number of names is not that of the classes.
    pub fn class_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.len() != self.num_classes() {
            return Err(Error::invalid("class names", format!("{} (num_classes)", self.num_classes()), names.len()));
        }
        self.class_names = names;
        Ok(self)
    }

    /// Leaves out the samples whose target is `index`.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.ignore_index = Some(index);
        self
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// Counts one sample of class `target` that was predicted as `predicted`.
    ///
    /// # Errors
    /// One of them is no class.
    pub fn add(&mut self, target: usize, predicted: usize) -> Result<()> {
        let num_classes = self.num_classes();
        if let Some(wrong) = [target, predicted].into_iter().find(|&class| class >= num_classes) {
            return Err(Error::invalid("confusion matrix", format!("a class from 0 to {}", num_classes - 1), wrong));
        }
        self.counts[target * num_classes + predicted] += 1;
        Ok(())
    }

    /// A row for each true class with a column for each predicted one.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.num_classes())
    }

    /// The rows as shares that sum to 1; zeros for a class without samples (scikit-learn's `normalize="true"`).
    pub fn normalised(&self) -> Vec<Vec<f64>> {
        let share = |row: &[u64]| {
            let total = row.iter().sum();
            row.iter().map(|&count| share(count, total)).collect()
        };
        self.rows().map(share).collect()
    }

    /// Each class's share of right ones among its predictions; 0 for a class that is never predicted.
    pub fn precisions(&self) -> Vec<f64> {
        let predicted = |class| self.rows().map(|row| row[class]).sum();
        self.rows().enumerate().map(|(class, row)| share(row[class], predicted(class))).collect()
    }

    /// Each class's share of its samples that are predicted right; 0 for a class without samples.
    pub fn recalls(&self) -> Vec<f64> {
        self.rows().enumerate().map(|(class, row)| share(row[class], row.iter().sum())).collect()
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Metric for ConfusionMatrix {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn update(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let batch = ClassBatch::read(outputs, targets, self.ignore_index)?;
        if batch.num_classes != self.num_classes() {
            let expected = format!("{} classes (num_classes of the confusion matrix)", self.num_classes());
            return Err(Error::invalid("outputs", expected, batch.num_classes));
        }
        batch.pairs.into_iter().try_for_each(|(target, predicted)| self.add(target, predicted))
    }

    fn compute(&self) -> Result<f64> {
        let correct: u64 = self.rows().enumerate().map(|(class, row)| row[class]).sum();
        ratio("confusion_matrix", correct as f64, self.counts.iter().sum::<u64>() as f64)
    }

    fn reset(&mut self) {
        self.counts.fill(0);
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = |values: Vec<f64>| values.iter().map(|v| format!("{v:.4}")).collect::<Vec<_>>();
        let accuracy = self.compute().map(|value| format!("{value:.4}")).unwrap_or_default();
        let mut table = vec![line("true \\ predicted", self.class_names.iter().cloned(), "recall".to_string())];
        for ((name, row), recall) in self.class_names.iter().zip(self.rows()).zip(decimals(self.recalls())) {
            table.push(line(name, row.iter().map(u64::to_string), recall));
        }
        table.push(line("precision", decimals(self.precisions()).into_iter(), accuracy));
        write_aligned(f, &table)
    }
}

fn line(head: &str, cells: impl Iterator<Item = String>, tail: String) -> Vec<String> {
    std::iter::once(head.to_string()).chain(cells).chain([tail]).collect()
}

/// The first column to the left, the others to the right, two spaces between them, no newline at the end.
fn write_aligned(f: &mut fmt::Formatter<'_>, table: &[Vec<String>]) -> fmt::Result {
    let num_columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..num_columns).map(width).collect();
    for (row, line) in table.iter().enumerate() {
        let newline = if row == 0 { "" } else { "\n" };
        write!(f, "{newline}{:<width$}", line[0], width = widths[0])?;
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            write!(f, "  {cell:>width$}")?;
        }
    }
    Ok(())
}
