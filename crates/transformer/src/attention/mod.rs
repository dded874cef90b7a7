//! Multi-head attention as published models have it: projections under their names, positions, and a cache.

use candle_core::{DType, Tensor};
use glassbox_core::{Dropout, Error, Layer, Linear, Pass, Result, RmsNorm, TensorExt};
use glassbox_kernels::attention::{AttentionMask, AttentionParams, attention, attention_packed};
use glassbox_kernels::graph::reshape;

mod cache;
mod rope;

pub use cache::{Cache, LayerCache};
pub(crate) use rope::Rope;
pub use rope::RopeParameters;

/// Where queries, keys and values come from.
pub(crate) enum Projection {
    /// A layer each.
    Separate([Linear; 3]),
    /// One layer that gives them side by side.
    Packed(Linear),
}

pub(crate) struct Attention {
    pub projection: Projection,
    pub output: Linear,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    /// 1 / √head_dim where not given.
    pub scale: Option<f64>,
    pub dropout: f64,
    pub rope: Option<Rope>,
    /// Of the queries and of the keys, head by head.
    pub norms: Option<[RmsNorm; 2]>,
    pub causal: bool,
    pub window: Option<usize>,
}

/// What an attention layer sees beside its input.
pub(crate) struct Context<'a> {
    /// (batch, kv_len), non-zero where there is a token.
    pub padding: Option<&'a Tensor>,
    /// Added to the scores, (1, num_heads, q_len, kv_len), with a gradient.
    pub bias: Option<&'a Tensor>,
    pub pass: &'a Pass,
}

impl Context<'_> {
    fn mask(&self) -> AttentionMask {
        AttentionMask { padding: self.padding.cloned(), lengths: None, additive: self.bias.cloned() }
    }
}

impl Attention {
    /// Attention of `xs` (batch, len, width) to itself, and to what is in the cache, where there is one.
    pub fn to_itself(&self, xs: &Tensor, cache: Option<&mut LayerCache>, context: &Context) -> Result<Tensor> {
        if let (Projection::Packed(layer), None, None, None) = (&self.projection, &cache, &self.rope, &self.norms) {
            let packed = layer.forward(xs, context.pass)?;
            let ys = attention_packed(&packed, self.num_heads, Some(&context.mask()), &self.params(context.pass))?;
            return self.output.forward(&ys, context.pass);
        }
        let [q, k, v] = self.project(xs, context.pass)?;
        let offset = cache.as_ref().map_or(0, |cache| cache.len());
        let (q, k) = self.place(q, k, offset, context.pass)?;
        let (k, v) = match cache {
            Some(cache) => cache.push(k.contiguous()?, v.contiguous()?)?,
            None => (k, v),
        };
        self.attend(&q, &k, &v, context)
    }

    /// Attention of `xs` to `source` (batch, source_len, width), whose keys and values are made once for a cache.
    pub fn to_source(
        &self,
        xs: &Tensor,
        source: &Tensor,
        cache: Option<&mut LayerCache>,
        context: &Context,
    ) -> Result<Tensor> {
        let Projection::Separate([q, k, v]) = &self.projection else {
            return Err(Error::invalid("attention to a source", "projections of their own", "packed ones"));
        };
        let q = self.heads(&q.forward(xs, context.pass)?, self.num_heads)?;
        let make = || -> Result<(Tensor, Tensor)> {
            let k = self.heads(&k.forward(source, context.pass)?, self.num_kv_heads)?;
            Ok((k, self.heads(&v.forward(source, context.pass)?, self.num_kv_heads)?))
        };
        let (k, v) = match cache {
            Some(LayerCache { kept: Some(kept) }) => kept.clone(),
            Some(cache) => cache.kept.insert(make()?).clone(),
            None => make()?,
        };
        self.attend(&q, &k, &v, context)
    }

    /// Queries, keys and values, (batch, len, heads, head_dim).
    fn project(&self, xs: &Tensor, pass: &Pass) -> Result<[Tensor; 3]> {
        let heads = [self.num_heads, self.num_kv_heads, self.num_kv_heads];
        match &self.projection {
            Projection::Separate(layers) => {
                let [q, k, v] = layers;
                let made = |layer: &Linear, heads| self.heads(&layer.forward(xs, pass)?, heads);
                Ok([made(q, heads[0])?, made(k, heads[1])?, made(v, heads[2])?])
            }
            Projection::Packed(layer) => {
                let packed = layer.forward(xs, pass)?;
                let mut start = 0;
                let mut part = |heads: usize| {
                    let part = packed.narrow(2, start, heads * self.head_dim)?;
                    start += heads * self.head_dim;
                    let (batch, len, _) = part.dims3()?;
                    // A part of each row: it stays where it is.
                    Ok::<_, Error>(part.contiguous()?.reshape((batch, len, heads, self.head_dim))?)
                };
                Ok([part(heads[0])?, part(heads[1])?, part(heads[2])?])
            }
        }
    }

