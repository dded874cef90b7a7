//! Prefix beam search.

use std::collections::BTreeMap;

use candle_core::Tensor;
use glassbox_core::{Error, Result};

use super::trie::{EMPTY, Prefix, Trie};
use super::{CtcHypothesis, log_probs};

/// What a beam search adds to the log-probability of labels: a language model, a lexicon, a bonus for length.
///
/// A closure `|prefix, label| …` is one, which scores extensions alone. Weigh the scores yourself: common are 0.5 to 2
/// times a language model's log-probability plus a bonus of about 1 for each label.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_rnn::CtcBeamSearch;
///
/// let logits = Tensor::new(&[[[0f32, 4.0, 4.2], [4.0, 0.0, 0.0], [0.0, 4.0, 4.2]]], &Device::Cpu)?;
/// let search = CtcBeamSearch::default();
/// assert_eq!(search.decode(&logits, None)?[0][0].labels, [2, 2]);
/// // A language in which 1 follows 2.
/// let bigrams = |prefix: &[u32], label: u32| match (prefix.last(), label) {
///     (Some(2), 1) | (None, 2) => -0.1,
///     _ => -2.0,
/// };
/// assert_eq!(search.decode_with(&logits, None, &bigrams)?[0][0].labels, [2, 1]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub trait PrefixScorer {
    /// The score of `label` after `prefix`; −∞ forbids it.
    fn extend(&self, prefix: &[u32], label: u32) -> f64;

    /// The score of `labels` as a whole that ends here.
    fn end(&self, labels: &[u32]) -> f64 {
        let _ = labels;
        0.0
    }
}

impl<F: Fn(&[u32], u32) -> f64> PrefixScorer for F {
    fn extend(&self, prefix: &[u32], label: u32) -> f64 {
        self(prefix, label)
    }
}

/// Prefix beam search: the labels whose paths together are the most probable (Graves and Jaitly 2014; Hannun et al. 2014,
/// arXiv 1408.2873).
///
/// After each step it keeps the `beam_width` prefixes of highest score, the log-probability of all their paths and the
/// [`PrefixScorer`]'s score. With a width that keeps every prefix the result is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtcBeamSearch {
    /// Prefixes kept after each step, 1 or more; 32 by default.
    pub beam_width: usize,
    /// Labels tried after each prefix: the most probable ones of the step, 1 or more; 40 by default.
    pub top_labels: usize,
    /// The class that stands for no label; 0 by default.
    pub blank: usize,
}

impl Default for CtcBeamSearch {
    fn default() -> Self {
        Self { beam_width: 32, top_labels: 40, blank: 0 }
    }
}

impl CtcBeamSearch {
    /// The hypotheses of each sample, at most `beam_width`, the best first.
    ///
    /// # Shapes
    /// As [`ctc_greedy`](crate::ctc_greedy).
    ///
    /// # Errors
    /// As `ctc_greedy`; a width or a number of labels of 0.
    pub fn decode(&self, logits: &Tensor, lengths: Option<&[usize]>) -> Result<Vec<Vec<CtcHypothesis>>> {
        self.decode_with(logits, lengths, &|_: &[u32], _: u32| 0.0)
    }

    /// The same, with the scores of `scorer`.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_with(
        &self,
        logits: &Tensor,
        lengths: Option<&[usize]>,
        scorer: &dyn PrefixScorer,
    ) -> Result<Vec<Vec<CtcHypothesis>>> {
        for (what, value) in [("beam_width", self.beam_width), ("top_labels", self.top_labels)] {
            if value == 0 {
                return Err(Error::invalid(what, "1 or more", value));
            }
        }
        let samples = log_probs(logits, lengths, self.blank)?;
        Ok(samples.iter().map(|steps| Search { options: self, scorer, trie: Trie::new() }.run(steps)).collect())
    }
}

/// The log-probabilities of the paths that spell a prefix and end with a blank, and of those that end with its last label.
#[derive(Clone, Copy)]
struct Paths {
    blank: f64,
    label: f64,
}

impl Paths {
    const NONE: Self = Self { blank: f64::NEG_INFINITY, label: f64::NEG_INFINITY };

    fn total(self) -> f64 {
        log_add(self.blank, self.label)
    }
}

/// A prefix that is one label longer than one in the beam, and not in the trie.
struct Extension {
    parent: Prefix,
    label: u32,
    log_prob: f64,
    /// Of the prefix.
    score: f64,
}

