//! Attention from Candle's operations, for other devices and element types.

use candle_core::{DType, Device, Tensor};

use super::Sizes;
use super::rules::Rules;
use crate::Result;

/// Attention of (batch, heads, len, dim) tensors: (batch, num_heads, q_len, value_dim).
pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, sizes: &Sizes, rules: &Rules) -> Result<Tensor> {
    if sizes.batch * sizes.q_len * sizes.value_dim == 0 || sizes.kv_len == 0 {
        let shape = (sizes.batch, sizes.heads, sizes.q_len, sizes.value_dim);
        return Tensor::zeros(shape, q.dtype(), q.device());
    }
    let (k, v) = (for_every_head(k, sizes)?, for_every_head(v, sizes)?);
    let scores = (q.contiguous()? * rules.scale)?.matmul(&k.t()?.contiguous()?)?;
    let scores = match &rules.additive {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    let powers = powers(&hide(&scores, sizes, rules)?)?;
    let sums = powers.sum_keepdim(3)?;
    // A query that sees no key has sum 0: its probabilities are 0 / 1.
    let sums = (&sums + sums.eq(0f64)?.to_dtype(sums.dtype())?)?;
    let probabilities = powers.broadcast_div(&sums)?;
    drop(&probabilities, sizes, rules)?.matmul(&v)
}

/// Keys or values repeated for the heads that share them, contiguous.
fn for_every_head(xs: &Tensor, sizes: &Sizes) -> Result<Tensor> {
    let (batch, kv_heads, len, dim) = xs.dims4()?;
    let shared = xs.unsqueeze(2)?.broadcast_as((batch, kv_heads, sizes.group(), len, dim))?;
    shared.contiguous()?.reshape((batch, sizes.heads, len, dim))
}

/// −∞ for what a query does not see.
fn hide(scores: &Tensor, sizes: &Sizes, rules: &Rules) -> Result<Tensor> {
    let mut visible = Vec::with_capacity(sizes.batch * sizes.q_len * sizes.kv_len);
    for batch in 0..sizes.batch {
        for query in 0..sizes.q_len {
            visible.extend((0..sizes.kv_len).map(|key| u8::from(rules.sees(batch, query, key))));
        }
    }
    let visible = Tensor::from_vec(visible, (sizes.batch, 1, sizes.q_len, sizes.kv_len), scores.device())?;
    let hidden = Tensor::new(f32::NEG_INFINITY, &Device::Cpu)?.to_dtype(scores.dtype())?.to_device(scores.device())?;
    visible.broadcast_as(scores.shape())?.where_cond(scores, &hidden.broadcast_as(scores.shape())?)
}

/// e^(score − largest of its row), 0 throughout in a row of −∞.
fn powers(scores: &Tensor) -> Result<Tensor> {
    // About the lowest finite value of the type.
    let lowest = if scores.dtype() == DType::F16 { -65504.0 } else { -3e38 };
    let largest = scores.max_keepdim(3)?.detach().maximum(lowest)?;
    scores.broadcast_sub(&largest)?.exp()
}

/// The same decisions as the fused form's.
fn drop(probabilities: &Tensor, sizes: &Sizes, rules: &Rules) -> Result<Tensor> {
    let Some(dropout) = &rules.dropout else {
        return Ok(probabilities.clone());
    };
    let mut factors = Vec::with_capacity(probabilities.elem_count());
    for batch in 0..sizes.batch {
        for head in 0..sizes.heads {
            let keys: Vec<_> = (0..sizes.kv_len).map(|key| rules.kept::<f64>(dropout, batch, head, key)).collect();
            for query in 0..sizes.q_len as u32 {
                factors.extend(keys.iter().map(|kept| kept.factor(query)));
            }
        }
    }
    let factors = Tensor::from_vec(factors, probabilities.shape(), &Device::Cpu)?;
    probabilities * factors.to_dtype(probabilities.dtype())?.to_device(probabilities.device())?
}
