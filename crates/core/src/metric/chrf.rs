//! How close translations come to those of people, by characters.

use std::collections::BTreeMap;

use super::nothing_taken_in;
use super::words::{ngrams, overlap, split_whitespace};
use crate::{Error, Result};

/// Pieces of text of up to so many characters are compared.
const CHAR_ORDER: usize = 6;
/// And, in chrF++, of up to so many words.
const WORD_ORDER: usize = 2;
/// How many times as much recall weighs as precision.
const BETA: f64 = 2.0;

/// chrF and chrF++ of a corpus: how many of the translations' pieces of one to six characters, white space left out, are in
/// the reference, and the other way round. chrF++ also compares single words and pairs of words.
///
/// chrF = 100 · (1 + β²) · P · R / (β² · P + R) with β = 2, where P is the mean over the orders of the share of the
/// translations' n-grams that are in the reference of the same sentence, R that of the references' n-grams that are in the
/// translation, each counted over all sentences. An order of which there are no n-grams on either side is left out. Of
/// several references that with the highest chrF for the sentence counts.
///
/// It is sacreBLEU's `corpus_chrf` (case-sensitive, without smoothing). It works on text, not on tensors, and so is not a
/// [`Metric`](super::Metric).
///
/// References: Popović 2015; Popović 2017; Post 2018 (arXiv 1804.08771).
///
/// ```
/// use glassbox_core::metric::Chrf;
/// let mut chrf = Chrf::new();
/// chrf.update("the cat sat", &["the cat sat", "a cat sits"])?;
/// assert_eq!(chrf.compute()?, 100.0);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Chrf {
    word_order: usize,
    sentences: usize,
    orders: Vec<Counts>,
}

/// The n-grams of one order.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    hypothesis: usize,
    reference: usize,
    matched: usize,
}

impl Chrf {
    /// chrF: characters alone.
    pub fn new() -> Self {
        Self::with_words(0)
    }

    /// chrF++: words and pairs of words too.
    pub fn plus_plus() -> Self {
        Self::with_words(WORD_ORDER)
    }

    fn with_words(word_order: usize) -> Self {
        Self { word_order, sentences: 0, orders: vec![Counts::default(); CHAR_ORDER + word_order] }
    }

    /// Takes in the translation of a sentence, with one reference or several.
    ///
    /// # Errors
    /// No reference.
    pub fn update(&mut self, hypothesis: &str, references: &[&str]) -> Result<()> {
        let hypothesis = Pieces::of(hypothesis);
        let counts = references.iter().map(|reference| self.compare(&hypothesis, &Pieces::of(reference)));
        // The first of equals, as sacreBLEU takes it.
        let best = counts.map(|counts| (score(&counts), counts)).reduce(|a, b| if b.0 > a.0 { b } else { a });
        let Some((_, best)) = best else {
            return Err(Error::invalid("references of a sentence", "at least one", "none"));
        };
        self.sentences += 1;
        for (sum, counts) in self.orders.iter_mut().zip(best) {
            sum.hypothesis += counts.hypothesis;
            sum.reference += counts.reference;
            sum.matched += counts.matched;
        }
        Ok(())
    }

    fn compare(&self, hypothesis: &Pieces, reference: &Pieces) -> Vec<Counts> {
        let characters = (1..=CHAR_ORDER)
            .map(|order| compare(&ngrams(&hypothesis.characters, order), &ngrams(&reference.characters, order)));
        let words = (1..=self.word_order)
            .map(|order| compare(&ngrams(&hypothesis.words, order), &ngrams(&reference.words, order)));
        characters.chain(words).collect()
    }

    /// The score of all sentences so far, from 0 to 100.
    ///
    /// # Errors
    /// Nothing was taken in.
    pub fn compute(&self) -> Result<f64> {
        if self.sentences == 0 {
            return Err(nothing_taken_in("chrf"));
        }
        Ok(score(&self.orders))
    }

    /// Forgets everything taken in.
    pub fn reset(&mut self) {
        *self = Self::with_words(self.word_order);
    }
}

impl Default for Chrf {
    fn default() -> Self {
        Self::new()
    }
}

fn compare<T: Ord>(hypothesis: &BTreeMap<&[T], usize>, reference: &BTreeMap<&[T], usize>) -> Counts {
    // A translation is not blamed for n-grams of an order that its reference is too short for.
    let hypothesis_count = if reference.is_empty() { 0 } else { hypothesis.values().sum() };
    let matched = overlap(hypothesis, reference);
    Counts { hypothesis: hypothesis_count, reference: reference.values().sum(), matched }
}

fn score(orders: &[Counts]) -> f64 {
    let counted: Vec<&Counts> = orders.iter().filter(|c| c.hypothesis > 0 && c.reference > 0).collect();
    let mean = |count: fn(&Counts) -> usize| {
        let shares = counted.iter().map(|c| c.matched as f64 / count(c) as f64);
        shares.sum::<f64>() / counted.len().max(1) as f64
    };
    let (precision, recall) = (mean(|c| c.hypothesis), mean(|c| c.reference));
    if precision + recall == 0.0 {
        return 0.0;
    }
    let factor = BETA * BETA;
    100.0 * (1.0 + factor) * precision * recall / (factor * precision + recall)
}

/// A sentence's characters without white space, and its words with a punctuation mark at their end, else at their start,
/// split off.
struct Pieces<'a> {
    characters: Vec<char>,
    words: Vec<&'a str>,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str) -> Self {
        let characters = split_whitespace(text).flat_map(str::chars).collect();
        Self {
            characters,
            words: split_whitespace(text).flat_map(split_punctuation).filter(|w| !w.is_empty()).collect(),
        }
    }
}

fn split_punctuation(word: &str) -> [&str; 2] {
    // A mark of ASCII is one byte, so these cuts lie between characters.
    match word.as_bytes() {
        [_] => [word, ""],
        [.., last] if last.is_ascii_punctuation() => {
            let (rest, mark) = word.split_at(word.len() - 1);
            [rest, mark]
        }
        [first, ..] if first.is_ascii_punctuation() => {
            let (mark, rest) = word.split_at(1);
            [mark, rest]
        }
        _ => [word, ""],
    }
}
