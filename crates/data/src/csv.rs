//! Comma-separated values to a table.

use std::collections::HashMap;
use std::path::PathBuf;

use glassbox_core::{Error, Result};

use crate::source::{open, read_at_most};
use crate::{Column, Table, Target};

mod column;
mod id;
mod rows;
use column::Categories;
pub(crate) use column::Cells;
pub use id::ColumnId;
pub(crate) use id::find;
pub(crate) use rows::Rows;

/// Reads a [`Table`] from comma-separated values (RFC 4180, UTF-8): which column is the target, which are features,
/// and what they hold.
///
/// Unless told otherwise the first row is a header, every column but the target is a feature, a feature is a number,
/// and a missing value (empty, `NA`, `NaN` or `?`, in any case) is an error. Spaces around a value are ignored.
///
/// ```
/// use glassbox_data::Csv;
/// let text = "color,size,animal\nbrown,61,dog\nblack,23,cat\n";
/// let table = Csv::from_bytes(text).class_target("animal").categorical(["color"]).read()?;
/// assert_eq!(table.class_names(), ["cat", "dog"]);
/// assert_eq!(table.row(0), Some(&[1.0, 61.0][..]));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Csv {
    source: Source,
    header: bool,
    delimiter: u8,
    target: Option<(ColumnId, TargetKind)>,
    features: Option<Vec<ColumnId>>,
    categorical: Vec<ColumnId>,
    allow_missing: bool,
    vocabularies: HashMap<String, Vec<String>>,
}

#[derive(Clone, Debug)]
enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum TargetKind {
    Class,
    Value,
}

/// A column of the file that the table takes.
struct Chosen {
    index: usize,
    name: String,
    cells: Cells,
}

