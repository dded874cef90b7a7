//! What the published models are made of.

use candle_core::{DType, Device, Tensor};
use glassbox_core::fusion::Follower;
use glassbox_core::{
    Activation, Embedding, Error, Layer, LayerNorm, Linear, NormConfig, Param, Pass, Result, RmsNorm, Site, VarBuilder,
};
use glassbox_kernels::graph::add;
use glassbox_kernels::linear::linear as product;

use super::drop_out;
use crate::attention::{Attention, Cache, Context, LayerCache, Projection};

/// A normalisation of either kind.
pub(crate) type Norm = Box<dyn Layer>;

pub(crate) fn layer_norm(width: usize, eps: f64, vb: VarBuilder) -> Result<Norm> {
    let config = NormConfig { eps, ..NormConfig::default() };
    Ok(Box::new(LayerNorm::with_config(width, config, vb)?))
}

pub(crate) fn rms_norm(width: usize, eps: f64, vb: VarBuilder) -> Result<Norm> {
    Ok(Box::new(RmsNorm::with_eps(width, eps, vb)?))
}

pub(crate) fn linear(inputs: usize, outputs: usize, bias: bool, vb: VarBuilder) -> Result<Linear> {
    if bias { Linear::new(inputs, outputs, vb) } else { Linear::no_bias(inputs, outputs, vb) }
}

/// `layer` and then `activation`, in one operation unless a probe looks.
pub(crate) fn activated(layer: &Linear, activation: Activation, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
    if pass.probe().is_some() {
        return activation.forward(&layer.forward(xs, pass)?, pass);
    }
    layer.forward_fused(xs, pass, &[Follower::Activation(activation)]).map(|(ys, _)| ys)
}

/// The logits by the vectors of `embedding`, as tied weights have it.
pub(crate) fn tied_logits(xs: &Tensor, embedding: &Embedding, bias: Option<&Param>, pass: &Pass) -> Result<Tensor> {
    let bias = bias.map(|bias| bias.get(pass).flatten_all()).transpose()?;
    Ok(product(xs, &embedding.weight().get(pass), bias.as_ref(), None)?)
}

/// The sizes of an attention layer.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub width: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
}

impl Heads {
    /// `num_heads` heads that share `width` among them.
    pub fn of(width: usize, num_heads: usize) -> Self {
        Self { width, num_heads, num_kv_heads: num_heads, head_dim: width / num_heads }
    }

    /// Attention that sees everything, with layers called `names`: of queries, keys, values and the output. `bias` says
    /// whether the first three have one, and whether the last has.
    pub fn attention(self, names: [&str; 4], bias: [bool; 2], vb: &VarBuilder) -> Result<Attention> {
        let make = |name: &str, heads| linear(self.width, heads * self.head_dim, bias[0], vb.pp(name));
        let projection = Projection::Separate([
            make(names[0], self.num_heads)?,
            make(names[1], self.num_kv_heads)?,
            make(names[2], self.num_kv_heads)?,
        ]);
        let output = linear(self.num_heads * self.head_dim, self.width, bias[1], vb.pp(names[3]))?;
        Ok(self.around(projection, output))
    }

    /// Attention that sees everything, with these layers.
    pub fn around(self, projection: Projection, output: Linear) -> Attention {
        Attention {
            projection,
            output,
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            scale: None,
            dropout: 0.0,
            rope: None,
            norms: None,
            causal: false,
            window: None,
        }
    }
}

/// outer(dropout(activation(inner(x)) · factor(x))), or without the factor.
pub(crate) struct FeedForward {
    pub inner: Linear,
    pub factor: Option<Linear>,
    pub outer: Linear,
    pub activation: Activation,
    pub dropout: f64,
}

impl FeedForward {
    /// Two layers called `names`, from `width` to `inner` and back.
    pub fn plain(
        width: usize,
        inner: usize,
        names: [&str; 2],
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let (first, last) = (Linear::new(width, inner, vb.pp(names[0]))?, Linear::new(inner, width, vb.pp(names[1]))?);
        Ok(Self { inner: first, factor: None, outer: last, activation, dropout: 0.0 })
    }

    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut ys = activated(&self.inner, self.activation, xs, pass)?;
        if let Some(factor) = &self.factor {
            ys = (ys * factor.forward(xs, pass)?)?;
        }
        self.outer.forward(&drop_out(ys, self.dropout, pass)?, pass)
    }
}

/// One block of a model: attention, in a decoder with a source attention to it, and the layers for each token.
pub(crate) struct Block {
    pub attention: Attention,
    pub attention_norm: Norm,
    pub to_source: Option<(Attention, Norm)>,
    pub mlp: FeedForward,
    pub mlp_norm: Norm,
    /// x + f(norm(x)); else norm(x + f(x)).
    pub norm_first: bool,
    /// Of what attention gives, and of what the last layers give.
    pub dropouts: [f64; 2],
    pub site: Site,
}

