//! How fast Glassbox trains: whole training steps of nine networks, and the loading of data, measured.
#![forbid(unsafe_code)]

mod check;
mod layers;
mod loading;
mod measure;
mod memory;
mod peak;
mod threads;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgGroup, Parser};
use glassbox::prelude::DType;

use loading::Loading;
use workloads::{Name, Size};

/// Measures whole training steps (forward, loss, backward, AdamW) of a network, or the loading of a data set.
#[derive(Parser)]
#[command(group = ArgGroup::new("what").args(["workload", "loading"]).required(true))]
struct Args {
    /// The network to train
    #[arg(long, value_name = "NAME")]
    workload: Option<Name>,
    /// Measured steps, after three to warm up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    steps: u32,
    /// Threads that compute or load [default: as many as the machine has cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "N")]
    threads: Option<u32>,
    /// Samples in a batch [default: the workload's own]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    batch: Option<u32>,
    /// Steps of a sequence, for workloads that have sequences [default: the workload's own]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    length: Option<u32>,
    /// Ends with a line that holds the result as a JSON object
    #[arg(long)]
    json: bool,
    /// Instead of measuring, takes three steps from the weights `param.*` on the batch `batch.*` of a safetensors file, in
    /// f64 where the weights are, and ends with their losses and gradient norms as a JSON object
    #[arg(long, value_name = "FILE", requires = "workload")]
    check: Option<PathBuf>,
    /// The data set of which to load an epoch
    #[arg(long, value_name = "NAME", requires = "data")]
    loading: Option<Loading>,
    /// Where the data set is: a folder with MNIST's four files, or with CIFAR-10's images as train/CLASS/FILE
    #[arg(long, value_name = "DIR", requires = "loading")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let threads = match args.threads {
        Some(threads) => threads as usize,
        None => std::thread::available_parallelism().context("the number of cores is unknown: give --threads")?.get(),
    };
    threads::compute_with(threads)?;
    let size =
        Size { batch: args.batch.map(|n| n as usize), length: args.length.map(|n| n as usize), dtype: DType::F32 };
    let result = match (args.workload, args.loading, &args.data) {
        (Some(name), _, _) => match &args.check {
            Some(file) => return check::check(name, size, file),
            None => measure::measure(name, &mut *name.build(size)?, args.steps as usize, threads)?,
        },
        (None, Some(loading), Some(data)) => loading.measure(data, threads)?,
        // Clap refuses such a command line.
        _ => anyhow::bail!("--workload or --loading with --data is needed"),
    };
    if args.json {
        println!("{result}");
    }
    Ok(())
}
