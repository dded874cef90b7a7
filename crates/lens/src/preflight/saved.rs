//! Parameters and buffers, to be put back.

use candle_core::Tensor;
use glassbox_core::{ParamStore, Result};

/// Copies of every parameter and buffer.
pub(crate) struct Saved(Vec<(String, Tensor)>);

impl Saved {
    pub fn new(params: &ParamStore) -> Result<Self> {
        let copies = params.all().into_iter().map(|param| Ok((param.name().to_string(), param.value().copy()?)));
        copies.collect::<Result<_>>().map(Self)
    }

    /// Puts them back, to the bit.
    pub fn restore(&self, params: &ParamStore) -> Result<()> {
        self.0.iter().try_for_each(|(name, value)| params.get(name).map_or(Ok(()), |param| param.set(value)))
    }
}
