//! What a transformer's layers are made of.

use glassbox_core::{Activation, Error, Init, LayerNorm, Linear, Result, RmsNorm, Site, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::attention::{Attention, Projection, Rope, RopeParameters};
use crate::hub::blocks::{Block, FeedForward, Heads, Norm};

/// The layers of a transformer: what they are made of and how large they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerConfig {
    /// Features of a token between layers. Default 256.
    pub d_model: usize,
    /// Heads of an attention layer; they divide `d_model`. Default 4.
    pub num_heads: usize,
    /// Heads of keys and values, each for num_heads / num_kv_heads heads of queries: grouped-query attention (Ainslie et al.
    /// 2023, arXiv 2305.13245), with 1 multi-query attention. Default `num_heads`.
    pub num_kv_heads: Option<usize>,
    /// Features between the two layers for each token. Default 4 · d_model.
    pub feed_forward_size: Option<usize>,
    /// What is between them.
    pub feed_forward: FeedForwardKind,
    /// The kind of normalisation.
    pub norm: NormKind,
    /// Where it stands.
    pub norm_place: NormPlace,
    /// Whether linear layers have a bias. Default true.
    pub bias: bool,
    /// Whether each head's queries and keys go through an RMS normalisation (Henry et al. 2020, arXiv 2010.04245). Default
    /// false.
    pub qk_norm: bool,
    /// Tokens that each one sees, itself included, where attention is causal. Default all before it.
    pub window: Option<usize>,
    /// Probability with which elements of the embeddings and of each sublayer's output are dropped, in [0, 1). Default 0.
    pub dropout: f64,
    /// The same for attention's weights. Default 0.
    pub attention_dropout: f64,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            d_model: 256,
            num_heads: 4,
            num_kv_heads: None,
            feed_forward_size: None,
            feed_forward: FeedForwardKind::Gelu,
            norm: NormKind::LayerNorm,
            norm_place: NormPlace::Pre,
            bias: true,
            qk_norm: false,
            window: None,
            dropout: 0.0,
            attention_dropout: 0.0,
        }
    }
}

/// W₂ f(W₁ x), or gated: W₂ (f(W₁ x) · V x).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForwardKind {
    /// max(0, ·).
    Relu,
    /// The GELU by tanh, as GPT-2 has it.
    #[default]
    Gelu,
    /// Gated by SiLU (Shazeer 2020, arXiv 2002.05202).
    SwiGlu,
    /// Gated by GELU (the same).
    GeGlu,
}

/// A kind of normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Mean 0 and variance 1, then scaled and shifted.
    #[default]
    LayerNorm,
    /// Mean square 1, then scaled (Zhang and Sennrich 2019, arXiv 1910.07467).
    RmsNorm,
}

/// Where a sublayer's normalisation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlace {
    /// x + f(norm(x)), and one normalisation after all layers (Xiong et al. 2020, arXiv 2002.04745).
    #[default]
    Pre,
    /// norm(x + f(x)) (Vaswani et al. 2017, arXiv 1706.03762): needs a warmup of the learning rate.
    Post,
}

/// The first values of a layer's weights: of those that read what comes in, and of those that add to it.
#[derive(Clone, Copy)]
pub(crate) struct Weights {
    pub inner: Init,
    pub outer: Init,
}

/// What an attention layer sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Encoder,
    /// The tokens before.
    Causal,
    /// The tokens before, and the whole source.
    Decoder,
}

impl TransformerConfig {
    pub(crate) fn check(&self) -> Result<()> {
        let kv_heads = self.num_kv_heads.unwrap_or(self.num_heads);
        if self.d_model == 0 || self.num_heads == 0 || !self.d_model.is_multiple_of(self.num_heads) {
            let expected = format!("a multiple of num_heads {}, above 0", self.num_heads);
            return Err(Error::invalid("d_model", expected, self.d_model));
        }
        if kv_heads == 0 || !self.num_heads.is_multiple_of(kv_heads) {
            return Err(Error::invalid("num_kv_heads", format!("a divisor of num_heads {}", self.num_heads), kv_heads));
        }
        for (what, size) in [("feed_forward_size", self.feed_forward_size), ("window", self.window)] {
            if size == Some(0) {
                return Err(Error::invalid(what, "at least 1", 0));
            }
        }
        for (what, p) in [("dropout", self.dropout), ("attention_dropout", self.attention_dropout)] {
            if !(0.0..1.0).contains(&p) {
                return Err(Error::invalid(what, "from 0 to below 1", p));
            }
        }
        Ok(())
    }

    pub(crate) fn normalisation(&self, vb: VarBuilder) -> Result<Norm> {
        Ok(match self.norm {
            NormKind::LayerNorm => Box::new(LayerNorm::new(self.d_model, vb)?),
            NormKind::RmsNorm => Box::new(RmsNorm::new(self.d_model, vb)?),
        })
    }

