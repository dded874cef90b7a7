//! Beam search: several texts of a prompt at the same time, of which each step keeps the likeliest.
//!
//! It is `transformers`' search: a step considers the best `num_beams` · (1 + number of eos ids) continuations of all
//! texts (at least twice `num_beams`). Those among the first `num_beams` that end are finished, with their log-probability
//! over length^length_penalty as score; the best `num_beams` that do not end go on.

use std::ops::Range;

use glassbox_core::{Error, Result};

use super::scores::{Rules, largest, log_sum_exp};
use super::session::Session;
use super::{EarlyStopping, Ended, GenerateConfig, Generated};

/// The search for the texts of one prompt.
struct Search {
    /// Log-probabilities of the texts that go on, the likeliest first: one for each of its rows in the session.
    live: Vec<f64>,
    /// The best finished ones, the best first.
    done: Vec<Generated>,
}

/// A text with one more token.
struct Candidate {
    row: usize,
    token: u32,
    log_probability: f64,
}

pub(super) fn search(mut session: Session, rules: &Rules, config: &GenerateConfig) -> Result<Vec<Vec<Generated>>> {
    // All texts of a prompt start alike, so the first step has one of each.
    let mut searches: Vec<Search> = (0..session.num_rows()).map(|_| Search { live: vec![0.0], done: vec![] }).collect();
    while searches.iter().any(|search| !search.live.is_empty()) {
        let mut scores = session.logits()?;
        let mut rows = scores.chunks_exact_mut(session.vocab_size.max(1));
        let mut next = vec![];
        let mut first = 0;
        for search in &mut searches {
            let range = first..first + search.live.len();
            first = range.end;
            let of_search = rows.by_ref().take(range.len());
            next.extend(search.advance(&session, range, of_search, rules, config)?);
        }
        session.go_on(&next)?;
    }
    match searches.iter().any(|search| search.done.is_empty()) {
        true => Err(Error::invalid("beam search", "a token that may be said", "none")),
        false => Ok(searches.into_iter().map(|search| search.done).collect()),
    }
}

impl Search {
    /// Takes one step from the rows of its texts and the logits of their next tokens: the rows that go on, and with what.
    fn advance<'l>(
        &mut self,
        session: &Session,
        rows: Range<usize>,
        logits: impl Iterator<Item = &'l mut [f32]>,
        rules: &Rules,
        config: &GenerateConfig,
    ) -> Result<Vec<(usize, u32)>> {
        let length = rows.clone().map(|row| session.written(row).len() + 1).next().unwrap_or(1);
        let penalty = (length as f64).powf(config.length_penalty);
        let candidates = self.candidates(session, rows, logits, rules)?;
        self.live.clear();
        let mut next = vec![];
        for (place, Candidate { row, token, log_probability }) in candidates.into_iter().enumerate() {
            match rules.end(session.written(row), token) {
                Some(ended) if place < config.num_beams => {
                    let mut tokens = session.written(row).to_vec();
                    tokens.extend((ended != Ended::Eos).then_some(token));
                    self.finish(Generated { tokens, score: log_probability / penalty, ended }, config.num_beams);
                }
                // One that others are better than.
                Some(_) => {}
                None if next.len() < config.num_beams => {
                    self.live.push(log_probability);
                    next.push((row, token));
                }
                None => {}
            }
        }
        if self.is_over(length, rules, config) {
            self.live.clear();
            next.clear();
        }
        Ok(next)
    }

    /// The best continuations, the best first.
    fn candidates<'l>(
        &self,
        session: &Session,
        rows: Range<usize>,
        logits: impl Iterator<Item = &'l mut [f32]>,
        rules: &Rules,
    ) -> Result<Vec<Candidate>> {
        let mut candidates = vec![];
        for ((row, scores), live) in rows.zip(logits).zip(&self.live) {
            let total = log_sum_exp(scores)? as f32;
            scores.iter_mut().for_each(|score| *score -= total);
            rules.apply(session.text(row), session.written(row).len(), scores);
            let best = largest(scores, rules.num_candidates());
            candidates.extend(best.into_iter().map(|(score, token)| Candidate {
                row,
                token,
                log_probability: live + f64::from(score),
            }));
        }
        // Stable: of equals the first stays first.
        candidates.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
        candidates.truncate(rules.num_candidates());
        Ok(candidates)
    }

    fn finish(&mut self, text: Generated, num_beams: usize) {
        let place = self.done.partition_point(|other| other.score >= text.score);
        self.done.insert(place, text);
        self.done.truncate(num_beams);
    }

    /// Whether there are enough texts, of `length` tokens or fewer, and better ones need not be looked for.
    fn is_over(&self, length: usize, rules: &Rules, config: &GenerateConfig) -> bool {
        let Some(worst) = self.done.get(config.num_beams - 1) else { return false };
        let length = match config.early_stopping {
            EarlyStopping::True => return true,
            // A log-probability only falls: over the greatest length it is the best that it can be.
            EarlyStopping::Never if config.length_penalty > 0.0 => rules.max_new_tokens,
            _ => length,
        };
        let possible = |live: &f64| live / (length as f64).powf(config.length_penalty);
        self.live.first().map(possible).is_none_or(|best| best <= worst.score)
    }
}
