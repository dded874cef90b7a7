//! How much of a summary is in that of a person.

use std::collections::BTreeMap;

use super::nothing_taken_in;
use super::words::{ngrams, overlap};
use crate::{Error, Result};

/// ROUGE of summaries: words (ROUGE-1), pairs of words (ROUGE-2), and the longest common subsequence of words (ROUGE-L, and
/// ROUGE-Lsum by sentences) that a summary shares with its reference.
///
/// Precision is the share of the summary's pieces that are in the reference, recall that of the reference's that are in the
/// summary, F = 2 · precision · recall / (precision + recall). The scores are means over the summaries, each in [0, 1]; of
/// several references of a summary that with the highest F counts, for each score its own.
///
/// Words are runs of the letters a to z and of digits after lower-casing: everything else, letters of other scripts
/// included, separates. It equals the package `rouge-score` without its stemmer. The sentences of ROUGE-Lsum are lines. It
/// works on text, not on tensors, and so is not a [`Metric`](super::Metric).
///
/// Reference: Lin 2004.
///
/// ```
/// use glassbox_core::metric::Rouge;
/// let mut rouge = Rouge::default();
/// rouge.update("The cat sat.", &["the cat is on the mat"])?;
/// let scores = rouge.compute()?;
/// assert!((scores.rouge_1.precision - 2.0 / 3.0).abs() < 1e-12);
/// assert!((scores.rouge_1.recall - 2.0 / 6.0).abs() < 1e-12);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Rouge {
    summaries: usize,
    sums: RougeScores,
}

/// The scores of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RougeScore {
    /// The share of the summary's pieces that are in the reference.
    pub precision: f64,
    /// The share of the reference's pieces that are in the summary.
    pub recall: f64,
    /// Their harmonic mean; 0 where both are.
    pub f_measure: f64,
}

/// The scores of all kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RougeScores {
    /// Of words.
    pub rouge_1: RougeScore,
    /// Of pairs of words.
    pub rouge_2: RougeScore,
    /// Of the longest common subsequence of words.
    pub rouge_l: RougeScore,
    /// Of the longest common subsequences of lines: the union, for each line of the reference, of those with the summary's.
    pub rouge_l_sum: RougeScore,
}

impl Rouge {
    /// Takes in a summary, with one reference or several.
    ///
    /// # Errors
    /// No reference.
    pub fn update(&mut self, summary: &str, references: &[&str]) -> Result<()> {
        let summary = Text::new(summary);
        let all = references.iter().map(|reference| compare(&summary, &Text::new(reference)));
        let Some(best) = all.reduce(|a, b| a.merge(b, RougeScore::better)) else {
            return Err(Error::invalid("references of a summary", "at least one", "none"));
        };
        self.summaries += 1;
        self.sums = self.sums.merge(best, RougeScore::add);
        Ok(())
    }

    /// The means over all summaries so far.
    ///
    /// # Errors
    /// Nothing was taken in.
    pub fn compute(&self) -> Result<RougeScores> {
        match self.summaries {
            0 => Err(nothing_taken_in("rouge")),
            count => Ok(self.sums.merge(self.sums, |sum, _| sum.over(count))),
        }
    }

    /// Forgets everything taken in.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

impl RougeScores {
    fn merge(self, other: Self, merge: impl Fn(RougeScore, RougeScore) -> RougeScore) -> Self {
        Self {
            rouge_1: merge(self.rouge_1, other.rouge_1),
            rouge_2: merge(self.rouge_2, other.rouge_2),
            rouge_l: merge(self.rouge_l, other.rouge_l),
            rouge_l_sum: merge(self.rouge_l_sum, other.rouge_l_sum),
        }
    }
}

impl RougeScore {
    fn new(shared: usize, in_summary: usize, in_reference: usize) -> Self {
        let share = |count: usize| shared as f64 / count.max(1) as f64;
        let (precision, recall) = (share(in_summary), share(in_reference));
        let sum = precision + recall;
        let f_measure = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        Self { precision, recall, f_measure }
    }

    /// The one with the higher F, the first of equals.
    fn better(self, other: Self) -> Self {
        if other.f_measure > self.f_measure { other } else { self }
    }

    fn add(self, other: Self) -> Self {
        Self {
            precision: self.precision + other.precision,
            recall: self.recall + other.recall,
            f_measure: self.f_measure + other.f_measure,
        }
    }

