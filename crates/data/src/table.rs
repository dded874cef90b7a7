//! Rows of features, each with a target.

use candle_core::{Device, Tensor};
use glassbox_core::{Dataset, Error, Result, Rng, Sample};

use crate::images::out_of_range;

/// A feature column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    name: String,
    categories: Option<Vec<String>>,
}

impl Column {
    /// A column of numbers.
    pub fn numeric(name: impl Into<String>) -> Self {
        Self { name: name.into(), categories: None }
    }

    /// A column whose values are indices into `categories`.
    pub fn categorical(name: impl Into<String>, categories: Vec<String>) -> Self {
        Self { name: name.into(), categories: Some(categories) }
    }

    /// The column's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the categories in the order of their indices; none for a column of numbers.
    pub fn categories(&self) -> Option<&[String]> {
        self.categories.as_deref()
    }
}

/// What a [`Table`]'s rows are to be mapped to.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Classification.
    Classes {
        /// The class of each row, an index into `names`.
        labels: Vec<u32>,
        /// What the classes are called.
        names: Vec<String>,
    },
    /// Regression: a value for each row.
    Values(Vec<f64>),
}

/// Rows of numbers, each with a class or a value to predict. A missing feature is NaN until an
/// [`Imputer`](crate::Imputer) fills it; a sample with one is an error, never a silent NaN in training.
///
/// # Shapes
/// A sample's input is (features), f32; its target is a u32 scalar for classes and (1), f32, for values.
///
/// ```
/// use glassbox_data::{Column, Table, Target};
/// let columns = vec![Column::numeric("height"), Column::numeric("weight")];
/// let target = Target::Classes { labels: vec![0, 1], names: vec!["cat".into(), "dog".into()] };
/// let table = Table::new(columns, vec![23.0, 4.1, 61.0, 32.5], "animal", target)?;
/// assert_eq!((table.num_rows(), table.num_features()), (2, 2));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
    values: Vec<f64>,
    target_name: String,
    target: Target,
}

impl Target {
    fn len(&self) -> usize {
        match self {
            Self::Classes { labels, .. } => labels.len(),
            Self::Values(values) => values.len(),
        }
    }
}

impl Table {
    /// A table of `values` in row-major order, as many rows as there are targets.
    ///
    /// # Errors
    /// No row or no column; the number of values is not rows × columns; a class or a category without a name; a target
    /// that is not finite.
    pub fn new(columns: Vec<Column>, values: Vec<f64>, target_name: impl Into<String>, target: Target) -> Result<Self> {
        let table = Self { columns, values, target_name: target_name.into(), target };
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<()> {
        let (rows, columns) = (self.target.len(), self.columns.len());
        if rows == 0 || columns == 0 {
            let got = format!("{rows} rows, {columns} features");
            return Err(Error::invalid("table", "at least one row and one feature", got));
        }
        if rows.checked_mul(columns) != Some(self.values.len()) {
            return Err(Error::invalid("table", format!("{rows} rows of {columns} values"), self.values.len()));
        }
        for (j, column) in self.columns.iter().enumerate() {
            let Some(names) = column.categories() else { continue };
            let is_index = |v: f64| v.is_nan() || (v >= 0.0 && v.fract() == 0.0 && v < names.len() as f64);
            if let Some(v) = self.column_values(j).find(|&v| !is_index(v)) {
                let expected = format!("indices of {} categories", names.len());
                return Err(Error::invalid(format!("column `{}`", column.name), expected, v));
            }
        }
        let bad = match &self.target {
            Target::Classes { labels, names } => labels
                .iter()
                .find(|&&l| l as usize >= names.len())
                .map(|l| (format!("less than {}", names.len()), l.to_string())),
            Target::Values(values) => {
                values.iter().find(|v| !v.is_finite()).map(|v| ("finite values".to_string(), v.to_string()))
            }
        };
        bad.map_or(Ok(()), |(expected, got)| {
            Err(Error::invalid(format!("target `{}`", self.target_name), expected, got))
        })
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.target.len()
    }

    /// Number of feature columns.
    pub fn num_features(&self) -> usize {
        self.columns.len()
    }

    /// The feature columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The features of one row, NaN where missing; none where the index is out of range.
    pub fn row(&self, index: usize) -> Option<&[f64]> {
        self.values.chunks_exact(self.columns.len()).nth(index)
    }

    /// The targets of all rows.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The name of the target column.
    pub fn target_name(&self) -> &str {
        &self.target_name
    }

    /// What the classes are called; empty where the target is a value.
    pub fn class_names(&self) -> &[String] {
        match &self.target {
            Target::Classes { names, .. } => names,
            Target::Values(_) => &[],
        }
    }

    /// The values of feature `column`, from the first row to the last.
    pub(crate) fn column_values(&self, column: usize) -> impl Iterator<Item = f64> + '_ {
        self.values.iter().skip(column).step_by(self.columns.len().max(1)).copied()
    }

    /// The same table with each feature replaced by `f(column, value)`.
    pub(crate) fn map_values(mut self, f: impl Fn(usize, f64) -> f64) -> Self {
        for row in self.values.chunks_exact_mut(self.columns.len()) {
            row.iter_mut().enumerate().for_each(|(j, v)| *v = f(j, *v));
        }
        self
    }

