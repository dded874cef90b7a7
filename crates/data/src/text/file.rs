//! The vocabulary of a `tokenizer.json`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use glassbox_core::{Error, Result};

use super::{Tokenizer, read_text};

/// A tokenizer of Hugging Face's `tokenizers`, read from its `tokenizer.json`.
///
/// [`encode`](Tokenizer::encode) adds the special tokens that the file's post-processor adds;
/// [`decode`](Tokenizer::decode) leaves special tokens out. Regular expressions are run by a Rust engine.
#[derive(Clone, Debug)]
pub struct TokenizerFile {
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    place: String,
}

impl TokenizerFile {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::parse(&read_text(&path)?, &path.as_ref().display().to_string())
    }

    /// The tokenizer that the text of a `tokenizer.json` describes; `place` names it in errors.
    ///
    /// # Errors
    /// The text describes none, or one without tokens.
    pub fn parse(json: &str, place: &str) -> Result<Self> {
        Self::new(guarded(place, || json.parse())?, place)
    }

    pub(super) fn new(inner: tokenizers::Tokenizer, place: &str) -> Result<Self> {
        // Ids need not be consecutive: the number of tokens may be less than an embedding needs.
        let largest = inner.get_vocab(true).into_values().max();
        let largest = largest.ok_or_else(|| Error::format(place, "a tokenizer without tokens"))?;
        Ok(Self { inner, vocab_size: largest as usize + 1, place: place.to_string() })
    }

    /// Writes it as `tokenizer.json`, which Hugging Face's libraries read too.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let json = guarded(&self.place, || self.inner.to_string(true))?;
        glassbox_core::write_atomic(path.as_ref(), json.as_bytes())
    }

    #[cfg(test)]
    pub(super) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// The id of `token` as the file spells it, such as `<|endoftext|>`; none where it has no such token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}

impl Tokenizer for TokenizerFile {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        guarded(&self.place, || Ok(self.inner.encode_fast(text, true)?.get_ids().to_vec()))
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(&id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            return Err(Error::invalid("token id", format!("one of {}", self.place), id));
        }
        guarded(&self.place, || self.inner.decode(ids, true))
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

/// What `work` gives; its error, or its panic, as an error of the file: the crate panics on some broken files.
pub(super) fn guarded<T>(place: &str, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    let caught = catch_unwind(AssertUnwindSafe(work));
    let result = caught.map_err(|_| Error::format(place, "not a tokenizer that `tokenizers` can read"))?;
    result.map_err(|e| Error::format(place, e.to_string()))
}
