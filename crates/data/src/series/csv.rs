//! Delimited files to a series.

use std::path::PathBuf;

use glassbox_core::{Error, Result};

use super::clock::ClockReader;
use super::{FillMissing, TimeSeries};
use crate::ColumnId;
use crate::csv::{Cells, Rows, find};
use crate::source::{decompressed, open, read_error};

/// Reads a [`TimeSeries`] from a file with a header, one row a step: a column of time stamps and columns of numbers.
///
/// Unless told otherwise the first column is the time, all others are values, and a missing value (empty, `NA`, `NaN`
/// or `?`) is an error. Stamps are RFC 3339, `YYYY-MM-DD HH:MM:SS`, `YYYY-MM-DD` or `YYYY-MM`, in ascending order and at
/// regular intervals: of constant length, or of calendar months.
///
/// ```
/// use glassbox_data::series::SeriesCsv;
/// let text = "month;sales;visits\n2024-01;3.5;10\n2024-02;4;12\n2024-03;4.5;9\n";
/// let series = SeriesCsv::from_bytes(text).delimiter(b';').values(["sales"]).read()?;
/// assert_eq!((series.num_steps(), series.values()), (3, &[3.5, 4.0, 4.5][..]));
/// assert_eq!(series.time(4).as_deref(), Some("2024-05"));
///
/// let gap = "day,x\n2024-01-01,1\n2024-01-02,2\n2024-01-04,3\n";
/// assert_eq!(
///     SeriesCsv::from_bytes(gap).read().unwrap_err().to_string(),
///     "CSV:4: irregular: `2024-01-04` comes after `2024-01-02` of line 3, expected 1 day later"
/// );
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SeriesCsv {
    source: Source,
    delimiter: u8,
    time: ColumnId,
    values: Option<Vec<ColumnId>>,
    fill: Option<FillMissing>,
}

#[derive(Clone, Debug)]
enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

impl SeriesCsv {
    /// The file at `path`, which [`read`](Self::read) opens; it may be compressed with gzip.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::Path(path.into()))
    }

    /// The text of a file, in memory.
    pub fn from_bytes(text: impl Into<Vec<u8>>) -> Self {
        Self::new(Source::Bytes(text.into()))
    }

    fn new(source: Source) -> Self {
        Self { source, delimiter: b',', time: ColumnId::Index(0), values: None, fill: None }
    }

    /// What separates the values of a row: `;`, a tab, ….
    pub fn delimiter(self, delimiter: u8) -> Self {
        Self { delimiter, ..self }
    }

    /// The column of time stamps.
    pub fn time(self, column: impl Into<ColumnId>) -> Self {
        Self { time: column.into(), ..self }
    }

    /// The columns of values, in this order: the channels of the series.
    pub fn values<C: Into<ColumnId>>(self, columns: impl IntoIterator<Item = C>) -> Self {
        Self { values: Some(columns.into_iter().map(Into::into).collect()), ..self }
    }

    /// Fills missing values.
    pub fn fill(self, fill: FillMissing) -> Self {
        Self { fill: Some(fill), ..self }
    }

    /// Reads the series.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8; a chosen column is not there, or is chosen twice; fewer than two rows.
    /// With the line: a row of another length than the header, a time stamp that cannot be read, is out of order, comes
    /// twice or not an interval after the one before; text in a column of numbers, a missing value without a fill.
    pub fn read(self) -> Result<TimeSeries> {
        match &self.source {
            Source::Path(path) => {
                let place = path.display().to_string();
                let mut bytes = Vec::new();
                let mut reader = decompressed(open(path)?, &place)?;
                reader.read_to_end(&mut bytes).map_err(|e| read_error(&place, e))?;
                self.parse(&bytes, &place)
            }
            Source::Bytes(bytes) => self.parse(bytes, "CSV"),
        }
    }

    fn parse(&self, bytes: &[u8], place: &str) -> Result<TimeSeries> {
        let mut rows = Rows::new(bytes, self.delimiter, place);
        let mut record = csv::StringRecord::new();
        if !rows.next(&mut record)? {
            return Err(Error::format(place, "no rows"));
        }
        let names: Vec<String> = record.iter().map(String::from).collect();
        let (time, columns) = self.choose(&names, place)?;
        let (mut clock, mut cells) = (ClockReader::new(), Cells::default());
        let (mut values, mut lines) = (Vec::new(), Vec::new());
        while rows.next(&mut record)? {
            let line = rows.line(&record, names.len())?;
            let problem = |column: usize, problem: String| {
                Error::format(format!("{place}:{line}"), format!("column `{}`: {problem}", names[column]))
            };
            let stamp = record.get(time).unwrap_or_default();
            clock.take(stamp, line).map_err(|problem| Error::format(format!("{place}:{line}"), problem))?;
            for &column in &columns {
                let text = record.get(column).unwrap_or_default();
                values.push(cells.read(text, self.fill.is_some()).map_err(|e| problem(column, e))?);
            }
            lines.push(line);
        }
        let clock = clock.finish(place)?;
        let channels: Vec<String> = columns.iter().map(|&column| names[column].clone()).collect();
        if let Some(fill) = self.fill {
            fill.apply(&mut values, channels.len()).map_err(|(step, channel)| {
                let line = lines.get(step).copied().unwrap_or_default();
                let problem = format!("column `{}`: missing value with nothing to fill it from", channels[channel]);
                Error::format(format!("{place}:{line}"), problem)
            })?;
        }
        TimeSeries::with_clock(clock, channels, values)
    }

    /// The positions of the time and of the values.
    fn choose(&self, names: &[String], place: &str) -> Result<(usize, Vec<usize>)> {
        let time = find(names, &self.time, "time", place)?;
        let columns: Vec<usize> = match &self.values {
            None => (0..names.len()).filter(|&column| column != time).collect(),
            Some(ids) => ids.iter().map(|id| find(names, id, "value", place)).collect::<Result<_>>()?,
        };
        let twice = |(n, column): (usize, &usize)| columns[..n].contains(column) || *column == time;
        match columns.iter().enumerate().find(|&entry| twice(entry)) {
            Some((_, &column)) => Err(Error::format(place, format!("column `{}` is chosen twice", names[column]))),
            None if columns.is_empty() => Err(Error::format(place, "no column of values")),
            None => Ok((time, columns)),
        }
    }
}