    fn heads(&self, xs: &Tensor, heads: usize) -> Result<Tensor> {
        let (batch, len, _) = xs.dims3()?;
        Ok(reshape(xs, (batch, len, heads, self.head_dim))?)
    }

    /// Queries and keys, normalised and turned by their positions.
    fn place(&self, q: Tensor, k: Tensor, offset: usize, pass: &Pass) -> Result<(Tensor, Tensor)> {
        let (q, k) = match &self.norms {
            Some([q_norm, k_norm]) => (q_norm.forward(&q, pass)?, k_norm.forward(&k, pass)?),
            None => (q, k),
        };
        let Some(rope) = &self.rope else { return Ok((q, k)) };
        let turn = |xs: Tensor| -> Result<Tensor> { Ok(rope.apply(&xs.transpose(1, 2)?, offset)?.transpose(1, 2)?) };
        Ok((turn(q)?, turn(k)?))
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, context: &Context) -> Result<Tensor> {
        let [q, k, v] = [q, k, v].map(|xs| xs.transpose(1, 2));
        let (q, k, v) = (q?, k?, v?);
        let ys = match context.bias.filter(|bias| context.pass.records_gradients() && bias.track_op()) {
            Some(bias) => self.attend_with_gradient_of(bias, &q, &k, &v, context)?,
            None => attention(&q, &k, &v, Some(&context.mask()), &self.params(context.pass))?,
        };
        let (batch, heads, len, dim) = ys.dims4()?;
        self.output.forward(&ys.transpose(1, 2)?.reshape((batch, len, heads * dim))?, context.pass)
    }

    fn params(&self, pass: &Pass) -> AttentionParams {
        let is_dropping = pass.is_training() && self.dropout > 0.0;
        let dropout = is_dropping.then(|| (self.dropout, pass.rng().next_u64()));
        AttentionParams { causal: self.causal, window: self.window, scale: self.scale, dropout }
    }

    /// The same of single operations, for a bias that learns: the fused one gives it no gradient.
    fn attend_with_gradient_of(
        &self,
        bias: &Tensor,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        context: &Context,
    ) -> Result<Tensor> {
        let scale = self.scale.unwrap_or(1.0 / (self.head_dim as f64).sqrt());
        let scores = (q.contiguous()?.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?.broadcast_add(bias)?;
        let hidden = hidden(scores.dims(), self.causal, context.padding)?;
        let hidden = hidden.to_dtype(scores.dtype())?.to_device(scores.device())?;
        let shares = scores.broadcast_add(&hidden)?.softmax(3)?;
        let shares = Dropout::new(self.dropout)?.forward(&shares, context.pass)?;
        Ok(shares.matmul(&v.contiguous()?)?)
    }
}

/// −∞ (or nearly) where a query must not see a key, else 0: (batch or 1, 1, q_len, kv_len).
fn hidden(scores: &[usize], causal: bool, padding: Option<&Tensor>) -> Result<Tensor> {
    let (batch, q_len, kv_len) = (scores[0], scores[2], scores[3]);
    let padding = padding.map(|mask| Ok::<_, Error>(mask.to_dtype(DType::U32)?.to_vec2::<u32>()?)).transpose()?;
    let rows = if padding.is_some() { batch } else { 1 };
    let is_hidden = |row: usize, query: usize, key: usize| {
        let padded = padding.as_ref().is_some_and(|mask| mask[row].get(key) == Some(&0));
        padded || causal && key + q_len > query + kv_len
    };
    let mut values = Vec::with_capacity(rows * q_len * kv_len);
    for row in 0..rows {
        for query in 0..q_len {
            values.extend((0..kv_len).map(|key| if is_hidden(row, query, key) { -1e30f32 } else { 0.0 }));
        }
    }
    Ok(Tensor::from_vec(values, (rows, 1, q_len, kv_len), &candle_core::Device::Cpu)?)
}
