//! Text: files, vocabularies, windows of tokens for language models, sentence pairs for translation.
//!
//! ```
//! use glassbox_core::dataset::{DataLoader, Position};
//! use glassbox_core::Seed;
//! use glassbox_data::text::{CharVocab, TokenWindows, Tokenizer, split_by_position};
//! let text = "to be or not to be, that is the question";
//! let vocab = CharVocab::from_text(text)?;
//! let tokens = vocab.encode(text)?;
//! let (train, validation) = split_by_position(&tokens, 0.7)?;
//! let loader = DataLoader::new(TokenWindows::new(train, 8)?.random(1000)?, 32).seed(Seed(1));
//! let batch = loader.batches(Position::default(), &candle_core::Device::Cpu)?.next().expect("a batch")?;
//! assert_eq!((batch.input.dims(), batch.target.dims()), (&[32, 8][..], &[32, 8][..]));
//! # Ok::<(), glassbox_core::Error>(())
//! ```

mod chars;
#[cfg(feature = "tokenizers")]
mod file;
mod parallel;
mod stream;
#[cfg(feature = "tokenizers")]
mod train;
mod windows;
mod words;

use std::path::Path;

use glassbox_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::source::{decompressed, open, read_error};

pub use chars::CharVocab;
#[cfg(feature = "tokenizers")]
pub use file::TokenizerFile;
pub use glassbox_core::dataset::StreamBatch;
pub use parallel::{EmptyLines, ParallelCorpus, TokenPairs};
pub use stream::StreamBatches;
#[cfg(feature = "tokenizers")]
pub use train::{TokenizerKind, TokenizerTraining};
pub use windows::TokenWindows;
pub use words::WordVocab;

/// Text to token ids and back.
pub trait Tokenizer: Send + Sync {
    /// The ids of `text`'s tokens.
    ///
    /// # Errors
    /// A piece of text that the vocabulary lacks and has no substitute for.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;

    /// The text of these tokens.
    ///
    /// # Errors
    /// An id that is not in the vocabulary.
    fn decode(&self, ids: &[u32]) -> Result<String>;

    /// Number of rows that an embedding needs: every id is below it.
    fn vocab_size(&self) -> usize;
}

/// The text of a UTF-8 file, decompressed where it starts as gzip does, without a byte order mark.
///
/// # Errors
/// The file cannot be read; it is not UTF-8 (the error names the first wrong byte's offset).
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let place = path.as_ref().display().to_string();
    let mut bytes = Vec::new();
    let mut reader = decompressed(open(path.as_ref())?, &place)?;
    reader.read_to_end(&mut bytes).map_err(|e| read_error(&place, e))?;
    utf8(bytes, &place)
}

fn utf8(bytes: Vec<u8>, place: &str) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        Error::format(place, format!("not UTF-8 text at byte {offset}, counted from 0"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(String::from).unwrap_or(text))
}

/// The first `fraction` of `items`, rounded down, and the rest: 0.9 is the usual split of a text. Nothing is shuffled,
/// since neighbouring windows overlap.
///
/// # Errors
/// A fraction that is not between 0 and 1, or that leaves a part empty.
pub fn split_by_position<T>(items: &[T], fraction: f64) -> Result<(&[T], &[T])> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::invalid("fraction of the split", "a number between 0 and 1", fraction));
    }
    match items.split_at((items.len() as f64 * fraction) as usize) {
        (first, rest) if first.is_empty() || rest.is_empty() => {
            let got = format!("{} and {}", first.len(), rest.len());
            Err(Error::invalid("split", "at least one token in each part", got))
        }
        parts => Ok(parts),
    }
}

/// The token called `id`, or an error that names it.
fn token<T>(tokens: &[T], id: u32) -> Result<&T> {
    let unknown = || Error::invalid("token id", format!("below {}, the size of the vocabulary", tokens.len()), id);
    tokens.get(id as usize).ok_or_else(unknown)
}

fn save_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value).map_err(|e| Error::format(path.display(), e.to_string()))?;
    std::fs::write(path, json).map_err(|e| Error::io(path, e))
}

fn load_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&read_text(path)?).map_err(|e| Error::format(path.display(), e.to_string()))
}

#[cfg(test)]
mod tests;
