//! How much memory a training step takes: a process of its own, since all that it allocates is counted.
#![allow(clippy::unwrap_used)] // The lint's exception for tests covers functions marked as tests, not their helpers.

use glassbox_core::candle_core::{DType, Device, Tensor};
use glassbox_core::{Gradients, Layer, ParamStore, Pass, Seed};
use glassbox_transformer::{Gpt, GptConfig, Positions, TransformerConfig};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most bytes allocated at once by a forward and a backward over `len` tokens.
fn peak(len: usize) -> f64 {
    let params = ParamStore::new(Seed(1), &Device::Cpu);
    let layer = TransformerConfig { d_model: 16, num_heads: 2, ..Default::default() };
    let config = GptConfig { vocab_size: 8, num_layers: 2, positions: Positions::Rotary, layer, ..Default::default() };
    let gpt = Gpt::new(config, params.root()).unwrap();
    let ids = Tensor::ones((1, len), DType::U32, &Device::Cpu).unwrap();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let loss = gpt.forward(&ids, &Pass::train(Seed(1))).unwrap().sqr().unwrap().mean_all().unwrap();
    Gradients::of(&loss, &params).unwrap();
    (MEMORY.peak_usage() - before) as f64
}

/// Four times the context takes four times the memory, 5 % over for what is allocated in powers of two. Attention that keeps
/// its scores would take sixteen times as much.
#[test]
fn memory_grows_linearly_with_the_context() {
    let (short, long) = (peak(1024), peak(4096));
    assert!(long > 2.0 * short && long < 4.2 * short, "{short} bytes for 1,024 tokens, {long} for 4,096");
}