/// What may come into the beam.
enum Candidate {
    Kept(Prefix, Paths),
    New(Extension),
}

struct Search<'a> {
    options: &'a CtcBeamSearch,
    scorer: &'a dyn PrefixScorer,
    trie: Trie,
}

impl Search<'_> {
    fn run(mut self, steps: &[Vec<f64>]) -> Vec<CtcHypothesis> {
        let mut beam = vec![(EMPTY, Paths { blank: 0.0, ..Paths::NONE })];
        for step in steps {
            beam = self.step(&beam, step);
        }
        let hypothesis = |(prefix, paths): (Prefix, Paths)| {
            let (labels, log_prob) = (self.trie.labels(prefix), paths.total());
            let score = log_prob + self.trie.score(prefix) + self.scorer.end(&labels);
            CtcHypothesis { labels, log_prob, score }
        };
        let mut hypotheses: Vec<_> = beam.into_iter().map(hypothesis).collect();
        hypotheses.sort_by(|a, b| b.score.total_cmp(&a.score));
        hypotheses
    }

    /// The beam after a step with these log-probabilities.
    fn step(&mut self, beam: &[(Prefix, Paths)], log_probs: &[f64]) -> Vec<(Prefix, Paths)> {
        let labels = self.most_probable(log_probs);
        let (mut kept, mut new) = (BTreeMap::new(), vec![]);
        for &(prefix, paths) in beam {
            let last = self.trie.last_label(prefix);
            let stays: &mut Paths = kept.entry(prefix).or_insert(Paths::NONE);
            stays.blank = log_add(stays.blank, paths.total() + log_probs[self.options.blank]);
            if let Some(last) = last {
                stays.label = log_add(stays.label, paths.label + log_probs[last as usize]);
            }
            let spelled = self.trie.labels(prefix);
            for &label in &labels {
                // Without a blank between them, a repeated label is the same one still.
                let from = if last == Some(label) { paths.blank } else { paths.total() };
                let log_prob = from + log_probs[label as usize];
                if log_prob == f64::NEG_INFINITY {
                    continue;
                }
                if let Some(child) = self.trie.child(prefix, label) {
                    let child = kept.entry(child).or_insert(Paths::NONE);
                    child.label = log_add(child.label, log_prob);
                } else {
                    let score = self.trie.score(prefix) + self.scorer.extend(&spelled, label);
                    new.push(Extension { parent: prefix, label, log_prob, score });
                }
            }
        }
        self.best(kept, new)
    }

    /// The labels to try, in the order of classes.
    fn most_probable(&self, log_probs: &[f64]) -> Vec<u32> {
        let mut labels: Vec<usize> = (0..log_probs.len()).filter(|&class| class != self.options.blank).collect();
        if labels.len() > self.options.top_labels {
            labels.sort_by(|&a, &b| log_probs[b].total_cmp(&log_probs[a]));
            labels.truncate(self.options.top_labels);
            labels.sort_unstable();
        }
        labels.into_iter().map(|label| label as u32).collect()
    }

    /// The candidates of highest score; those that are impossible only where nothing else is there.
    fn best(&mut self, kept: BTreeMap<Prefix, Paths>, new: Vec<Extension>) -> Vec<(Prefix, Paths)> {
        let kept = kept
            .into_iter()
            .map(|(prefix, paths)| (paths.total() + self.trie.score(prefix), Candidate::Kept(prefix, paths)));
        let new = new.into_iter().map(|extension| (extension.log_prob + extension.score, Candidate::New(extension)));
        let mut all: Vec<_> = kept.chain(new).collect();
        // The sort is stable and the order before it fixed, so equal scores make no difference from run to run.
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let possible = all.iter().take_while(|(score, _)| *score > f64::NEG_INFINITY).count();
        all.truncate(possible.max(1).min(self.options.beam_width));
        let insert = |(_, candidate)| match candidate {
            Candidate::Kept(prefix, paths) => (prefix, paths),
            Candidate::New(Extension { parent, label, log_prob, score }) => {
                (self.trie.insert(parent, label, score), Paths { label: log_prob, ..Paths::NONE })
            }
        };
        all.into_iter().map(insert).collect()
    }
}

/// ln(e^a + e^b).
fn log_add(a: f64, b: f64) -> f64 {
    let (larger, smaller) = if a > b { (a, b) } else { (b, a) };
    if smaller == f64::NEG_INFINITY { larger } else { larger + (smaller - larger).exp().ln_1p() }
}
