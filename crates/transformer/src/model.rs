//! What generation and training need of a model.

use candle_core::Tensor;
use glassbox_core::{Pass, Result};

use crate::attention::Cache;

/// A model of the next token.
pub trait CausalLm: Send + Sync {
    /// Number of token ids that it knows.
    fn vocab_size(&self) -> usize;

    /// The longest text it can read, in tokens; none where there is no limit.
    fn max_positions(&self) -> Option<usize>;

    /// The ids that end a text; none where there is none.
    fn eos_token_ids(&self) -> &[u32];

    /// An empty cache for this model.
    fn new_cache(&self) -> Cache;

    /// The logits of the token after each of `ids`.
    ///
    /// # Shapes
    /// `ids` (batch, len), the tokens after those in `cache`; `mask` (batch, tokens in the cache + len), u8 or u32, 0 where there is padding,
    /// which may stand left or right. Returns (batch, len, vocab_size).
    ///
    /// # Errors
    /// Ids past the vocabulary; more tokens than `max_positions`; shapes that disagree.
    fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, cache: Option<&mut Cache>, pass: &Pass) -> Result<Tensor>;
}

/// A model that reads a source and writes a target.
pub trait EncoderDecoder: Send + Sync {
    /// Number of token ids that its decoder knows.
    fn vocab_size(&self) -> usize;

    /// The longest target, in tokens; none where there is no limit.
    fn max_target_positions(&self) -> Option<usize>;

    /// The id that every target begins with, before its first token.
    fn start_token_id(&self) -> u32;

    /// The ids that end a target.
    fn eos_token_ids(&self) -> &[u32];

    /// An empty cache for the decoder.
    fn new_cache(&self) -> Cache;

    /// The source read.
    ///
    /// # Shapes
    /// `ids` (batch, source_len); `mask` likewise, u8 or u32, 0 where there is padding. Returns (batch, source_len, width).
    ///
    /// # Errors
    /// Ids past the vocabulary; more tokens than the encoder has positions; shapes that disagree.
    fn encode(&self, ids: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor>;

    /// The logits of the target's token after each of `ids`, where `source` was [encoded](Self::encode).
    ///
    /// # Shapes
    /// `ids` (batch, len), the tokens after those in `cache`; `source_mask` (batch, source_len). Returns (batch, len, vocab_size).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn decode(
        &self,
        ids: &Tensor,
        source: &Tensor,
        source_mask: Option<&Tensor>,
        cache: Option<&mut Cache>,
        pass: &Pass,
    ) -> Result<Tensor>;
}
