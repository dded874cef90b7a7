//! Every kernel by itself, forward and backward.
//!
//! `cargo bench -p glassbox-bench [NAME]` prints, for each, its times and how fast it computes (an item is a floating-point
//! operation) or moves data, which is to be compared with `limits`: what the machine computes and copies at most. Threads
//! are rayon's: RAYON_NUM_THREADS and CANDLE_NUM_THREADS set them.
#![allow(clippy::unwrap_used)] // A kernel that fails ends the benchmark.

#[path = "../../src/peak.rs"]
mod peak;

mod cases;
mod kernel;
mod updates;

use divan::Bencher;
use divan::counter::BytesCount;
use glassbox::prelude::*;

use cases::CASES;
use kernel::Case;
use updates::{UPDATES, UpdateCase};

fn main() {
    let threads = candle_core::utils::get_num_threads();
    println!("limits: {:.1} GFLOP/s on {threads} threads (f32 multiply-adds)", peak::peak_flops(threads) / 1e9);
    divan::main();
}

/// The limit of what moves data: 64 MiB to where 64 MiB already are, on one thread.
#[divan::bench]
fn limits_copy(bencher: Bencher) {
    let (from, mut to) = (vec![1f32; 16 << 20], vec![0f32; 16 << 20]);
    bencher
        .counter(BytesCount::new(2usize * 64 << 20))
        .bench_local(|| divan::black_box(&mut to).copy_from_slice(&from));
}

#[divan::bench(args = CASES, max_time = 0.5)]
fn forward(bencher: Bencher, case: &'static Case) {
    let kernel = case.kernel().unwrap();
    kernel.count_forward(bencher).bench_local(|| kernel.forward().unwrap());
}

#[divan::bench(args = CASES, max_time = 0.5, sample_size = 1)]
fn backward(bencher: Bencher, case: &'static Case) {
    let kernel = case.kernel().unwrap();
    let bencher = kernel.count_backward(bencher);
    bencher.with_inputs(|| kernel.graph().unwrap()).bench_local_values(|graph| graph.backward().unwrap());
}

#[divan::bench(args = UPDATES, max_time = 0.5)]
fn update(bencher: Bencher, case: &'static UpdateCase) {
    let mut update = case.prepare().unwrap();
    bencher.counter(BytesCount::new(case.bytes())).bench_local(|| update().unwrap());
}