    fn over(self, count: usize) -> Self {
        let count = count as f64;
        Self { precision: self.precision / count, recall: self.recall / count, f_measure: self.f_measure / count }
    }
}

/// A text's words: all of them, and by lines that are not empty.
struct Text {
    words: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl Text {
    fn new(text: &str) -> Self {
        let lines = text.split('\n').filter(|line| !line.is_empty()).map(words).collect();
        Self { words: words(text), lines }
    }
}

fn words(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let lower = text.to_lowercase();
    lower.split(|c| !is_part(c)).filter(|word| !word.is_empty()).map(String::from).collect()
}

fn compare(summary: &Text, reference: &Text) -> RougeScores {
    RougeScores {
        rouge_1: rouge_n(&summary.words, &reference.words, 1),
        rouge_2: rouge_n(&summary.words, &reference.words, 2),
        rouge_l: rouge_l(&summary.words, &reference.words),
        rouge_l_sum: rouge_l_sum(&summary.lines, &reference.lines),
    }
}

fn rouge_n(summary: &[String], reference: &[String], order: usize) -> RougeScore {
    let (summary, reference) = (ngrams(summary, order), ngrams(reference, order));
    RougeScore::new(overlap(&summary, &reference), summary.values().sum(), reference.values().sum())
}

fn rouge_l(summary: &[String], reference: &[String]) -> RougeScore {
    let mut lengths = Lengths::new(summary);
    reference.iter().for_each(|word| drop(lengths.next_row(word)));
    RougeScore::new(lengths.longest(), summary.len(), reference.len())
}

/// The lengths of the longest common subsequences of a text's first i words with the first 0, 1, … of another one.
struct Lengths<'a> {
    other: &'a [String],
    row: Vec<u32>,
}

/// Where a longest common subsequence, read backwards, goes on.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// The words are the same: both texts back by one.
    Both,
    /// Back in the other text.
    Other,
    /// Back in this one.
    This,
}

impl<'a> Lengths<'a> {
    fn new(other: &'a [String]) -> Self {
        Self { other, row: vec![0; other.len() + 1] }
    }

    /// The row of one word more, and for each place in it the step back.
    fn next_row(&mut self, word: &str) -> Vec<Step> {
        let above = self.row.clone();
        let mut steps = Vec::with_capacity(self.other.len());
        for (j, other) in self.other.iter().enumerate() {
            let (length, step) = match (above[j + 1], self.row[j]) {
                _ if other == word => (above[j] + 1, Step::Both),
                (up, left) if left > up => (left, Step::Other),
                (up, _) => (up, Step::This),
            };
            self.row[j + 1] = length;
            steps.push(step);
        }
        steps
    }

    fn longest(&self) -> usize {
        self.row.last().copied().unwrap_or(0) as usize
    }
}

/// Marks the words of `reference` that are in the longest common subsequence with `summary` which `rouge-score` finds.
fn mark_common(reference: &[String], summary: &[String], marked: &mut [bool]) {
    let mut lengths = Lengths::new(summary);
    let rows: Vec<Vec<Step>> = reference.iter().map(|word| lengths.next_row(word)).collect();
    let (mut i, mut j) = (reference.len(), summary.len());
    while i > 0 && j > 0 {
        let step = rows[i - 1][j - 1];
        if step == Step::Both {
            marked[i - 1] = true;
        }
        i -= usize::from(step != Step::Other);
        j -= usize::from(step != Step::This);
    }
}

fn rouge_l_sum(summary: &[Vec<String>], reference: &[Vec<String>]) -> RougeScore {
    let mut left = counts(summary);
    let in_reference = counts(reference);
    for (word, count) in &mut left {
        // A word is shared at most as often as it is in either text.
        *count = (*count).min(in_reference.get(word).copied().unwrap_or(0));
    }
    let mut shared = 0;
    for line in reference {
        let mut marked = vec![false; line.len()];
        summary.iter().for_each(|other| mark_common(line, other, &mut marked));
        for (word, _) in line.iter().zip(marked).filter(|(_, is_common)| *is_common) {
            if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
                *count -= 1;
                shared += 1;
            }
        }
    }
    let total = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum();
    RougeScore::new(shared, total(summary), total(reference))
}

fn counts(lines: &[Vec<String>]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    lines.iter().flatten().for_each(|word| *counts.entry(word.as_str()).or_insert(0) += 1);
    counts
}
