//! Transformers that predict the next character, as GPT-2 and nanoGPT are built.

use glassbox::prelude::*;
use glassbox::{Embedding, LayerNorm, Residual};
use glassbox_kernels::graph::add;

use super::supervised::Supervised;
use super::{CHARACTERS, Size, ids};
use crate::layers::CausalSelfAttention;

/// nanoGPT's settings for a CPU, without dropout.
pub fn small(size: Size) -> Result<Supervised> {
    workload(size, (12, 64), 4, 4, 128)
}

/// nanoGPT's settings for Shakespeare by characters, without dropout and with a smaller batch.
pub fn baby(size: Size) -> Result<Supervised> {
    workload(size, (4, 256), 6, 6, 384)
}

/// Multiply-adds a token: 12 · num_layers · d² + 65 · d; and 2 · d · num_layers for each pair of a token and one that it
/// looks at, itself and those before.
fn workload(size: Size, own: (usize, usize), num_layers: usize, num_heads: usize, d: usize) -> Result<Supervised> {
    let (batch, length) = size.sequences(own.0, own.1);
    let pairs = batch * length * (length + 1) / 2;
    let data = Batch {
        input: ids("input", CHARACTERS, (batch, length))?,
        target: ids("target", CHARACTERS, (batch, length))?,
    };
    let network = |vb| Gpt::new(num_layers, num_heads, d, length, vb);
    let gpt = Supervised::new(network, CrossEntropy::default(), data, size.dtype)?;
    Ok(gpt.of_sequences().with_attention((2 * d * num_layers * pairs) as u64))
}

struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Sequential,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(num_layers: usize, num_heads: usize, d: usize, context: usize, vb: VarBuilder) -> Result<Self> {
        let mut blocks = Sequential::new(vb.pp("blocks"));
        for _ in 0..num_layers {
            blocks = blocks.add(|vb| block(d, num_heads, vb))?;
        }
        Ok(Self {
            tokens: Embedding::new(CHARACTERS, d, vb.pp("tokens"))?,
            positions: Embedding::new(context, d, vb.pp("positions"))?,
            blocks,
            norm: LayerNorm::new(d, vb.pp("norm"))?,
            head: Linear::no_bias(d, CHARACTERS, vb.pp("head"))?,
        })
    }
}

impl Layer for Gpt {
    fn forward(&self, ids: &Tensor, pass: &Pass) -> Result<Tensor> {
        let positions = Tensor::arange(0, ids.dim(1)? as u32, ids.device())?;
        let positions = self.positions.forward(&positions, pass)?;
        let xs = add(&self.tokens.forward(ids, pass)?, &positions)?;
        self.head.forward(&self.norm.forward(&self.blocks.forward(&xs, pass)?, pass)?, pass)
    }
}

/// Attention, then two linear layers; each normalised before, and added to what came in.
fn block(d: usize, num_heads: usize, vb: VarBuilder) -> Result<Sequential> {
    let attention = Sequential::new(vb.clone())
        .add_named("ln1", |vb| LayerNorm::new(d, vb))?
        .add_named("attention", |_| CausalSelfAttention::new(d, num_heads, vb.clone()))?;
    let feed_forward = Sequential::new(vb.clone())
        .add_named("ln2", |vb| LayerNorm::new(d, vb))?
        .add_named("fc", |vb| Linear::new(d, 4 * d, vb))?
        .add_named("gelu", |_| Ok(Activation::GeluTanh))?
        .add_named("out", |vb| Linear::new(4 * d, d, vb))?;
    Sequential::new(vb).add(|_| Ok(Residual(attention)))?.add(|_| Ok(Residual(feed_forward)))
}
