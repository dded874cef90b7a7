//! Attention of an image's positions to each other.

use candle_core::{D, Tensor};
use glassbox_cnn::Conv2dConfig;
use glassbox_core::{Error, Init, Layer, Param, Pass, Result, Site, TensorExt, VarBuilder};

use super::{ScaledConv2d, WeightScale};
use crate::input_gradient::{InputGradient, Pullback};

/// Self-attention of SAGAN (Zhang et al. 2018, arXiv 1805.08318): y = x + gamma · o, o_i = W_o Σ_j softmax_j(q_i · k_j) v_j
/// over all positions j, with queries and keys of channels / 8 and values of channels / 2 features.
///
/// Parameters: the spectrally normalised 1 × 1 convolutions `query`, `key`, `value`, `out`, without biases, and `gamma` (1),
/// initially 0, so that the layer starts as the identity.
///
/// # Shapes
/// (batch, channels, height, width) to the same.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Seed};
/// use glassbox_gan::SelfAttention;
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let maps = Tensor::ones((2, 16, 4, 4), DType::F32, &Device::Cpu)?;
/// let ys = SelfAttention::new(16, params.root())?.forward(&maps, &Pass::eval())?;
/// assert_eq!(ys.dims(), [2, 16, 4, 4]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SelfAttention {
    query: ScaledConv2d,
    key: ScaledConv2d,
    value: ScaledConv2d,
    out: ScaledConv2d,
    gamma: Param,
    channels: usize,
    site: Site,
}

impl SelfAttention {
    /// Attention over maps of `channels` channels.
    ///
    /// # Errors
    /// Fewer than 8 channels; parameters of the same name and another shape exist.
    pub fn new(channels: usize, vb: VarBuilder) -> Result<Self> {
        Self::with_scale(channels, WeightScale::SPECTRAL, vb)
    }

    /// The same, with the weights scaled in another way.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_scale(channels: usize, scale: WeightScale, vb: VarBuilder) -> Result<Self> {
        if channels < 8 {
            return Err(Error::invalid("channels of self-attention", "8 or more", channels).at(vb.path()));
        }
        let conv = |name: &str, from, to| {
            let config = Conv2dConfig { bias: false, ..Default::default() };
            ScaledConv2d::new(from, to, 1, config, scale, vb.pp(name))
        };
        Ok(Self {
            query: conv("query", channels, channels / 8)?,
            key: conv("key", channels, channels / 8)?,
            value: conv("value", channels, channels / 2)?,
            out: conv("out", channels / 2, channels)?,
            gamma: vb.param("gamma", 1, Init::Zeros)?,
            channels,
            site: Site::new(vb.path(), "SelfAttention"),
        })
    }

    fn check(&self, xs: &Tensor) -> Result<()> {
        match *xs.dims() {
            [_, c, _, _] if c == self.channels => Ok(()),
            _ => {
                let expected = format!("(batch, {}, height, width)", self.channels);
                Err(Error::invalid("input", expected, format!("{:?}", xs.dims())))
            }
        }
    }
}

/// (batch, channels, positions).
fn flat(maps: &Tensor) -> Result<Tensor> {
    Ok(maps.flatten_from(2)?)
}

/// Weights (batch, query, key) from queries and keys (batch, features, positions).
fn weights(query: &Tensor, key: &Tensor) -> Result<Tensor> {
    query.transpose(1, 2)?.contiguous()?.matmul(key)?.softmax(D::Minus1)
}

/// `values` (batch, features, key) gathered by `weights` (batch, query, key).
fn gather(values: &Tensor, weights: &Tensor) -> Result<Tensor> {
    Ok(values.matmul(&weights.transpose(1, 2)?.contiguous()?)?)
}

impl Layer for SelfAttention {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.forward_with_pullback(xs, pass).map(|(ys, _)| ys)
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}

impl InputGradient for SelfAttention {
    fn forward_with_pullback(&self, xs: &Tensor, pass: &Pass) -> Result<(Tensor, Pullback)> {
        self.check(xs).map_err(|e| e.at(self.site.path()))?;
        let (query, of_query) = self.query.forward_with_pullback(xs, pass)?;
        let (key, of_key) = self.key.forward_with_pullback(xs, pass)?;
        let (value, of_value) = self.value.forward_with_pullback(xs, pass)?;
        let (q, k, v) = (flat(&query)?, flat(&key)?, flat(&value)?);
        let weights = weights(&q, &k)?;
        let (out, of_out) = self.out.forward_with_pullback(&gather(&v, &weights)?.reshape(value.shape())?, pass)?;
        let gamma = self.gamma.get(pass).reshape((1, 1, 1, 1))?;
        let ys = self.site.run(xs, pass, || Ok((xs + out.broadcast_mul(&gamma)?)?))?;
        let (small, large) = (query.shape().clone(), value.shape().clone());
        let pullback = move |g: &Tensor| {
            let of_gathered = flat(&of_out(&g.broadcast_mul(&gamma)?)?)?;
            let of_weights = of_gathered.transpose(1, 2)?.contiguous()?.matmul(&v)?;
            // The softmax's own: w · (g − Σ_j w g).
            let weighted = (&of_weights * &weights)?;
            let of_scores = (&weighted - weights.broadcast_mul(&weighted.sum_keepdim(D::Minus1)?)?)?;
            let value_part = of_value(&of_gathered.matmul(&weights)?.reshape(&large)?)?;
            let query_part = of_query(&gather(&k, &of_scores)?.reshape(&small)?)?;
            let key_part = of_key(&q.matmul(&of_scores)?.reshape(&small)?)?;
            Ok((((g + value_part)? + query_part)? + key_part)?)
        };
        Ok((ys, Box::new(pullback)))
    }
}