impl Csv {
    /// The file at `path`, which [`read`](Self::read) opens.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::Path(path.into()))
    }

    /// The text of a file, in memory.
    pub fn from_bytes(text: impl Into<Vec<u8>>) -> Self {
        Self::new(Source::Bytes(text.into()))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            header: true,
            delimiter: b',',
            target: None,
            features: None,
            categorical: Vec::new(),
            allow_missing: false,
            vocabularies: HashMap::new(),
        }
    }

    /// The first row is data; the columns are called `column_0`, `column_1`, …
    pub fn no_header(mut self) -> Self {
        self.header = false;
        self
    }

    /// What separates the values of a row: `;`, a tab, ….
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// The target is a class: its distinct values, sorted (as numbers where all are integers), are the classes.
    pub fn class_target(mut self, column: impl Into<ColumnId>) -> Self {
        self.target = Some((column.into(), TargetKind::Class));
        self
    }

    /// The target is a number, for regression.
    pub fn value_target(mut self, column: impl Into<ColumnId>) -> Self {
        self.target = Some((column.into(), TargetKind::Value));
        self
    }

    /// The columns to take as features, in this order.
    pub fn features<C: Into<ColumnId>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.features = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Features that are names rather than numbers: a value becomes its index among the column's distinct values,
    /// sorted.
    pub fn categorical<C: Into<ColumnId>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.categorical.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Missing features become NaN, for an [`Imputer`](crate::Imputer) to fill. A missing target stays an error.
    pub fn allow_missing(mut self) -> Self {
        self.allow_missing = true;
        self
    }

    /// Takes the same columns as `table`, by name, with the same categories and classes, so that a second file means
    /// the same by the same number: `table` as it was read, before [`Table::one_hot`]. A category or class that it
    /// lacks is an error.
    pub fn like(mut self, table: &Table) -> Self {
        let name = table.target_name().to_string();
        self.target = Some(match table.target() {
            Target::Classes { names, .. } => {
                self.vocabularies.insert(name.clone(), names.clone());
                (name.into(), TargetKind::Class)
            }
            Target::Values(_) => (name.into(), TargetKind::Value),
        });
        for column in table.columns() {
            if let Some(categories) = column.categories() {
                self.categorical.push(column.name().into());
                self.vocabularies.insert(column.name().to_string(), categories.to_vec());
            }
        }
        self.features(table.columns().iter().map(Column::name))
    }

    /// Reads the table.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8; no target was chosen; a chosen column is not there (the error lists
    /// those that are), is there twice, or is chosen twice. With the line: a row of another length than the first, text
    /// in a column of numbers, a number that is not finite, a missing value that is not allowed, an unknown category.
    pub fn read(self) -> Result<Table> {
        let place = match &self.source {
            Source::Path(path) => path.display().to_string(),
            Source::Bytes(_) => "CSV".to_string(),
        };
        match &self.source {
            Source::Path(path) => {
                let bytes = read_at_most(&mut open(path)?, u64::MAX, &place)?;
                self.parse(&bytes, &place)
            }
            Source::Bytes(bytes) => self.parse(bytes, &place),
        }
    }

    fn parse(&self, bytes: &[u8], place: &str) -> Result<Table> {
        let mut rows = Rows::new(bytes, self.delimiter, place);
        let mut record = csv::StringRecord::new();
        if !rows.next(&mut record)? {
            return Err(Error::format(place, "no rows"));
        }
        let names: Vec<String> = match self.header {
            true => record.iter().map(String::from).collect(),
            false => (0..record.len()).map(|i| format!("column_{i}")).collect(),
        };
        let (mut features, mut target) = self.choose(&names, place)?;
        let mut values = Vec::new();
        let mut more = if self.header { rows.next(&mut record)? } else { true };
        while more {
            let line = rows.line(&record, names.len())?;
            for column in &mut features {
                values.push(column.read(&record, self.allow_missing, place, line)?);
            }
            let value = target.read(&record, false, place, line)?;
            target.cells.keep(value);
            more = rows.next(&mut record)?;
        }
        self.finish(features, target, values, place)
    }

    fn choose(&self, names: &[String], place: &str) -> Result<(Vec<Chosen>, Chosen)> {
        let find = |id: &ColumnId, what: &str| find(names, id, what, place);
        let Some((target_id, kind)) = &self.target else {
            return Err(Error::format(place, format!("no target chosen; columns are {}", names.join(", "))));
        };
        let target = find(target_id, "target")?;
        let indices: Vec<usize> = match &self.features {
            None => (0..names.len()).filter(|&i| i != target).collect(),
            Some(ids) => ids.iter().map(|id| find(id, "feature")).collect::<Result<_>>()?,
        };
        let categorical = self.categorical.iter().map(|id| find(id, "categorical")).collect::<Result<Vec<_>>>()?;
        if let Some(&i) =
            indices.iter().enumerate().find_map(|(n, i)| (indices[..n].contains(i) || *i == target).then_some(i))
        {
            return Err(Error::format(place, format!("column `{}` is chosen twice", names[i])));
        }
        if let Some(&i) = categorical.iter().find(|i| !indices.contains(i)) {
            return Err(Error::format(place, format!("categorical column `{}` is not among the features", names[i])));
        }
        let chosen = |index: usize, categorical: bool| {
            let name = names[index].clone();
            let cells = if categorical { Cells::categories(self.vocabularies.get(&name)) } else { Cells::default() };
            Chosen { index, name, cells }
        };
        let features = indices.into_iter().map(|i| chosen(i, categorical.contains(&i))).collect();
        Ok((features, chosen(target, matches!(kind, TargetKind::Class))))
    }

    fn finish(&self, features: Vec<Chosen>, target: Chosen, mut values: Vec<f64>, place: &str) -> Result<Table> {
        let width = features.len();
        let mut columns = Vec::with_capacity(width);
        for (j, Chosen { name, cells, .. }) in features.into_iter().enumerate() {
            columns.push(match cells.categories {
                None => Column::numeric(name),
                Some(categories) => {
                    let (order, names) = categories.sorted();
                    values.iter_mut().skip(j).step_by(width).for_each(|v| *v = Categories::renumber(&order, *v));
                    Column::categorical(name, names)
                }
            });
        }
        let kept = target.cells.kept;
        let targets = match target.cells.categories {
            None => Target::Values(kept),
            Some(categories) => {
                let (order, names) = categories.sorted();
                let labels = kept.into_iter().map(|v| Categories::renumber(&order, v) as u32).collect();
                Target::Classes { labels, names }
            }
        };
        Table::new(columns, values, target.name, targets).map_err(|e| Error::format(place, e.to_string()))
    }
}

impl Chosen {
    fn read(&mut self, record: &csv::StringRecord, allow_missing: bool, place: &str, line: usize) -> Result<f64> {
        let text = record.get(self.index).unwrap_or_default();
        self.cells
            .read(text, allow_missing)
            .map_err(|problem| Error::format(format!("{place}:{line}"), format!("column `{}`: {problem}", self.name)))
    }
}

#[cfg(test)]
mod tests;
