//! The report of a run: one HTML file that opens from disk and asks for nothing from anywhere.
//!
//! [`Lens`](crate::Lens) writes it at the end of a run. [`Report::of_run`] makes it again from the folder of a run, and
//! [`compare`] puts two runs side by side.

mod chart;
mod compare;
mod figure;
mod heat;
mod own;
mod page;
mod png;
mod sections;
pub(crate) mod svg;
mod views;

use std::path::Path;

use glassbox_core::{Result, write_atomic};

use crate::record::Record;
use crate::rules::number;
use page::Page;

pub(crate) use chart::{BarChart, Curve, LineChart};
pub use compare::compare;
pub use figure::{Figure, Section};
pub(crate) use heat::{Gallery, HeatMap, Picture};
pub(crate) use page::table;
pub use png::Palette;
pub(crate) use views::Views;

/// The report of a run.
pub struct Report {
    page: Page,
}

impl Report {
    pub(crate) fn new(folder: &Path, record: &Record, views: &Views) -> Self {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let title = name.unwrap_or_else(|| "Run".into());
        let mut figures = sections::all(record);
        figures.extend(views.figures());
        let findings = Some(record.findings.clone());
        Self { page: Page { title, numbers: numbers(record), figures, findings } }
    }

    /// The report of the run in `folder`, from `lens.jsonl`, `metrics.jsonl` and `lens_views.json`.
    ///
    /// # Errors
    /// There is no run, or a file cannot be read.
    pub fn of_run(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        Ok(Self::new(folder, &Record::read(folder)?, &Views::read(folder)?))
    }

    /// A page of figures alone, such as those of a model without a run.
    pub fn of_figures(title: impl Into<String>, figures: Vec<Figure>) -> Self {
        Self { page: Page { title: title.into(), numbers: vec![], figures, findings: None } }
    }

    /// The file's content.
    pub fn html(&self) -> String {
        self.page.html()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_atomic(path, self.html().as_bytes())
    }
}

/// What stands at the top.
fn numbers(record: &Record) -> Vec<(String, String)> {
    let mut numbers = vec![];
    let mut add = |name: &str, value: String| numbers.push((name.to_string(), value));
    let params: usize = record.network.params.iter().map(|p| p.shape.iter().product::<usize>()).sum();
    if params > 0 {
        add("parameters", grouped(params));
    }
    if let Some(last) = record.metrics.losses.points().last() {
        add("steps", grouped(last.0.round() as usize));
    }
    if !record.metrics.epochs.is_empty() {
        add("epochs", record.metrics.epochs.len().to_string());
    }
    if let Some(last) = record.metrics.validations.last() {
        last.scores.iter().take(4).for_each(|(name, value)| add(&name.replace('_', " "), number(*value)));
    }
    if !record.vitals.is_empty() {
        add("findings", record.findings.len().to_string());
    }
    numbers
}

/// Digits in groups of three.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<String> =
        digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join(",")
}
