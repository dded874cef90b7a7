//! Attention.

use glassbox::prelude::*;
use glassbox::{Init, Param};
use glassbox_kernels::attention::{AttentionParams, attention_packed, attention_packed_kv};
use glassbox_kernels::linear::linear;

/// Tokens look at themselves and those before them, or at all.
fn looking(causal: bool) -> AttentionParams {
    AttentionParams { causal, ..Default::default() }
}

/// Each token looks at itself and those before it.
///
/// Parameters: `qkv`, the projection to queries, keys and values in this order, and `proj`, as [`Linear`]'s.
///
/// # Shapes
/// (batch, length, features) to the same.
pub struct CausalSelfAttention {
    qkv: Linear,
    proj: Linear,
    num_heads: usize,
}

impl CausalSelfAttention {
    /// `num_heads` divides `features`.
    pub fn new(features: usize, num_heads: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            qkv: Linear::new(features, 3 * features, vb.pp("qkv"))?,
            proj: Linear::new(features, features, vb.pp("proj"))?,
            num_heads,
        })
    }
}

impl Layer for CausalSelfAttention {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mixed = attention_packed(&self.qkv.forward(xs, pass)?, self.num_heads, None, &looking(true))?;
        self.proj.forward(&mixed, pass)
    }
}

/// Attention between two sequences, or within one.
///
/// Parameters, as PyTorch's `nn.MultiheadAttention`: `in_proj_weight` (3 · features, features) and `in_proj_bias`, the
/// projections to queries, keys and values in this order, and `out_proj`, as [`Linear`]'s.
///
/// # Shapes
/// (batch, length, features) to the same.
pub struct MultiheadAttention {
    in_proj_weight: Param,
    in_proj_bias: Param,
    out_proj: Linear,
    features: usize,
    num_heads: usize,
}

impl MultiheadAttention {
    /// `num_heads` divides `features`.
    pub fn new(features: usize, num_heads: usize, vb: VarBuilder) -> Result<Self> {
        let out_proj = Linear::new(features, features, vb.pp("out_proj"))?;
        if let Some(bias) = out_proj.bias() {
            bias.set(&bias.value().zeros_like()?)?;
        }
        Ok(Self {
            in_proj_weight: vb.param("in_proj_weight", (3 * features, features), Init::XavierUniform { gain: 1.0 })?,
            in_proj_bias: vb.param("in_proj_bias", 3 * features, Init::Zeros)?,
            out_proj,
            features,
            num_heads,
        })
    }

    /// Each token of `xs` looks at all of them, or at itself and those before it where `causal`.
    pub fn within(&self, xs: &Tensor, causal: bool, pass: &Pass) -> Result<Tensor> {
        let qkv = linear(xs, &self.in_proj_weight.get(pass), Some(&self.in_proj_bias.get(pass)), None)?;
        self.out_proj.forward(&attention_packed(&qkv, self.num_heads, None, &looking(causal))?, pass)
    }

    /// Each token of `xs` looks at all of `memory`.
    pub fn between(&self, xs: &Tensor, memory: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (weight, bias) = (self.in_proj_weight.get(pass), self.in_proj_bias.get(pass));
        let project = |xs, first: usize, parts: usize| {
            let (start, len) = (first * self.features, parts * self.features);
            linear(xs, &weight.narrow(0, start, len)?, Some(&bias.narrow(0, start, len)?), None)
        };
        let (q, kv) = (project(xs, 0, 1)?, project(memory, 1, 2)?);
        self.out_proj.forward(&attention_packed_kv(&q, &kv, self.num_heads, None, &looking(false))?, pass)
    }
}
