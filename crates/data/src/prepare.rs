//! Filling and scaling a table's features, with statistics from the training rows alone.

use std::sync::Arc;

use glassbox_core::dataset::Subset;
use glassbox_core::{Error, Result};

use crate::{Column, Table};

/// What a missing number is replaced with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// The column's mean over the training rows.
    Mean,
    /// The column's median over the training rows; of an even number of values, the mean of the middle two.
    Median,
    /// This value.
    Constant(f64),
}

/// Fills missing values. A missing category becomes the most frequent one, whatever the fill.
///
/// ```
/// use glassbox_data::{Column, Fill, Imputer, Table, Target};
/// let columns = vec![Column::numeric("age")];
/// let table = Table::new(columns, vec![20.0, 40.0, f64::NAN], "y", Target::Values(vec![1.0, 2.0, 3.0]))?;
/// let filled = Imputer::fit(&table, &[0, 1], Fill::Mean)?.apply(table)?;
/// assert_eq!(filled.row(2), Some(&[30.0][..]));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Imputer {
    columns: Vec<Column>,
    fills: Vec<f64>,
}

impl Imputer {
    /// Learns from the rows whose indices are `training_rows`.
    ///
    /// # Errors
    /// No row, or one that is not there; a column without a value in those rows, where the fill needs one; a constant
    /// that is not finite.
    pub fn fit(table: &Table, training_rows: &[usize], fill: Fill) -> Result<Self> {
        check_rows(table, training_rows)?;
        let fills = table.columns().iter().enumerate().map(|(j, column)| {
            let present = present(table, training_rows, j);
            let value = match (column.categories(), fill) {
                (Some(_), _) => most_frequent(&present),
                (None, Fill::Constant(value)) => Some(value),
                (None, Fill::Mean) => (!present.is_empty()).then(|| mean(&present)),
                (None, Fill::Median) => median(present),
            };
            value.filter(|v| v.is_finite()).ok_or_else(|| {
                let what = format!("fill of column `{}`", column.name());
                Error::invalid(what, "a value in the training rows, or a finite constant", "none")
            })
        });
        Ok(Self { fills: fills.collect::<Result<_>>()?, columns: table.columns().to_vec() })
    }

    /// `table` with nothing missing.
    ///
    /// # Errors
    /// Its columns are not those of the table that was fitted.
    pub fn apply(&self, table: Table) -> Result<Table> {
        check_columns(&self.columns, &table)?;
        Ok(table.map_values(|j, v| if v.is_nan() { self.fills[j] } else { v }))
    }

    /// As [`apply`](Self::apply), of a part of a table.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_to_part(&self, part: &Subset<Table>) -> Result<Subset<Table>> {
        part_of(self.apply(Table::clone(part.dataset()))?, part)
    }
}

/// Scales each numeric column to mean 0 and standard deviation 1 over the training rows: `(x − mean) / std`.
///
/// As scikit-learn's `StandardScaler`: the population's deviation (divided by the number of rows), 1 where a column is
/// constant, missing values passed over. Categorical columns are left alone. Of a time series, with the feature `csv`:
/// `fit_series`, `apply_to_series` and, for forecasts, `restore`.
///
/// ```
/// use glassbox_core::{DatasetExt, Seed};
/// use glassbox_data::{Standardizer, breast_cancer};
/// let (train, test) = breast_cancer()?.split_stratified(0.8, Seed(7))?;
/// let standardizer = Standardizer::fit(train.dataset(), train.indices())?;
/// let (train, test) = (standardizer.apply_to_part(&train)?, standardizer.apply_to_part(&test)?);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Standardizer {
    pub(crate) columns: Vec<Column>,
    means: Vec<f64>,
    stds: Vec<f64>,
}

impl Standardizer {
    /// Learns from the rows whose indices are `training_rows`.
    ///
    /// # Errors
    /// No row, or one that is not there; values so large that their variance is not finite.
    pub fn fit(table: &Table, training_rows: &[usize]) -> Result<Self> {
        check_rows(table, training_rows)?;
        let numbers = |j: usize| match table.columns()[j].categories() {
            Some(_) => vec![],
            None => present(table, training_rows, j),
        };
        Self::learn(table.columns().to_vec(), numbers)
    }

    /// From the numbers of each column, by its index.
    pub(crate) fn learn(columns: Vec<Column>, numbers: impl Fn(usize) -> Vec<f64>) -> Result<Self> {
        let (mut means, mut stds) = (Vec::new(), Vec::new());
        for (j, column) in columns.iter().enumerate() {
            let (mean, std) = mean_and_std(&numbers(j));
            if !(mean.is_finite() && std.is_finite()) {
                let what = format!("variance of column `{}`", column.name());
                return Err(Error::invalid(what, "finite", format!("mean {mean}, standard deviation {std}")));
            }
            means.push(mean);
            stds.push(std);
        }
        Ok(Self { columns, means, stds })
    }

    /// `table`, scaled.
    ///
    /// # Errors
    /// Its columns are not those of the table that was fitted.
    pub fn apply(&self, table: Table) -> Result<Table> {
        check_columns(&self.columns, &table)?;
        Ok(table.map_values(|j, v| (v - self.means[j]) / self.stds[j]))
    }

    /// As [`apply`](Self::apply), of a part of a table.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_to_part(&self, part: &Subset<Table>) -> Result<Subset<Table>> {
        part_of(self.apply(Table::clone(part.dataset()))?, part)
    }

    /// The mean that is subtracted from each column; 0 for a categorical one.
    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// What each column is divided by; 1 for a constant or categorical one.
    pub fn stds(&self) -> &[f64] {
        &self.stds
    }
}

/// The rows of `table` that `part` has of its own.
fn part_of(table: Table, part: &Subset<Table>) -> Result<Subset<Table>> {
    Subset::new(Arc::new(table), part.indices().to_vec())
}

