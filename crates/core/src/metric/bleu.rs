//! How close translations come to those of people.

use super::nothing_taken_in;
use super::words::{ngrams, split_whitespace};
use crate::{Error, Result};

/// Pieces of text of up to so many words are compared.
const MAX_ORDER: usize = 4;

/// How [`Bleu`] cuts a sentence into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BleuTokenizer {
    /// At white space: for text that is tokenised already. sacreBLEU's `none`.
    None,
    /// As WMT's mteval-v13a does: symbols and punctuation are words of their own. sacreBLEU's `13a`, its default.
    #[default]
    V13a,
}

/// The BLEU of a corpus: how many of the translations' pieces of one to four words are in the references.
///
/// BLEU = 100 · BP · (p_1 p_2 p_3 p_4)^(1/4), where p_n is the share of the translations' n-grams that a reference of the
/// same sentence has, each counted at most as often as there, over all sentences; and BP = min(1, exp(1 − r / c)) for c words
/// of translations and r of references, of several references the one closest in length. Where no n-gram of an order is
/// found, p_n is 1 / (2^k · number of n-grams) for the k-th such order, from the lowest.
///
/// It is sacreBLEU's `corpus_bleu` (case-sensitive, smoothing `exp`), the number that papers report. It works on text, not
/// on tensors, and so is not a [`Metric`](super::Metric).
///
/// References: Papineni et al. 2002; Post 2018 (arXiv 1804.08771).
///
/// ```
/// use glassbox_core::metric::{Bleu, BleuTokenizer};
/// let mut bleu = Bleu::new(BleuTokenizer::V13a);
/// bleu.update("The cat sat on the mat.", &["The cat sat on a mat."])?;
/// bleu.update("Hello world!", &["Hello, world!", "Hello world!"])?;
/// assert!((bleu.compute()?.score - 53.8956).abs() < 1e-4);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Bleu {
    tokenizer: BleuTokenizer,
    counts: Counts,
}

/// What a corpus's score is made of.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sentences: usize,
    /// N-grams of the translations that are in a reference, by order.
    found: [usize; MAX_ORDER],
    /// N-grams of the translations, by order.
    total: [usize; MAX_ORDER],
    hypothesis_length: usize,
    reference_length: usize,
}

/// A corpus's BLEU and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BleuScore {
    /// BLEU, from 0 to 100.
    pub score: f64,
    /// p_1 to p_4 in percent.
    pub precisions: [f64; MAX_ORDER],
    /// BP, from 0 to 1: below 1 where translations are too short.
    pub brevity_penalty: f64,
    /// Words of the translations.
    pub hypothesis_length: usize,
    /// Words of the references.
    pub reference_length: usize,
}

impl Bleu {
    /// BLEU of words by this tokenizer.
    pub fn new(tokenizer: BleuTokenizer) -> Self {
        Self { tokenizer, counts: Counts::default() }
    }

    /// Takes in the translation of a sentence, with one reference or several.
    ///
    /// # Errors
    /// No reference.
    pub fn update(&mut self, hypothesis: &str, references: &[&str]) -> Result<()> {
        let hypothesis = self.tokenizer.tokenize(hypothesis);
        let references: Vec<String> = references.iter().map(|reference| self.tokenizer.tokenize(reference)).collect();
        let words = |text| str::split(text, ' ').filter(|word| !word.is_empty()).collect::<Vec<&str>>();
        let references: Vec<Vec<&str>> = references.iter().map(|reference| words(reference.as_str())).collect();
        self.counts.update(&words(hypothesis.as_str()), &references)
    }

    /// The score of all sentences so far.
    ///
    /// # Errors
    /// Nothing was taken in.
    pub fn compute(&self) -> Result<BleuScore> {
        if self.counts.sentences == 0 {
            return Err(nothing_taken_in("bleu"));
        }
        Ok(self.counts.score())
    }

    /// Forgets everything taken in.
    pub fn reset(&mut self) {
        self.counts = Counts::default();
    }
}

