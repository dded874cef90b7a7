//! The record in memory and on disk.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use glassbox_core::train::{Scores, StepReport};
use glassbox_core::{Error, Result, write_atomic};
use serde_json::Value;

use super::{Answers, Line, Network, Series, Vitals};
use crate::rules::Finding;

/// What is known of a run: its metrics, and what the lens saw.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The network.
    pub network: Network,
    /// Recorded steps, in order.
    pub vitals: Vec<Vitals>,
    /// Validations of a classifier, in order.
    pub answers: Vec<Answers>,
    /// What rules found, in the order in which they found it.
    pub findings: Vec<Finding>,
    /// Losses and scores.
    pub metrics: Metrics,
}

/// Losses and scores of a run.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The loss of each step.
    pub losses: Series,
    /// Whatever else steps report, by name: `learning_rate`, `gradient_norm`.
    pub values: BTreeMap<String, Series>,
    /// The last step and the mean loss of each epoch.
    pub epochs: Vec<(u64, f64)>,
    /// Validations, in order.
    pub validations: Vec<Validation>,
    /// Number of batches in an epoch, where it is known.
    pub steps_per_epoch: Option<u64>,
}

/// The scores of one validation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// The step after which it was made.
    pub step: u64,
    /// Mean loss of the training since the validation before.
    pub training_loss: f64,
    /// Scores by name, `validation_loss` among them.
    pub scores: Vec<(String, f64)>,
}

impl Validation {
    /// The validation loss.
    pub fn loss(&self) -> Option<f64> {
        self.score("validation_loss")
    }

    /// The score called `name`.
    pub fn score(&self, name: &str) -> Option<f64> {
        self.scores.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }
}

impl Metrics {
    pub(crate) fn push_step(&mut self, step: u64, report: &StepReport) {
        self.push_values(step, report.loss, report.values.iter().cloned());
    }

    fn push_values(&mut self, step: u64, loss: f64, values: impl Iterator<Item = (String, f64)>) {
        self.losses.push(step, loss);
        for (name, value) in values {
            self.values.entry(name).or_default().push(step, value);
        }
    }

    pub(crate) fn push_validation(&mut self, step: u64, scores: &Scores) {
        self.push_scores(step, scores.0.iter().map(|s| (s.name.clone(), s.value)).collect());
    }

    fn push_scores(&mut self, step: u64, scores: Vec<(String, f64)>) {
        let since = self.validations.last().map_or(0, |validation| validation.step) as f64;
        let losses = self.losses.points().iter().filter(|p| p.0 > since).map(|p| p.1);
        let (count, sum) = losses.fold((0u32, 0.0), |(count, sum), loss| (count + 1, sum + loss));
        let training_loss = if count == 0 { f64::NAN } else { sum / f64::from(count) };
        self.validations.push(Validation { step, training_loss, scores });
    }

    /// Reads the lines of `metrics.jsonl` up to `until`.
    fn read(text: &str, until: u64) -> Self {
        let mut metrics = Self::default();
        for line in text.lines() {
            // The last line of a run that was killed may be cut short.
            let Ok(Value::Object(map)) = serde_json::from_str::<Value>(line) else { continue };
            let step = map.get("step").and_then(Value::as_u64).unwrap_or(0);
            if step > until {
                continue;
            }
            let known = ["event", "step", "epoch", "seconds", "loss"];
            let values = || {
                let others = map.iter().filter(|(name, _)| !known.contains(&name.as_str()));
                others.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
            };
            let loss = map.get("loss").and_then(Value::as_f64);
            match (map.get("event").and_then(Value::as_str), loss) {
                (Some("step"), Some(loss)) => metrics.push_values(step, loss, values()),
                (Some("validation"), _) => metrics.push_scores(step, values().collect()),
                (Some("epoch"), Some(loss)) => metrics.push_epoch(step, loss),
                _ => {}
            }
        }
        metrics
    }

    pub(crate) fn push_epoch(&mut self, step: u64, loss: f64) {
        let before = self.epochs.last().map_or(0, |epoch| epoch.0);
        self.steps_per_epoch = self.steps_per_epoch.or(Some(step.saturating_sub(before)).filter(|&n| n > 0));
        self.epochs.push((step, loss));
    }
}