/// What a decoder reads.
pub(crate) struct Source<'a> {
    /// (batch, source_len, width).
    pub states: &'a Tensor,
    /// (batch, source_len).
    pub mask: Option<&'a Tensor>,
}

impl Block {
    fn forward(
        &self,
        xs: &Tensor,
        caches: [Option<&mut LayerCache>; 2],
        context: &Context,
        source: Option<&Source>,
    ) -> Result<Tensor> {
        let pass = context.pass;
        let [own, of_source] = caches;
        self.site.run(xs, pass, || {
            let attend = |xs: &Tensor| self.attention.to_itself(xs, own, context);
            let mut ys = self.step(xs, &self.attention_norm, self.dropouts[0], pass, attend)?;
            if let (Some((attention, norm)), Some(source)) = (&self.to_source, source) {
                let context = Context { padding: source.mask, bias: None, pass };
                let attend = |xs: &Tensor| attention.to_source(xs, source.states, of_source, &context);
                ys = self.step(&ys, norm, self.dropouts[0], pass, attend)?;
            }
            self.step(&ys, &self.mlp_norm, self.dropouts[1], pass, |xs| self.mlp.forward(xs, pass))
        })
    }

    fn step(
        &self,
        xs: &Tensor,
        norm: &Norm,
        dropout: f64,
        pass: &Pass,
        run: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if self.norm_first {
            let ys = run(&norm.forward(xs, pass)?)?;
            return Ok(add(xs, &drop_out(ys, dropout, pass)?)?);
        }
        norm.forward(&add(xs, &drop_out(run(xs)?, dropout, pass)?)?, pass)
    }
}

/// `xs` through all `blocks`.
pub(crate) fn run(
    blocks: &[Block],
    mut xs: Tensor,
    cache: Option<&mut Cache>,
    context: &Context,
    source: Option<&Source>,
) -> Result<Tensor> {
    let Some(cache) = cache else {
        for block in blocks {
            xs = block.forward(&xs, [None, None], context, source)?;
        }
        return Ok(xs);
    };
    if cache.own.len() != blocks.len() {
        return Err(Error::invalid("cache", format!("one of {} layers", blocks.len()), cache.own.len()));
    }
    for (block, (own, of_source)) in blocks.iter().zip(cache.own.iter_mut().zip(&mut cache.source)) {
        xs = block.forward(&xs, [Some(own), Some(of_source)], context, source)?;
    }
    Ok(xs)
}

/// Fails unless `ids` is (batch, len) and, where there is a limit, no longer than it from `offset` on.
pub(crate) fn expect_ids(ids: &Tensor, offset: usize, limit: Option<usize>) -> Result<(usize, usize)> {
    let (batch, len) = match *ids.dims() {
        [batch, len] if len > 0 && batch > 0 => (batch, len),
        _ => return Err(Error::invalid("token ids", "(batch, len), one or more each", format!("{:?}", ids.dims()))),
    };
    match limit {
        Some(limit) if offset + len > limit => {
            Err(Error::invalid("token ids", format!("at most {limit}, the model's positions"), offset + len))
        }
        _ => Ok((batch, len)),
    }
}

/// Fails unless `mask` is (batch, len).
pub(crate) fn expect_mask(mask: Option<&Tensor>, batch: usize, len: usize) -> Result<()> {
    match mask {
        Some(mask) if mask.dims() != [batch, len] => {
            let expected = format!("({batch}, {len}), one element for each token so far");
            Err(Error::invalid("attention mask", expected, format!("{:?}", mask.dims())))
        }
        _ => Ok(()),
    }
}

/// The position of each token, (batch, len): how many tokens that are not padding came before it.
pub(crate) fn positions(
    mask: Option<&Tensor>,
    offset: usize,
    batch: usize,
    len: usize,
    device: &Device,
) -> Result<Tensor> {
    let mut all = Vec::with_capacity(batch * len);
    match mask {
        None => (0..batch).for_each(|_| all.extend((offset..offset + len).map(|position| position as u32))),
        Some(mask) => {
            for row in mask.to_dtype(DType::U32)?.to_vec2::<u32>()? {
                let mut before = 0;
                let position = |&token: &u32| {
                    before += u32::from(token != 0);
                    // Padding before the first token has any position: nobody sees it.
                    u32::saturating_sub(before, 1)
                };
                all.extend(row.iter().map(position).skip(offset));
            }
        }
    }
    Ok(Tensor::from_vec(all, (batch, len), device)?)
}

/// Fails unless `source` is (batch, source_len, width), and its mask (batch, source_len).
pub(crate) fn expect_source(source: &Tensor, mask: Option<&Tensor>, batch: usize, width: usize) -> Result<()> {
    match *source.dims() {
        [b, len, w] if (b, w) == (batch, width) && len > 0 => expect_mask(mask, batch, len),
        _ => {
            let expected = format!("({batch}, source_len, {width}), as encoded");
            Err(Error::invalid("source", expected, format!("{:?}", source.dims())))
        }
    }
}
