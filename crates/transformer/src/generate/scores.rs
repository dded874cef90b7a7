//! What may be said, and how much of it the model means.

use glassbox_core::{Error, Result};

use super::session::Session;
use super::{Ended, GenerateConfig};

/// What changes a model's scores, and what ends a text.
pub(super) struct Rules<'a> {
    config: &'a GenerateConfig,
    eos: Vec<u32>,
    pub max_new_tokens: usize,
}

impl<'a> Rules<'a> {
    pub fn new(config: &'a GenerateConfig, session: &Session) -> Self {
        Self { config, eos: session.eos.clone(), max_new_tokens: session.max_new_tokens }
    }

    /// Candidates that a search needs of each step, so that enough are left when as many as can end do.
    pub fn num_candidates(&self) -> usize {
        self.config.num_beams.saturating_mul((1 + self.eos.len()).max(2))
    }

    /// Changes the scores of the token after `text`, of which `written` are new.
    pub fn apply(&self, text: &[u32], written: usize, scores: &mut [f32]) {
        let GenerateConfig { repetition_penalty, no_repeat_ngram_size, suppress_tokens, .. } = self.config;
        if *repetition_penalty != 1.0 {
            penalise(text, *repetition_penalty as f32, scores);
        }
        for token in repeating(text, *no_repeat_ngram_size).chain(suppress_tokens.iter().copied()) {
            if let Some(score) = scores.get_mut(token as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
        if let Some(forced) = self.config.forced_eos_token_id.filter(|_| written + 1 >= self.max_new_tokens) {
            scores.fill(f32::NEG_INFINITY);
            scores[forced as usize] = 0.0;
        }
    }

    /// Why a text ends that consists of `written` and `token`, if it does.
    pub fn end(&self, written: &[u32], token: u32) -> Option<Ended> {
        let stops =
            |stop: &Vec<u32>| stop.split_last().is_some_and(|(last, rest)| *last == token && written.ends_with(rest));
        if self.eos.contains(&token) {
            Some(Ended::Eos)
        } else if self.config.stop_sequences.iter().any(stops) {
            Some(Ended::StopSequence)
        } else {
            (written.len() + 1 >= self.max_new_tokens).then_some(Ended::Length)
        }
    }
}

fn penalise(text: &[u32], penalty: f32, scores: &mut [f32]) {
    let mut tokens = text.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    for token in tokens {
        if let Some(score) = scores.get_mut(token as usize) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

/// The tokens that would end a run of `size` tokens which is in `text` already.
fn repeating(text: &[u32], size: usize) -> impl Iterator<Item = u32> {
    let prefix = text.get((text.len() + 1).saturating_sub(size)..).unwrap_or_default();
    // A text shorter than a run repeats none; windows of nothing are refused.
    let windows = text.windows(size.max(1)).filter(move |_| size > 0);
    windows.filter_map(move |window| window.split_last().filter(|(_, first)| *first == prefix).map(|(last, _)| *last))
}

/// The logarithm of the sum of the exponentials of `logits`.
pub(super) fn log_sum_exp(logits: &[f32]) -> Result<f64> {
    let (_, best) = best(logits)?;
    Ok(f64::from(best) + sum_exp(logits, best).ln())
}

/// Σ exp(logit − best): eight sums side by side, which vectors can hold, in a fixed order.
fn sum_exp(logits: &[f32], best: f32) -> f64 {
    let mut sums = [0f32; 8];
    let mut total = 0.0;
    // Sums of so few that f32 holds them.
    for part in logits.chunks(1024) {
        sums.fill(0.0);
        for eight in part.chunks(8) {
            sums.iter_mut().zip(eight).for_each(|(sum, &logit)| *sum += (logit - best).exp());
        }
        total += sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
    }
    total
}

/// The token of the largest score, the first of equals, and the score.
pub(super) fn best(scores: &[f32]) -> Result<(u32, f32)> {
    let (mut place, mut best) = (0u32, f32::NEG_INFINITY);
    let mut is_number = true;
    for (at, &score) in (0..).zip(scores) {
        is_number &= !score.is_nan();
        if score > best {
            (place, best) = (at, score);
        }
    }
    if is_number && best.is_finite() {
        return Ok((place, best));
    }
    let got = if is_number { best } else { f32::NAN };
    Err(Error::invalid("logits of the next token", "finite numbers", got))
}

/// The `count` tokens of the largest scores above −∞, the largest first, of equals the first.
pub(super) fn largest(scores: &[f32], count: usize) -> Vec<(f32, u32)> {
    let mut found: Vec<(f32, u32)> = Vec::with_capacity(count.min(scores.len()) + 1);
    let mut least = f32::NEG_INFINITY;
    for (&score, token) in scores.iter().zip(0u32..) {
        // Nearly always.
        if score <= least {
            continue;
        }
        let place = found.partition_point(|other| other.0 >= score);
        found.insert(place, (score, token));
        found.truncate(count);
        if let Some(last) = found.get(count.wrapping_sub(1)) {
            least = last.0;
        }
    }
    found
}
