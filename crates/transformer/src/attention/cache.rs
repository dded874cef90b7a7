//! What attention keeps of the tokens so far.

use candle_core::Tensor;
use glassbox_core::{Result, concat};

/// The keys and values of the tokens so far, of one attention layer.
#[derive(Clone, Debug, Default)]
pub struct LayerCache {
    pub(super) kept: Option<(Tensor, Tensor)>,
}

impl LayerCache {
    /// Number of tokens so far.
    pub fn len(&self) -> usize {
        self.kept.as_ref().and_then(|(keys, _)| keys.dim(1).ok()).unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in keys and values (batch, len, heads, head_dim), and gives all so far.
    pub(super) fn push(&mut self, keys: Tensor, values: Tensor) -> Result<(Tensor, Tensor)> {
        let all = match &self.kept {
            Some((k, v)) => (concat(&[k, &keys], 1)?, concat(&[v, &values], 1)?),
            None => (keys, values),
        };
        self.kept = Some(all.clone());
        Ok(all)
    }

    /// The cache of the batch items `rows`, in this order.
    fn select(&self, rows: &Tensor) -> Result<Self> {
        let select =
            |(k, v): &(Tensor, Tensor)| -> Result<_> { Ok((k.index_select(rows, 0)?, v.index_select(rows, 0)?)) };
        Ok(Self { kept: self.kept.as_ref().map(select).transpose()? })
    }
}

/// What a decoder keeps of the tokens so far: keys and values of every layer, and of an encoder–decoder those of the source.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) own: Vec<LayerCache>,
    pub(crate) source: Vec<LayerCache>,
}

impl Cache {
    pub(crate) fn new(layers: usize) -> Self {
        Self { own: vec![LayerCache::default(); layers], source: vec![LayerCache::default(); layers] }
    }

    /// Number of tokens so far, padding included.
    pub fn len(&self) -> usize {
        self.own.first().map_or(0, LayerCache::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cache of the batch items `rows`, in this order: what beam search goes on with.
    ///
    /// # Errors
    /// A row that the batch does not have.
    pub fn select(&self, rows: &[u32]) -> Result<Self> {
        let device = self.own.first().and_then(|c| c.kept.as_ref()).map(|(k, _)| k.device().clone());
        let Some(device) = device else { return Ok(self.clone()) };
        let rows = Tensor::new(rows, &device)?;
        let all = |caches: &[LayerCache]| caches.iter().map(|c| c.select(&rows)).collect::<Result<Vec<_>>>();
        Ok(Self { own: all(&self.own)?, source: all(&self.source)? })
    }
}
