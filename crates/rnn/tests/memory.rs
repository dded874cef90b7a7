//! How much memory a training step takes: a process of its own, since all that it allocates is counted.
#![allow(clippy::unwrap_used)] // The lint's exception for tests covers functions marked as tests, not their helpers.

use glassbox_core::candle_core::{DType, Device, Tensor};
use glassbox_core::{Gradients, ParamStore, Pass, Seed};
use glassbox_rnn::{Gru, GruConfig, Lstm, LstmConfig, Recurrent};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a network gives for a batch.
type Forward = Box<dyn Fn(&Tensor, &Pass) -> Tensor>;

/// The most bytes allocated at once by a forward and a backward over `seq_len` steps, the input aside.
fn peak(seq_len: usize, network: impl Fn(&ParamStore) -> Forward) -> f64 {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let forward = network(&params);
    let xs = Tensor::ones((2, seq_len, 4), DType::F32, &Device::Cpu).unwrap();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let loss = forward(&xs, &Pass::train(Seed(1))).sqr().unwrap().mean_all().unwrap();
    Gradients::of(&loss, &params).unwrap();
    (MEMORY.peak_usage() - before) as f64
}

/// Four times the steps take four times the memory. What does not grow with the steps makes it less; 5 % over is for what is
/// allocated in powers of two. Anything quadratic would take sixteen times as much.
#[test]
fn memory_grows_linearly_with_the_length() {
    let lstm = |params: &ParamStore| -> Forward {
        let config = LstmConfig { num_layers: 2, bidirectional: true, ..Default::default() };
        let lstm = Lstm::new(4, 16, config, params.root()).unwrap();
        Box::new(move |xs, pass| lstm.forward_with(xs, None, None, pass).unwrap().0)
    };
    let gru = |params: &ParamStore| -> Forward {
        let gru = Gru::new(4, 16, GruConfig::default(), params.root()).unwrap();
        Box::new(move |xs, pass| gru.forward_with(xs, None, None, pass).unwrap().0)
    };
    for (name, short, long) in [("LSTM", peak(2000, lstm), peak(8000, lstm)), ("GRU", peak(2000, gru), peak(8000, gru))]
    {
        assert!(long > 2.0 * short && long < 4.2 * short, "{name}: {short} bytes for 2,000 steps, {long} for 8,000");
    }
}