    /// The same table with each categorical column replaced by a column per category, called `column=category`, that is
    /// 1 where the row has that category and 0 elsewhere. A missing value is missing in each of them.
    ///
    /// # Errors
    /// The new table would not fit into memory.
    pub fn one_hot(&self) -> Result<Self> {
        let columns: Vec<Column> = self.columns.iter().flat_map(Column::one_hot).collect();
        let too_large =
            || Error::invalid("one-hot table", "a size that fits into memory", format!("{} columns", columns.len()));
        let count = columns.len().checked_mul(self.num_rows()).ok_or_else(too_large)?;
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| too_large())?;
        for row in self.values.chunks_exact(self.columns.len()) {
            for (column, &v) in self.columns.iter().zip(row) {
                match column.categories() {
                    None => values.push(v),
                    Some(names) if v.is_nan() => values.extend(names.iter().map(|_| v)),
                    Some(names) => values.extend((0..names.len()).map(|i| f64::from(u8::from(i as f64 == v)))),
                }
            }
        }
        Self::new(columns, values, self.target_name.clone(), self.target.clone())
    }

    fn sample(&self, index: usize) -> Result<Option<Sample>> {
        let Some(row) = self.row(index) else { return Ok(None) };
        let input: Vec<f32> = row.iter().map(|&v| v as f32).collect();
        if let Some(j) = input.iter().position(|v| !v.is_finite()) {
            let what = format!("column `{}` of row {index}", self.columns[j].name);
            let got = if row[j].is_nan() { "a missing value (see Imputer)".into() } else { row[j].to_string() };
            return Err(Error::invalid(what, "a finite 32-bit number", got));
        }
        let target = match &self.target {
            Target::Classes { labels, .. } => Tensor::new(labels[index], &Device::Cpu)?,
            Target::Values(values) => Tensor::new(&[values[index] as f32], &Device::Cpu)?,
        };
        Ok(Some(Sample { input: Tensor::new(input, &Device::Cpu)?, target }))
    }
}

impl Column {
    fn one_hot(&self) -> Vec<Column> {
        match &self.categories {
            None => vec![self.clone()],
            Some(names) => names.iter().map(|name| Self::numeric(format!("{}={name}", self.name))).collect(),
        }
    }
}

impl Dataset for Table {
    type Item = Sample;

    fn len(&self) -> usize {
        self.num_rows()
    }

    fn get(&self, index: usize, _rng: &mut Rng) -> Result<Sample> {
        self.sample(index)?.ok_or_else(|| out_of_range(index, self.num_rows()))
    }

    fn class(&self, index: usize) -> Result<Option<usize>> {
        match &self.target {
            Target::Classes { labels, .. } => {
                let label = labels.get(index).ok_or_else(|| out_of_range(index, labels.len()))?;
                Ok(Some(*label as usize))
            }
            Target::Values(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassbox_core::Seed;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| n.to_string()).collect()
    }

    fn table() -> Table {
        let columns = vec![Column::numeric("size"), Column::categorical("color", strings(&["blue", "red"]))];
        let values = vec![1.5, 1.0, f64::NAN, 0.0, 2.0, f64::NAN];
        Table::new(columns, values, "price", Target::Values(vec![10.0, 20.0, 30.0])).unwrap()
    }

    #[test]
    fn rows_are_samples() {
        let sample = table().get(0, &mut Seed(1).rng()).unwrap();
        assert_eq!(sample.input.to_vec1::<f32>().unwrap(), [1.5, 1.0]);
        assert_eq!(sample.target.to_vec1::<f32>().unwrap(), [10.0]);
        assert_eq!((table().class(0).unwrap(), table().len()), (None, 3));
        assert!(table().get(3, &mut Seed(1).rng()).unwrap_err().to_string().contains("less than 3, got 3"));
    }

    #[test]
    fn missing_and_overflowing_values_are_errors() {
        let missing = table().get(1, &mut Seed(1).rng()).unwrap_err().to_string();
        assert!(missing.starts_with("column `size` of row 1: expected a finite 32-bit number, got a missing value"));
        let columns = vec![Column::numeric("x")];
        let huge = Table::new(columns, vec![1e300], "y", Target::Values(vec![1.0])).unwrap();
        assert!(huge.get(0, &mut Seed(1).rng()).is_err());
    }

    #[test]
    fn one_hot_spreads_categories() {
        let spread = table().one_hot().unwrap();
        let names: Vec<&str> = spread.columns().iter().map(Column::name).collect();
        assert_eq!(names, ["size", "color=blue", "color=red"]);
        assert_eq!(spread.row(0).unwrap(), [1.5, 0.0, 1.0]);
        assert_eq!(spread.row(1).unwrap()[1..], [1.0, 0.0]);
        assert!(spread.row(2).unwrap()[1..].iter().all(|v| v.is_nan()));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let classes = |labels: Vec<u32>| Target::Classes { labels, names: strings(&["a", "b"]) };
        let error =
            |columns: Vec<Column>, values, target| Table::new(columns, values, "y", target).unwrap_err().to_string();
        let x = || vec![Column::numeric("x")];
        assert!(error(x(), vec![], classes(vec![])).contains("got 0 rows, 1 features"));
        assert!(error(vec![], vec![], classes(vec![0])).contains("got 1 rows, 0 features"));
        assert!(error(x(), vec![1.0], classes(vec![0, 1])).contains("expected 2 rows of 1 values, got 1"));
        assert_eq!(error(x(), vec![1.0], classes(vec![2])), "target `y`: expected less than 2, got 2");
        assert!(error(x(), vec![1.0], Target::Values(vec![f64::NAN])).contains("finite"));
        let color = vec![Column::categorical("c", strings(&["a"]))];
        assert!(error(color, vec![1.0], classes(vec![0])).contains("indices of 1 categories, got 1"));
    }
}