fn check_rows(table: &Table, rows: &[usize]) -> Result<()> {
    let count = table.num_rows();
    match rows.iter().find(|&&row| row >= count) {
        Some(row) => Err(Error::invalid("training row", format!("less than {count}"), row)),
        None if rows.is_empty() => Err(Error::invalid("training rows", "at least one", "none")),
        None => Ok(()),
    }
}

fn check_columns(fitted: &[Column], table: &Table) -> Result<()> {
    if fitted == table.columns() {
        return Ok(());
    }
    let names = |columns: &[Column]| columns.iter().map(Column::name).collect::<Vec<_>>().join(", ");
    let expected = format!("those that were fitted: {}", names(fitted));
    Err(Error::invalid("columns and their categories", expected, names(table.columns())))
}

fn present(table: &Table, rows: &[usize], column: usize) -> Vec<f64> {
    let value = |&row: &usize| table.row(row).and_then(|values| values.get(column)).copied();
    rows.iter().filter_map(value).filter(|v| !v.is_nan()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// (0, 1) where there is no value.
fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let Some(&first) = values.first() else { return (0.0, 1.0) };
    if values.iter().all(|&v| v == first) {
        return (first, 1.0);
    }
    let mean = mean(values);
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    // The variance of denormal numbers can round to nothing.
    (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

/// Of equally frequent ones, the smallest index.
fn most_frequent(indices: &[f64]) -> Option<f64> {
    let mut sorted = indices.to_vec();
    sorted.sort_by(f64::total_cmp);
    let runs = sorted.chunk_by(|a, b| a == b);
    runs.rev().max_by_key(|run| run.len()).and_then(|run| run.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    const NAN: f64 = f64::NAN;

    fn table(values: Vec<f64>) -> Table {
        let targets = Target::Values(vec![0.0; values.len() / 2]);
        let categories = ["a", "b", "c"].map(String::from).to_vec();
        let columns = vec![Column::numeric("x"), Column::categorical("c", categories)];
        Table::new(columns, values, "y", targets).unwrap()
    }

    fn filled(fill: Fill, rows: &[usize]) -> Vec<f64> {
        let table = table(vec![1.0, 2.0, 2.0, 0.0, 6.0, 2.0, 100.0, 0.0, NAN, NAN]);
        Imputer::fit(&table, rows, fill).unwrap().apply(table).unwrap().row(4).unwrap().to_vec()
    }

    #[test]
    fn fills_come_from_the_training_rows() {
        assert_eq!(filled(Fill::Mean, &[0, 1, 2]), [3.0, 2.0]);
        assert_eq!(filled(Fill::Median, &[0, 1, 2, 4]), [2.0, 2.0]);
        assert_eq!(filled(Fill::Median, &[0, 1, 2, 3]), [4.0, 0.0]);
        assert_eq!(filled(Fill::Constant(-1.0), &[0]), [-1.0, 2.0]);
        let missing = table(vec![NAN, 0.0, 1.0, 0.0]);
        let error = Imputer::fit(&missing, &[0], Fill::Mean).unwrap_err().to_string();
        assert!(error.starts_with("fill of column `x`: expected a value in the training rows"), "{error}");
        assert!(Imputer::fit(&missing, &[0], Fill::Constant(NAN)).is_err());
    }

    #[test]
    fn standardizes_with_the_training_rows_statistics() {
        let table = table(vec![1.0, 2.0, 3.0, 0.0, 11.0, 1.0, NAN, 1.0]);
        let standardizer = Standardizer::fit(&table, &[0, 1, 3]).unwrap();
        assert_eq!((standardizer.means(), standardizer.stds()), (&[2.0, 0.0][..], &[1.0, 1.0][..]));
        let scaled = standardizer.apply(table.clone()).unwrap();
        assert_eq!((scaled.row(0).unwrap(), scaled.row(2).unwrap()), (&[-1.0, 2.0][..], &[9.0, 1.0][..]));
        assert!(scaled.row(3).unwrap()[0].is_nan());
        let part = Subset::new(Arc::new(table), vec![2]).unwrap();
        let scaled_part = standardizer.apply_to_part(&part).unwrap();
        assert_eq!((scaled_part.indices(), scaled_part.dataset().row(2)), (&[2][..], scaled.row(2)));
    }

    #[test]
    fn a_constant_column_becomes_zero() {
        // The mean of three times 0.1 is not 0.1 in floating point; the result must be 0 all the same.
        let table = table(vec![0.1, 0.0, 0.1, 0.0, 0.1, 0.0]);
        let scaled = Standardizer::fit(&table, &[0, 1, 2]).unwrap().apply(table).unwrap();
        assert_eq!(scaled.row(2).unwrap()[0], 0.0);
    }

    #[test]
    fn wrong_rows_and_columns_are_errors() {
        let table = table(vec![1.0, 0.0, 2.0, 0.0]);
        assert_eq!(
            Standardizer::fit(&table, &[2]).unwrap_err().to_string(),
            "training row: expected less than 2, got 2"
        );
        assert!(Imputer::fit(&table, &[], Fill::Mean).is_err());
        let standardizer = Standardizer::fit(&table, &[0, 1]).unwrap();
        let error = standardizer.apply(table.one_hot().unwrap()).unwrap_err().to_string();
        assert!(error.contains("those that were fitted: x, c, got x, c=a, c=b, c=c"), "{error}");
        let huge =
            Table::new(vec![Column::numeric("x")], vec![1e308, -1e308], "y", Target::Values(vec![0.0; 2])).unwrap();
        assert!(Standardizer::fit(&huge, &[0, 1]).unwrap_err().to_string().contains("variance of column `x`"));
    }
}