impl Record {
    /// Reads `lens.jsonl` and `metrics.jsonl` of the run in `folder`; either may be missing, not both.
    ///
    /// # Errors
    /// Neither file is there, or one cannot be read. Lines that are broken are left out.
    pub fn read(folder: &Path) -> Result<Self> {
        if !folder.join("lens.jsonl").exists() && !folder.join("metrics.jsonl").exists() {
            let problem = "no run: expected metrics.jsonl or lens.jsonl in it";
            return Err(Error::format(folder.display(), problem));
        }
        Self::read_until(folder, u64::MAX)
    }

    /// The record up to a step.
    pub(crate) fn read_until(folder: &Path, until: u64) -> Result<Self> {
        let metrics = Metrics::read(&text_of(&folder.join("metrics.jsonl"))?, until);
        let mut record = Self { metrics, ..Self::default() };
        let lines = text_of(&folder.join("lens.jsonl"))?;
        for line in lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            match line {
                Line::Network(network) => record.network = network,
                Line::Vitals(vitals) if vitals.step <= until => record.vitals.push(vitals),
                Line::Answers(answers) if answers.step <= until => record.answers.push(answers),
                Line::Finding(finding) if finding.step <= until => record.findings.push(finding),
                _ => {}
            }
        }
        Ok(record)
    }

    /// The vital signs of a parameter over the recorded steps.
    pub fn param<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = (u64, &'a super::ParamVitals)> {
        let of = move |vitals: &'a Vitals| Some((vitals.step, vitals.params.iter().find(|p| p.name == name)?));
        self.vitals.iter().filter_map(of)
    }

    /// The vital signs of a layer over the recorded steps.
    pub fn layer<'a>(&'a self, path: &'a str) -> impl DoubleEndedIterator<Item = (u64, &'a super::LayerVitals)> {
        let of = move |vitals: &'a Vitals| Some((vitals.step, vitals.layers.iter().find(|l| l.path == path)?));
        self.vitals.iter().filter_map(of)
    }

    fn lines(&self) -> Result<String> {
        let mut text = line_of(&Line::Network(self.network.clone()))?;
        for vitals in &self.vitals {
            text += &line_of(&Line::Vitals(vitals.clone()))?;
        }
        for answers in &self.answers {
            text += &line_of(&Line::Answers(answers.clone()))?;
        }
        for finding in &self.findings {
            text += &line_of(&Line::Finding(finding.clone()))?;
        }
        Ok(text)
    }
}

fn text_of(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Error::io(path, e)),
    }
}

fn line_of(line: &Line) -> Result<String> {
    let text = serde_json::to_string(line).map_err(|e| Error::invalid("lens.jsonl", "plain data", e))?;
    Ok(text + "\n")
}

/// `lens.jsonl`, whose length is bounded.
#[derive(Debug)]
pub(crate) struct LensFile {
    path: PathBuf,
    bytes: usize,
}

/// Bytes above which every second recorded step is taken out.
const LIMIT: usize = 4_500_000;

impl LensFile {
    /// Writes what is already known.
    pub fn create(path: PathBuf, record: &Record) -> Result<Self> {
        let mut file = Self { path, bytes: 0 };
        file.rewrite(record)?;
        Ok(file)
    }

    /// Appends a line, in one write, so that a killed run leaves at most one broken line.
    pub fn append(&mut self, line: &Line) -> Result<()> {
        let text = line_of(line)?;
        let mut file = OpenOptions::new().append(true).open(&self.path).map_err(|e| Error::io(&self.path, e))?;
        file.write_all(text.as_bytes()).map_err(|e| Error::io(&self.path, e))?;
        self.bytes += text.len();
        Ok(())
    }

    /// Writes the whole file anew.
    pub fn rewrite(&mut self, record: &Record) -> Result<()> {
        let text = record.lines()?;
        write_atomic(&self.path, text.as_bytes())?;
        self.bytes = text.len();
        Ok(())
    }

    /// Takes out every second recorded step and validation of `record` where the file has grown too long. Gives whether.
    pub fn thin_if_long(&mut self, record: &mut Record) -> Result<bool> {
        if self.bytes <= LIMIT {
            return Ok(false);
        }
        thin(&mut record.vitals);
        thin(&mut record.answers);
        self.rewrite(record)?;
        Ok(true)
    }
}

/// Keeps the first, the third and so on, and the last.
fn thin<T>(items: &mut Vec<T>) {
    let last = items.pop();
    let mut index = 0usize;
    items.retain(|_| {
        index += 1;
        index % 2 == 1
    });
    items.extend(last);
}
