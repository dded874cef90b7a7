//! The record of a run, as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::train::{Callback, Run, Scores, StepReport};
use crate::{Error, Result, write_atomic};

/// Writes `metrics.jsonl`: a line for each step of training (`"event": "step"`, with `loss`, `learning_rate` and whatever
/// else the step reports), each validation (`"validation"`, with its scores) and each epoch (`"epoch"`, with the mean
/// `loss`). Every line has `step`, `epoch` and `seconds`. A resumed run goes on where its checkpoint stands: later lines
/// of the run that was stopped are taken out.
#[derive(Default)]
pub struct MetricLog {
    every: u64,
    file: Option<(PathBuf, File)>,
}

impl MetricLog {
    /// A line for every `steps`-th step of training only.
    pub fn every(steps: u64) -> Self {
        Self { every: steps, file: None }
    }

    fn write(&mut self, run: &Run, event: &str, values: impl IntoIterator<Item = (String, f64)>) -> Result<()> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut line = Map::new();
        line.insert("event".into(), json!(event));
        line.insert("step".into(), json!(run.progress.step));
        line.insert("epoch".into(), json!(run.progress.epoch));
        line.insert("seconds".into(), json!((run.seconds * 1e3).round() / 1e3));
        line.extend(values.into_iter().map(|(name, value)| (name, json!(value))));
        // One write for a whole line, so that a killed run leaves at most one broken line.
        let text = format!("{}\n", Value::Object(line));
        file.write_all(text.as_bytes()).map_err(|e| Error::io(path, e))
    }
}

impl Callback for MetricLog {
    fn name(&self) -> &'static str {
        "metric_log"
    }

    fn fit_start(&mut self, run: &mut Run) -> Result<()> {
        let path = run.dir.file("metrics.jsonl");
        let kept = if run.resumed { lines_until(&path, run.progress.step)? } else { String::new() };
        write_atomic(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, e))?;
        self.file = Some((path, file));
        Ok(())
    }

    fn batch_end(&mut self, run: &mut Run, report: &StepReport) -> Result<()> {
        if !run.progress.step.is_multiple_of(self.every.max(1)) {
            return Ok(());
        }
        let loss = ("loss".to_string(), report.loss);
        self.write(run, "step", std::iter::once(loss).chain(report.values.clone()))
    }

    fn validation_end(&mut self, run: &mut Run, scores: &Scores) -> Result<()> {
        self.write(run, "validation", scores.0.iter().map(|s| (s.name.clone(), s.value)))
    }

    fn epoch_end(&mut self, run: &mut Run, loss: f64) -> Result<()> {
        self.write(run, "epoch", [("loss".to_string(), loss)])
    }
}

/// The whole lines of the log up to `step`.
fn lines_until(path: &Path, step: u64) -> Result<String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(Error::io(path, e)),
    };
    let kept = text.lines().filter(|line| {
        let parsed: Option<Value> = serde_json::from_str(line).ok();
        parsed.and_then(|v| v.get("step")?.as_u64()).is_some_and(|at| at <= step)
    });
    Ok(kept.map(|line| format!("{line}\n")).collect())
}
