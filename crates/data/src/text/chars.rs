//! A vocabulary of characters.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use glassbox_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Tokenizer, load_json, save_json, token};

/// The characters of a text, each with an id. As JSON: `{"characters": "…"}`, in the order of their ids.
///
/// ```
/// use glassbox_data::text::{CharVocab, Tokenizer};
/// let vocab = CharVocab::from_text("hello")?;
/// assert_eq!(vocab.encode("hole")?, [1, 3, 2, 0]);
/// assert_eq!(vocab.decode(&[1, 0])?, "he");
/// let message = vocab.encode("help").unwrap_err().to_string();
/// assert_eq!(message, "character 3 of the text: expected one of the vocabulary's 4, got 'p' (U+0070)");
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Characters", try_from = "Characters")]
pub struct CharVocab {
    characters: Vec<char>,
    ids: HashMap<char, u32>,
}

#[derive(Serialize, Deserialize)]
struct Characters {
    characters: String,
}

impl CharVocab {
    /// The distinct characters of `text`, in ascending order of their code points: the same ids for the same characters,
    /// however the text arranges them.
    ///
    /// # Errors
    /// An empty text.
    pub fn from_text(text: &str) -> Result<Self> {
        let distinct: BTreeSet<char> = text.chars().collect();
        Self::new(distinct.into_iter().collect())
    }

    fn new(characters: Vec<char>) -> Result<Self> {
        if characters.is_empty() {
            return Err(Error::invalid("character vocabulary", "at least one character", "none"));
        }
        let mut ids = HashMap::new();
        for (&character, id) in characters.iter().zip(0u32..) {
            if ids.insert(character, id).is_some() {
                let got = format!("{} twice", named(character));
                return Err(Error::invalid("character vocabulary", "distinct characters", got));
            }
        }
        Ok(Self { characters, ids })
    }

    /// The characters in the order of their ids.
    pub fn characters(&self) -> &[char] {
        &self.characters
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_json(path.as_ref(), self)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        load_json(path.as_ref())
    }
}

impl Tokenizer for CharVocab {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let id = |(place, character): (usize, char)| {
            self.ids.get(&character).copied().ok_or_else(|| {
                let expected = format!("one of the vocabulary's {}", self.characters.len());
                Error::invalid(format!("character {place} of the text"), expected, named(character))
            })
        };
        text.chars().enumerate().map(id).collect()
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        ids.iter().map(|&id| token(&self.characters, id)).collect()
    }

    fn vocab_size(&self) -> usize {
        self.characters.len()
    }
}

fn named(character: char) -> String {
    format!("{character:?} (U+{:04X})", u32::from(character))
}

impl From<CharVocab> for Characters {
    fn from(vocab: CharVocab) -> Self {
        Self { characters: vocab.characters.into_iter().collect() }
    }
}

impl TryFrom<Characters> for CharVocab {
    type Error = Error;

    fn try_from(saved: Characters) -> Result<Self> {
        Self::new(saved.characters.chars().collect())
    }
}