impl Counts {
    fn update(&mut self, hypothesis: &[&str], references: &[Vec<&str>]) -> Result<()> {
        let distance = |length: &usize| (length.abs_diff(hypothesis.len()), *length);
        let Some(closest) = references.iter().map(Vec::len).min_by_key(distance) else {
            return Err(Error::invalid("references of a sentence", "at least one", "none"));
        };
        self.sentences += 1;
        self.hypothesis_length += hypothesis.len();
        self.reference_length += closest;
        for (order, (found, total)) in (1..).zip(self.found.iter_mut().zip(&mut self.total)) {
            *total += (hypothesis.len() + 1).saturating_sub(order);
            let references: Vec<_> = references.iter().map(|reference| ngrams(reference, order)).collect();
            for (ngram, count) in ngrams(hypothesis, order) {
                let most = references.iter().filter_map(|reference| reference.get(ngram)).max();
                *found += count.min(most.copied().unwrap_or(0));
            }
        }
        Ok(())
    }

    fn score(&self) -> BleuScore {
        let (hypothesis_length, reference_length) = (self.hypothesis_length, self.reference_length);
        let brevity_penalty = match hypothesis_length {
            0 if reference_length > 0 => 0.0,
            length if length < reference_length => (1.0 - reference_length as f64 / length as f64).exp(),
            _ => 1.0,
        };
        let precisions = self.precisions();
        let mean = precisions.iter().map(|p| p.ln()).sum::<f64>() / MAX_ORDER as f64;
        // The logarithm of a precision of 0 is −∞, whose exponential is 0.
        BleuScore {
            score: brevity_penalty * mean.exp(),
            precisions,
            brevity_penalty,
            hypothesis_length,
            reference_length,
        }
    }

    /// In percent; all 0 where nothing at all was found.
    fn precisions(&self) -> [f64; MAX_ORDER] {
        let (mut precisions, mut smoothing) = ([0.0; MAX_ORDER], 1.0);
        if self.found == [0; MAX_ORDER] {
            return precisions;
        }
        for (precision, (&found, &total)) in precisions.iter_mut().zip(self.found.iter().zip(&self.total)) {
            *precision = match (found, total) {
                (_, 0) => 0.0,
                (0, total) => {
                    smoothing *= 2.0;
                    100.0 / (smoothing * total as f64)
                }
                (found, total) => 100.0 * found as f64 / total as f64,
            };
        }
        precisions
    }
}

impl BleuTokenizer {
    /// The words of `text`, with one space between two.
    ///
    /// ```
    /// use glassbox_core::metric::BleuTokenizer;
    /// assert_eq!(BleuTokenizer::V13a.tokenize("It's 3.5 m, \"long\"."), "It's 3.5 m , \" long \" .");
    /// ```
    pub fn tokenize(self, text: &str) -> String {
        match self {
            Self::None => single_spaced(text),
            Self::V13a => v13a(text),
        }
    }
}

fn single_spaced(text: &str) -> String {
    split_whitespace(text).collect::<Vec<_>>().join(" ")
}

fn v13a(text: &str) -> String {
    let text = text.trim_end().replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let is_symbol = |c| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let spaced = |c| if is_symbol(c) { format!(" {c} ") } else { c.to_string() };
    let text: String = format!(" {text} ").chars().map(spaced).collect();
    let is_stop = |c| c == '.' || c == ',';
    let is_digit = |c: char| c.is_ascii_digit();
    // A stop inside of a number stays in it.
    let text = replace_pairs(&text, |a, b| (!is_digit(a) && is_stop(b)).then(|| format!("{a} {b} ")));
    let text = replace_pairs(&text, |a, b| (is_stop(a) && !is_digit(b)).then(|| format!(" {a} {b}")));
    let text = replace_pairs(&text, |a, b| (is_digit(a) && b == '-').then(|| format!("{a} {b} ")));
    single_spaced(&text)
}

/// Replaces two characters that follow one another by what `replace` makes of them, from the left, each taken once.
fn replace_pairs(text: &str, replace: impl Fn(char, char) -> Option<String>) -> String {
    let (mut chars, mut replaced) = (text.chars().peekable(), String::with_capacity(text.len()));
    while let Some(first) = chars.next() {
        match chars.peek().and_then(|&second| replace(first, second)) {
            Some(pair) => {
                replaced.push_str(&pair);
                chars.next();
            }
            None => replaced.push(first),
        }
    }
    replaced
}
