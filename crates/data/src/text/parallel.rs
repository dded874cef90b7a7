//! Texts in two languages, line by line.

use std::path::{Path, PathBuf};

use glassbox_core::dataset::Sequence;
use glassbox_core::{Dataset, Error, Result, Rng};

use super::{Tokenizer, WordVocab, read_text};
use crate::images::out_of_range;

/// What to do with a line that is empty or only white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyLines {
    /// An error that names the file and the line.
    Error,
    /// The pair is left out.
    Skip,
}

/// Sentences in two languages: line i of one file is the translation of line i of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParallelCorpus {
    source: Vec<String>,
    target: Vec<String>,
}

impl ParallelCorpus {
    /// Reads `PREFIX.SOURCE` and `PREFIX.TARGET`, such as `train.de` and `train.en` for the prefix `train`.
    ///
    /// # Errors
    /// As [`from_files`](Self::from_files).
    pub fn open(prefix: impl AsRef<Path>, source: &str, target: &str, empty: EmptyLines) -> Result<Self> {
        let file = |suffix: &str| {
            let mut name = prefix.as_ref().as_os_str().to_os_string();
            name.push(format!(".{suffix}"));
            PathBuf::from(name)
        };
        Self::from_files(file(source), file(target), empty)
    }

    /// Reads two files, which may be compressed with gzip.
    ///
    /// # Errors
    /// A file cannot be read or is not UTF-8; they differ in their number of lines; no line is left; an empty line where
    /// those are errors.
    pub fn from_files(source: impl AsRef<Path>, target: impl AsRef<Path>, empty: EmptyLines) -> Result<Self> {
        let names = [source.as_ref(), target.as_ref()].map(|path| path.display().to_string());
        Self::from_texts([&read_text(source)?, &read_text(target)?], names, empty)
    }

    fn from_texts(texts: [&str; 2], names: [String; 2], empty: EmptyLines) -> Result<Self> {
        let [source, target] = texts.map(|text| text.lines().collect::<Vec<_>>());
        if source.len() != target.len() {
            let problem = format!("{} lines, but {} has {}", source.len(), names[1], target.len());
            return Err(Error::format(&names[0], problem));
        }
        let mut corpus = Self { source: vec![], target: vec![] };
        for (line, (source, target)) in source.iter().zip(&target).enumerate() {
            match (source.trim(), target.trim()) {
                ("", _) | (_, "") if empty == EmptyLines::Skip => {}
                ("", _) => return Err(Error::format(format!("{}:{}", names[0], line + 1), "empty line")),
                (_, "") => return Err(Error::format(format!("{}:{}", names[1], line + 1), "empty line")),
                (source, target) => {
                    corpus.source.push(source.to_string());
                    corpus.target.push(target.to_string());
                }
            }
        }
        match corpus.source.is_empty() {
            true => Err(Error::format(&names[0], "no lines")),
            false => Ok(corpus),
        }
    }

    /// The sentences to translate.
    pub fn source(&self) -> &[String] {
        &self.source
    }

    /// Their translations.
    pub fn target(&self) -> &[String] {
        &self.target
    }

    /// The ids of every pair: the source followed by `<eos>`, the target between `<bos>` and `<eos>`.
    ///
    /// # Errors
    /// None.
    pub fn encode(&self, source: &WordVocab, target: &WordVocab) -> Result<TokenPairs> {
        let pair = |(s, t): (&String, &String)| {
            let mut ids = source.encode(s)?;
            ids.push(WordVocab::EOS);
            Ok((ids, target.encode_with_ends(t)?))
        };
        TokenPairs::new(self.source.iter().zip(&self.target).map(pair).collect::<Result<_>>()?)
    }
}

/// Pairs of token sequences, as a dataset whose batches are `(Padded, Padded)`: source and target.
#[derive(Clone, Debug)]
pub struct TokenPairs(Vec<(Vec<u32>, Vec<u32>)>);

impl TokenPairs {
    /// Takes the ids of sources and targets.
    ///
    /// # Errors
    /// A sequence without a token.
    pub fn new(pairs: Vec<(Vec<u32>, Vec<u32>)>) -> Result<Self> {
        match pairs.iter().position(|(source, target)| source.is_empty() || target.is_empty()) {
            Some(index) => Err(Error::invalid(format!("pair {index}"), "at least one token on each side", "none")),
            None => Ok(Self(pairs)),
        }
    }

    /// The ids of all pairs.
    pub fn pairs(&self) -> &[(Vec<u32>, Vec<u32>)] {
        &self.0
    }

    /// The lengths of each pair, for [`DataLoader::bucket_by_length`](glassbox_core::DataLoader::bucket_by_length).
    pub fn lengths(&self) -> Vec<(usize, usize)> {
        self.0.iter().map(|(source, target)| (source.len(), target.len())).collect()
    }

    /// The length of the longer side of each pair, for [`DataLoader::max_tokens`](glassbox_core::DataLoader::max_tokens).
    pub fn num_tokens(&self) -> Vec<usize> {
        self.0.iter().map(|(source, target)| source.len().max(target.len())).collect()
    }
}

impl Dataset for TokenPairs {
    type Item = (Sequence, Sequence);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize, _: &mut Rng) -> Result<Self::Item> {
        let (source, target) = self.0.get(index).ok_or_else(|| out_of_range(index, self.0.len()))?;
        Ok((Sequence::from_ids(source)?, Sequence::from_ids(target)?))
    }
}
