//! Stand-ins.

use glassbox::prelude::*;

pub fn linear(xs: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, len, features) = xs.dims3()?;
    let ys = xs.reshape((batch * len, features))?.matmul(&weight.t()?)?.broadcast_add(bias)?;
    Ok(ys.reshape((batch, len, ()))?)
}

pub fn attention_packed(qkv: &Tensor, num_heads: usize, causal: bool) -> Result<Tensor> {
    let d = qkv.dim(2)? / 3;
    attention_packed_kv(&qkv.narrow(2, 0, d)?, &qkv.narrow(2, d, 2 * d)?, num_heads, causal)
}

pub fn attention_packed_kv(q: &Tensor, kv: &Tensor, num_heads: usize, causal: bool) -> Result<Tensor> {
    let (b, t, d) = q.dims3()?;
    let s = kv.dim(1)?;
    let heads = |xs: Tensor, t: usize| -> Result<Tensor> {
        Ok(xs.reshape((b, t, num_heads, d / num_heads))?.transpose(1, 2)?.contiguous()?)
    };
    let (q, k, v) = (
        heads(q.contiguous()?, t)?,
        heads(kv.narrow(2, 0, d)?.contiguous()?, s)?,
        heads(kv.narrow(2, d, d)?.contiguous()?, s)?,
    );
    let mut scores = (q.matmul(&k.t()?)? / ((d / num_heads) as f64).sqrt())?;
    if causal {
        let mask: Vec<f32> = (0..t * s).map(|i| if i % s > i / s { f32::NEG_INFINITY } else { 0.0 }).collect();
        scores = scores.broadcast_add(&Tensor::from_vec(mask, (t, s), q.device())?)?;
    }
    Ok(scores.softmax(D::Minus1)?.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((b, t, d))?)
}
