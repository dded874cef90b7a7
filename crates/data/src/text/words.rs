//! A vocabulary of words.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use glassbox_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Tokenizer, load_json, save_json, token};

const SPECIAL: [&str; 4] = ["<pad>", "<unk>", "<bos>", "<eos>"];

/// The words of pre-tokenised lines, split at white space, after four special tokens: `<pad>` 0, `<unk>` 1, `<bos>` 2,
/// `<eos>` 3. As JSON: `{"words": […]}`, the special ones included, in the order of their ids.
///
/// [`encode`](Tokenizer::encode) gives `<unk>` for a word that it lacks, and adds no special tokens;
/// [`decode`](Tokenizer::decode) joins words with spaces, leaves out `<pad>` and `<bos>`, and ends at `<eos>`.
///
/// ```
/// use glassbox_data::text::{Tokenizer, WordVocab};
/// let vocab = WordVocab::build(["a dog and a cat", "a dog ."], 2)?;
/// assert_eq!(vocab.words()[4..], ["a", "dog"]);
/// assert_eq!(vocab.encode_with_ends("a cat")?, [WordVocab::BOS, 4, WordVocab::UNK, WordVocab::EOS]);
/// assert_eq!(vocab.decode(&[WordVocab::BOS, 5, 1, WordVocab::EOS, 4])?, "dog <unk>");
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Words", try_from = "Words")]
pub struct WordVocab {
    words: Vec<String>,
    ids: HashMap<String, u32>,
}

#[derive(Serialize, Deserialize)]
struct Words {
    words: Vec<String>,
}

impl WordVocab {
    /// Fills the end of a shorter sequence.
    pub const PAD: u32 = 0;
    /// Stands for a word that the vocabulary lacks.
    pub const UNK: u32 = 1;
    /// Starts a sentence.
    pub const BOS: u32 = 2;
    /// Ends a sentence.
    pub const EOS: u32 = 3;

    /// The words that come at least `min_frequency` times in `lines`: the most frequent first, equally frequent ones in
    /// alphabetical order.
    ///
    /// # Errors
    /// No word is frequent enough.
    pub fn build<S: AsRef<str>>(lines: impl IntoIterator<Item = S>, min_frequency: usize) -> Result<Self> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in lines {
            for word in line.as_ref().split_whitespace() {
                match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(word.to_string(), 1)),
                }
            }
        }
        counts.retain(|word, count| *count >= min_frequency && !SPECIAL.contains(&word.as_str()));
        if counts.is_empty() {
            return Err(Error::invalid("word vocabulary", format!("a word that comes {min_frequency} times"), "none"));
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Self::new(SPECIAL.map(String::from).into_iter().chain(counts.into_iter().map(|(word, _)| word)).collect())
    }

    fn new(words: Vec<String>) -> Result<Self> {
        if words.iter().map(String::as_str).take(SPECIAL.len()).ne(SPECIAL) {
            return Err(Error::invalid("word vocabulary", format!("{} first", SPECIAL.join(", ")), "others"));
        }
        let mut ids = HashMap::new();
        for (word, id) in words.iter().zip(0u32..) {
            if word.is_empty() || word.contains(char::is_whitespace) || ids.insert(word.clone(), id).is_some() {
                let got = format!("{word:?} at {id}");
                return Err(Error::invalid("word vocabulary", "distinct words without white space", got));
            }
        }
        Ok(Self { words, ids })
    }

    /// The words in the order of their ids, the special ones first.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// As [`encode`](Tokenizer::encode), between `<bos>` and `<eos>`.
    ///
    /// # Errors
    /// None.
    pub fn encode_with_ends(&self, line: &str) -> Result<Vec<u32>> {
        Ok([&[Self::BOS][..], &self.encode(line)?, &[Self::EOS]].concat())
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

impl Tokenizer for WordVocab {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(text.split_whitespace().map(|word| self.ids.get(word).copied().unwrap_or(Self::UNK)).collect())
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        let end = ids.iter().position(|&id| id == Self::EOS).unwrap_or(ids.len());
        let kept = ids.iter().take(end).filter(|&&id| id != Self::PAD && id != Self::BOS);
        let words = kept.map(|&id| token(&self.words, id).map(String::as_str)).collect::<Result<Vec<_>>>()?;
        Ok(words.join(" "))
    }

    fn vocab_size(&self) -> usize {
        self.words.len()
    }
}

impl From<WordVocab> for Words {
    fn from(vocab: WordVocab) -> Self {
        Self { words: vocab.words }
    }
}

impl TryFrom<Words> for WordVocab {
    type Error = Error;

    fn try_from(saved: Words) -> Result<Self> {
        Self::new(saved.words)
    }
}
