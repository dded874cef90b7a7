//! The rows of a file, and the lines that they start on.

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};
use glassbox_core::{Error, Result};

/// Reads rows of trimmed cells; `place` names the file in errors.
pub(crate) struct Rows<'a> {
    reader: Reader<&'a [u8]>,
    bytes: &'a [u8],
    place: &'a str,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(bytes: &'a [u8], delimiter: u8, place: &'a str) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(delimiter).trim(Trim::All);
        Self { reader: builder.from_reader(bytes), bytes, place }
    }

    /// Reads the next row into `record`; false at the end.
    pub(crate) fn next(&mut self, record: &mut StringRecord) -> Result<bool> {
        self.reader.read_record(record).map_err(|e| self.syntax_error(&e))
    }

    /// The line of a row, which must have `width` cells, counted from 1.
    pub(crate) fn line(&self, record: &StringRecord, width: usize) -> Result<usize> {
        let line = self.start_of(record);
        if record.len() == width {
            return Ok(line);
        }
        let problem = format!("row of {} values, expected {width}", record.len());
        Err(Error::format(format!("{}:{line}", self.place), problem))
    }

    /// The reader's own count may stand before blank lines and line ends that it has yet to skip.
    fn start_of(&self, record: &StringRecord) -> usize {
        let Some(position) = record.position() else { return 0 };
        let rest = usize::try_from(position.byte()).ok().and_then(|start| self.bytes.get(start..)).unwrap_or_default();
        let skipped = rest.iter().take_while(|b| matches!(b, b'\n' | b'\r')).filter(|&&b| b == b'\n').count();
        position.line() as usize + skipped
    }

    fn syntax_error(&self, error: &csv::Error) -> Error {
        match error.kind() {
            ErrorKind::Utf8 { pos: Some(position), .. } => {
                Error::format(format!("{}:{}", self.place, position.line()), "not UTF-8 text")
            }
            _ => Error::format(self.place, error.to_string()),
        }
    }
}
