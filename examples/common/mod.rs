//! What the training examples share: their flags, the trainer that these describe, and the line with the result.
#![allow(dead_code)] // Each example uses a part of it.

pub mod judge;
pub mod translation;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use glassbox::prelude::*;
use glassbox::train::{Ended, Fitted, interrupt};
use serde::Serialize;

/// The flags of every training example.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct RunArgs {
    /// Where the data is, for examples that have none of their own
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder of the run: config.json, metrics.jsonl, lens.jsonl, report.html, model.safetensors, checkpoints/
    #[arg(long)]
    pub out: PathBuf,
    /// Where all random numbers start: the same seed gives the same bits
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Passes over the training data
    #[arg(long)]
    pub epochs: u64,
    /// Ends after so many steps, even within an epoch [default: as many as the epochs take]
    #[arg(long)]
    pub steps: Option<u64>,
    /// Samples in a step
    #[arg(long)]
    pub batch_size: usize,
    /// Learning rate; the highest one where a schedule changes it
    #[arg(long)]
    pub lr: f64,
    /// cpu, cuda, cuda:N, metal or auto
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Goes on from the newest checkpoint in the folder of the run
    #[arg(long)]
    pub resume: bool,
    /// No progress and no tables, just the result
    #[arg(long)]
    pub quiet: bool,
    /// The run in a full-screen view of the terminal, in place of the progress bar
    #[arg(long, conflicts_with_all = ["quiet", "no_report"])]
    pub dashboard: bool,
    /// No look inside: neither lens.jsonl nor report.html, no diagnosis
    #[arg(long)]
    pub no_report: bool,
}

/// What differs between the examples' flags.
pub struct Defaults {
    pub out: &'static str,
    pub epochs: &'static str,
    pub batch_size: &'static str,
    pub lr: &'static str,
}

/// Parses the command line with this example's defaults, which `--help` then shows.
pub fn parse<A: CommandFactory + FromArgMatches>(defaults: Defaults) -> A {
    // A flag without a default is a required one to clap, until it is told otherwise.
    let values =
        [("out", defaults.out), ("epochs", defaults.epochs), ("batch_size", defaults.batch_size), ("lr", defaults.lr)];
    let command = values.into_iter().fold(A::command(), |command, (name, value)| {
        command.mut_arg(name, |arg| arg.required(false).default_value(value))
    });
    A::from_arg_matches(&command.get_matches()).unwrap_or_else(|e| e.exit())
}

impl RunArgs {
    /// The trainer that the flags describe; `config` is written to the folder of the run.
    pub fn trainer(&self, config: &impl Serialize) -> Result<Trainer> {
        let dir = RunDir::new(&self.out)?;
        dir.write_config(config)?;
        let mut trainer = Trainer::new(dir)
            .epochs(self.epochs)
            .seed(Seed(self.seed).child("training"))
            .resume(self.resume)
            .stop_when(interrupt::flag()?)
            .with(MetricLog::default())
            .with(Checkpoints::every_epoch());
        if let Some(steps) = self.steps {
            trainer = trainer.steps(steps);
        }
        let full_screen = self.dashboard && std::io::stderr().is_terminal();
        if !self.no_report {
            let lens = Lens::default();
            trainer = trainer.with(if full_screen { lens.dashboard() } else { lens });
        }
        Ok(if self.quiet || full_screen { trainer } else { trainer.with(ProgressBar::default()) })
    }
}

/// Runs an example: its error goes to standard error, and the exit code is then 1.
pub fn run(example: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match example() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The run, unless the user ended it before its time.
pub fn finished<S>(fitted: Fitted<S>) -> anyhow::Result<Fitted<S>> {
    if fitted.ended == Ended::Interrupted {
        anyhow::bail!("interrupted after step {}; the same command with --resume goes on from there", fitted.steps);
    }
    Ok(fitted)
}

/// The result of a run whose last validation has an accuracy.
pub fn print_accuracy<S>(fitted: &Fitted<S>) {
    let score = |name| fitted.scores.value(name).unwrap_or(f64::NAN);
    print_result(&[("accuracy", score("accuracy")), ("validation_loss", score("validation_loss"))], fitted.seconds);
}

/// The last line of every training example: `result {json}`.
pub fn print_result(scores: &[(&str, f64)], seconds: f64) {
    let mut line = serde_json::Map::new();
    line.extend(scores.iter().map(|(name, value)| (name.to_string(), serde_json::json!(value))));
    line.insert("seconds".into(), serde_json::json!((seconds * 1e3).round() / 1e3));
    println!("result {}", serde_json::Value::Object(line));
}
