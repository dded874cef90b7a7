//! A learned vector for each id.

use candle_core::{DType, Tensor};
use glassbox_kernels::embedding::embedding;

use super::expect_count;
use crate::{Error, Init, Layer, Param, Pass, Result, Site, VarBuilder};

/// A learned vector for each id: row id of `weight`.
///
/// Parameter: `weight` (num_embeddings, embedding_dim), initially standard normal, as PyTorch's `nn.Embedding`.
///
/// # Shapes
/// Ids (…) of type u32 or i64 to (…, embedding_dim).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Embedding, Layer, ParamStore, Pass, Seed};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let layer = Embedding::new(10, 4, params.root())?;
/// let ys = layer.forward(&Tensor::new(&[[1u32, 2, 9]], &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(ys.dims(), [1, 3, 4]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedding {
    weight: Param,
    padding_idx: Option<usize>,
    site: Site,
}

impl Embedding {
    /// Vectors of `embedding_dim` elements for the ids 0 to `num_embeddings` − 1.
    ///
    /// # Errors
    /// A size of 0; a parameter of the same name and another shape exists.
    pub fn new(num_embeddings: usize, embedding_dim: usize, vb: VarBuilder) -> Result<Self> {
        let sizes = expect_count("num_embeddings", num_embeddings).and(expect_count("embedding_dim", embedding_dim));
        sizes.map_err(|e| e.at(vb.path()))?;
        let weight = vb.param("weight", (num_embeddings, embedding_dim), Init::Normal { mean: 0.0, std: 1.0 })?;
        Ok(Self { weight, padding_idx: None, site: Site::new(vb.path(), "Embedding") })
    }

    /// The same, where the row of the id `padding_idx` is set to zeros and gets no gradient, so that it stays.
    ///
    /// # Errors
    /// `padding_idx` is not below `num_embeddings`; otherwise as [`new`](Self::new).
    pub fn with_padding_idx(
        num_embeddings: usize,
        embedding_dim: usize,
        padding_idx: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let layer = Self::new(num_embeddings, embedding_dim, vb)?;
        if padding_idx >= num_embeddings {
            let error = Error::invalid("padding_idx", format!("an id below {num_embeddings}"), padding_idx);
            return Err(error.at(layer.site.path()));
        }
        let weight = layer.weight.value();
        let zeros = Tensor::zeros((1, embedding_dim), weight.dtype(), weight.device())?;
        layer.weight.set(&weight.slice_assign(&[padding_idx..padding_idx + 1, 0..embedding_dim], &zeros)?)?;
        Ok(Self { padding_idx: Some(padding_idx), ..layer })
    }

    /// The vectors, (num_embeddings, embedding_dim).
    pub fn weight(&self) -> &Param {
        &self.weight
    }
}

impl Layer for Embedding {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.site.run(xs, pass, || {
            if !matches!(xs.dtype(), DType::U32 | DType::I64) {
                return Err(Error::invalid("input", "ids of type u32 or i64", format!("{:?}", xs.dtype())));
            }
            Ok(embedding(&self.weight.get(pass), xs, self.padding_idx)?)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.site)
    }
}
