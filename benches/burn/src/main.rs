//! The workloads of the benchmark in Burn on its CPU backend `flex`: the same networks, losses, batches and optimizer as
//! `benches/pytorch_workloads.py`, written with the layers that Burn has.
//!
//! The program prints one line of JSON for a workload: the median and the quartiles of a training step, and the largest
//! memory that the process had resident. It is given what our own program is given: AVX-512 products where the processor
//! has them, and an allocator that keeps its pages.

mod adversarial;
mod image;
mod language;
mod recurrent;
mod train;

use std::time::Instant;

use burn::tensor::Device;
use clap::{Parser, ValueEnum};

use train::Step;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Steps before the measured ones, as in the PyTorch program.
const WARM_UP: usize = 3;

/// Times whole training steps of a workload: forward, loss, backward and AdamW.
#[derive(Parser)]
struct Args {
    /// The network to train
    #[arg(long)]
    workload: Workload,
    /// Measured steps
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads of the pool that all products and element-wise operations share
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Prints one JSON object in place of the sentence
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Workload {
    Cnn,
    Resnet18,
    Unet,
    Lstm,
    Bigru,
    Dcgan,
    Seq2seq,
    GptSmall,
    GptBaby,
}

impl Workload {
    /// Builds the network with its batch; the result runs one training step at each call.
    fn step(self, device: &Device) -> Step {
        match self {
            Self::Cnn => image::cnn(device),
            Self::Resnet18 => image::resnet18(device),
            Self::Unet => image::unet(device),
            Self::Lstm => recurrent::lstm(device),
            Self::Bigru => recurrent::bigru(device),
            Self::Dcgan => adversarial::dcgan(device),
            Self::Seq2seq => language::seq2seq(device),
            Self::GptSmall => language::gpt_small(device),
            Self::GptBaby => language::gpt_baby(device),
        }
    }
}

fn main() -> Result<(), rayon::ThreadPoolBuildError> {
    let args = Args::parse();
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global()?;
    let device = Device::flex().autodiff();
    device.seed(0);

    let mut step = args.workload.step(&device);
    for _ in 0..WARM_UP {
        step();
    }
    let mut times: Vec<f64> = (0..args.steps).map(|_| milliseconds(&mut step)).collect();
    times.sort_by(f64::total_cmp);
    report(&args, &times);
    Ok(())
}

fn milliseconds(step: &mut Step) -> f64 {
    let start = Instant::now();
    step();
    start.elapsed().as_secs_f64() * 1e3
}

fn report(args: &Args, times: &[f64]) {
    let [first, median, third] = [0.25, 0.5, 0.75].map(|share| quantile(times, share));
    let name = args.workload.to_possible_value().map(|value| value.get_name().to_owned());
    let name = name.unwrap_or_default();
    if args.json {
        let line = serde_json::json!({
            "workload": name,
            "median_ms": median,
            "quartiles_ms": [first, third],
            "peak_rss_bytes": peak_rss_bytes(),
        });
        println!("{line}");
    } else {
        println!("{name}: {median:.2} ms a step (quartiles {first:.2} and {third:.2})");
    }
}

/// The value below which the given share of the sorted `times` lies, interpolated between neighbours.
fn quantile(times: &[f64], share: f64) -> f64 {
    let place = share * (times.len() - 1) as f64;
    let (below, above) = (times[place.floor() as usize], times[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The most memory that this process had resident, or `None` where the system has no `/proc`.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}
