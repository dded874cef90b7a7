//! Looks at what is already there: makes the report of a run again, puts two runs side by side, shows what is in a file of
//! weights, whoever wrote it.

mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use glassbox::lens::{Report, compare, inspect};

/// Makes the report of a run again, compares two runs, or shows what is in a safetensors file.
#[derive(Parser)]
#[group(required = true, multiple = true)]
struct Args {
    /// Folder of a run, whose report is made
    #[arg(long)]
    run: Option<PathBuf>,
    /// Folder of a second run, to be put beside the first
    #[arg(long, requires = "run")]
    with: Option<PathBuf>,
    /// A safetensors file
    #[arg(long, conflicts_with = "run")]
    model: Option<PathBuf>,
    /// Where the report is written [default: report.html or compare.html in the folder of the run; none for a model]
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    common::run(example)
}

fn example() -> anyhow::Result<()> {
    let args = Args::parse();
    match (&args.run, &args.with, &args.model) {
        (Some(run), Some(other), _) => save(&compare(run, other)?, args.out.as_deref(), &run.join("compare.html")),
        (Some(run), None, _) => save(&Report::of_run(run)?, args.out.as_deref(), &run.join("report.html")),
        (None, _, Some(model)) => {
            let inspected = inspect::file(model)?;
            println!("{inspected}");
            match &args.out {
                Some(out) => save(&Report::of_figures(&inspected.name, inspected.figures()), Some(out), out),
                None => Ok(()),
            }
        }
        _ => anyhow::bail!("expected --run DIR or --model FILE"),
    }
}

fn save(report: &Report, out: Option<&Path>, default: &Path) -> anyhow::Result<()> {
    let path = out.unwrap_or(default);
    report.save(path)?;
    println!("{}", path.display());
    Ok(())
}