    /// The normalisation after all layers, where there is one.
    pub(crate) fn last_norm(&self, vb: VarBuilder) -> Result<Option<Norm>> {
        (self.norm_place == NormPlace::Pre).then(|| self.normalisation(vb)).transpose()
    }

    /// `num_layers` layers under `vb`, numbered.
    pub(crate) fn layers(
        &self,
        num_layers: usize,
        role: Role,
        rope_theta: Option<f64>,
        weights: Weights,
        vb: &VarBuilder,
    ) -> Result<Vec<Block>> {
        (0..num_layers).map(|i| self.layer(role, rope_theta, weights, vb.pp(i))).collect()
    }

    fn layer(&self, role: Role, rope_theta: Option<f64>, weights: Weights, vb: VarBuilder) -> Result<Block> {
        let own = Attention {
            causal: role != Role::Encoder,
            window: self.window.filter(|_| role != Role::Encoder),
            rope: rope_theta.map(|theta| self.rope(theta)).transpose()?,
            ..self.attention(rope_theta.is_none(), weights, vb.pp("self_attn"))?
        };
        let to_source = || -> Result<_> {
            Ok((self.attention(false, weights, vb.pp("cross_attn"))?, self.normalisation(vb.pp("cross_attn_norm"))?))
        };
        Ok(Block {
            attention: own,
            attention_norm: self.normalisation(vb.pp("self_attn_norm"))?,
            to_source: (role == Role::Decoder).then(to_source).transpose()?,
            mlp: self.feed_forward(weights, vb.pp("feed_forward"))?,
            mlp_norm: self.normalisation(vb.pp("feed_forward_norm"))?,
            norm_first: self.norm_place == NormPlace::Pre,
            dropouts: [self.dropout; 2],
            site: Site::new(vb.path(), "TransformerLayer"),
        })
    }

    fn rope(&self, theta: f64) -> Result<Rope> {
        Rope::new(theta, &RopeParameters::default(), self.d_model / self.num_heads)
    }

    /// Attention that sees everything. One product gives queries, keys and values where they are of the same number and of
    /// one input, which `is_packed` says.
    fn attention(&self, is_packed: bool, weights: Weights, vb: VarBuilder) -> Result<Attention> {
        let head_dim = self.d_model / self.num_heads;
        let kv_heads = self.num_kv_heads.unwrap_or(self.num_heads);
        let layer =
            |name: &str, heads: usize| linear(self.d_model, heads * head_dim, self.bias, weights.inner, vb.pp(name));
        let projection = match is_packed && kv_heads == self.num_heads && !self.qk_norm {
            true => Projection::Packed(layer("qkv", 3 * self.num_heads)?),
            false => Projection::Separate([layer("q", self.num_heads)?, layer("k", kv_heads)?, layer("v", kv_heads)?]),
        };
        let norm = |name: &str| RmsNorm::new(head_dim, vb.pp(name));
        let heads = Heads { num_kv_heads: kv_heads, ..Heads::of(self.d_model, self.num_heads) };
        let output = linear(self.d_model, self.d_model, self.bias, weights.outer, vb.pp("out"))?;
        Ok(Attention {
            dropout: self.attention_dropout,
            norms: self.qk_norm.then(|| Ok::<_, Error>([norm("q_norm")?, norm("k_norm")?])).transpose()?,
            ..heads.around(projection, output)
        })
    }

    fn feed_forward(&self, weights: Weights, vb: VarBuilder) -> Result<FeedForward> {
        let size = self.feed_forward_size.unwrap_or(4 * self.d_model);
        let (activation, is_gated) = match self.feed_forward {
            FeedForwardKind::Relu => (Activation::Relu, false),
            FeedForwardKind::Gelu => (Activation::GeluTanh, false),
            FeedForwardKind::SwiGlu => (Activation::Silu, true),
            FeedForwardKind::GeGlu => (Activation::GeluTanh, true),
        };
        let inner = |name: &str| linear(self.d_model, size, self.bias, weights.inner, vb.pp(name));
        Ok(FeedForward {
            inner: inner("inner")?,
            factor: is_gated.then(|| inner("factor")).transpose()?,
            outer: linear(size, self.d_model, self.bias, weights.outer, vb.pp("outer"))?,
            activation,
            dropout: 0.0,
        })
    }
}

/// A layer whose weights start as `init` says, its bias at 0.
pub(crate) fn linear(inputs: usize, outputs: usize, bias: bool, init: Init, vb: VarBuilder) -> Result<Linear> {
    vb.param("weight", (outputs, inputs), init)?;
    if !bias {
        return Linear::no_bias(inputs, outputs, vb);
    }
    vb.param("bias", outputs, Init::Zeros)?;
    Linear::new(inputs, outputs, vb)
}
