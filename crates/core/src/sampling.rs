//! Drawing tokens from the logits of a language model.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Rng, Seed, TensorExt};

/// How the next token is drawn from a language model's logits.
///
/// The logits are divided by the temperature, then the `top_k` largest are kept, then of these the most probable that
/// together reach the probability `top_p`; from what is left one is drawn in proportion. It is the order in which
/// Hugging Face's `transformers` applies them.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Sampling, Seed};
/// let logits = Tensor::new(&[0.0f32, 3.0, 2.9], &Device::Cpu)?;
/// let mut sampler = Sampling { top_k: Some(2), seed: Seed(1), ..Default::default() }.sampler()?;
/// assert_ne!(sampler.sample(&logits)?, 0);
/// assert_eq!(Sampling::greedy().sampler()?.sample(&logits)?, 1);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// What the logits are divided by, 0 or more: below 1 the likely become likelier, above 1 the unlikely do. 0 is greedy:
    /// the most probable token, the first of equals. Default 1.
    pub temperature: f64,
    /// Number of most probable tokens to draw from, at least 1 (Fan et al. 2018, arXiv 1805.04833). Default all.
    pub top_k: Option<usize>,
    /// Probability that the tokens to draw from must reach, the most probable ones first, in (0, 1]; at least one stays
    /// (nucleus sampling; Holtzman et al. 2019, arXiv 1904.09751). Default all.
    pub top_p: Option<f64>,
    /// Where the random numbers start: the same seed draws the same tokens. Default 0.
    pub seed: Seed,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, seed: Seed(0) }
    }
}

impl Sampling {
    /// The most probable token every time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// What draws one token after another.
    ///
    /// # Errors
    /// A temperature below 0 or not finite, a `top_k` of 0, a `top_p` outside (0, 1].
    pub fn sampler(&self) -> Result<TokenSampler> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(Error::invalid("temperature", "a finite number of 0 or more", self.temperature));
        }
        if self.top_k == Some(0) {
            return Err(Error::invalid("top_k", "at least 1", 0));
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => Err(Error::invalid("top_p", "above 0, at most 1", p)),
            _ => Ok(TokenSampler { sampling: *self, rng: self.seed.rng() }),
        }
    }

    /// The tokens to draw from, with their probabilities.
    fn candidates(&self, logits: &[f64]) -> Result<Vec<(u32, f64)>> {
        let (first, best) = best(logits)?;
        if self.temperature == 0.0 {
            return Ok(vec![(first, 1.0)]);
        }
        let weight = |logit: f64| ((logit - best) / self.temperature).exp();
        let mut tokens: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|&logit| weight(logit))).collect();
        if self.top_k.is_some() || self.top_p.is_some() {
            // Stable: of equals the first stays in.
            tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
        }
        tokens.truncate(self.top_k.unwrap_or(usize::MAX));
        scale_to_one(&mut tokens);
        if let Some(top_p) = self.top_p {
            let mut reached = 0.0;
            let below = |&(_, probability): &(u32, f64)| {
                let is_below = reached < top_p;
                reached += probability;
                is_below
            };
            tokens = tokens.into_iter().take_while(below).collect();
            scale_to_one(&mut tokens);
        }
        Ok(tokens)
    }
}

/// Draws one token after another, as its [`Sampling`] says.
#[derive(Clone, Debug)]
pub struct TokenSampler {
    sampling: Sampling,
    rng: Rng,
}

impl TokenSampler {
    /// The next token. A token whose logit is −∞ is never drawn.
    ///
    /// # Shapes
    /// `logits` (vocab_size), unnormalised or log-probabilities.
    ///
    /// # Errors
    /// Logits of another rank, none, NaN or +∞ among them, or nothing but −∞.
    pub fn sample(&mut self, logits: &Tensor) -> Result<u32> {
        logits.expect_rank(1, "(vocab_size)")?;
        let tokens = self.sampling.candidates(&logits.to_f64_vec()?)?;
        Ok(pick(&tokens, self.rng.uniform()))
    }
}

/// The largest logit and its token, the first of equals.
fn best(logits: &[f64]) -> Result<(u32, f64)> {
    let larger = |best: (u32, f64), next: (u32, f64)| if next.1 > best.1 { next } else { best };
    let best = (0..).zip(logits.iter().copied()).fold((0, f64::NEG_INFINITY), larger);
    if !best.1.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
        let got = logits.iter().find(|logit| !logit.is_finite()).map_or("none".into(), f64::to_string);
        return Err(Error::invalid("logits to draw a token from", "finite numbers", got));
    }
    Ok(best)
}

fn scale_to_one(tokens: &mut [(u32, f64)]) {
    let total: f64 = tokens.iter().map(|(_, weight)| weight).sum();
    tokens.iter_mut().for_each(|(_, weight)| *weight /= total);
}

/// The token in whose share of [0, 1) `at` falls.
fn pick(tokens: &[(u32, f64)], at: f64) -> u32 {
    let mut reached = 0.0;
    let here = tokens.iter().find(|(_, probability)| {
        reached += probability;
        at < reached
    });
    // Rounding can leave the sum a little below 1: the last that can be drawn at all.
    let last = || tokens.iter().rev().find(|(_, probability)| *probability > 0.0);
    here.or_else(last).map_or(0, |(token, _)| *token)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const LOGITS: [f64; 5] = [1.0, 3.0, 2.0, 3.0, f64::NEG_INFINITY];

    fn tokens(sampling: Sampling) -> Vec<u32> {
        let mut tokens: Vec<u32> = sampling.candidates(&LOGITS).unwrap().iter().map(|(token, _)| *token).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn without_limits_it_is_the_softmax() {
        let drawn = Sampling::default().candidates(&LOGITS).unwrap();
        let total: f64 = LOGITS.iter().map(|logit| logit.exp()).sum();
        for ((token, probability), (want, logit)) in drawn.iter().zip((0..).zip(LOGITS)) {
            assert_eq!(*token, want);
            // Rounding of sums of five f64.
            assert!((probability - logit.exp() / total).abs() < 1e-15);
        }
    }

    #[test]
    fn counts_follow_the_probabilities() {
        let logits = Tensor::new(&LOGITS, &Device::Cpu).unwrap();
        let sampling = Sampling { temperature: 2.0, seed: Seed(3), ..Sampling::default() };
        let mut sampler = sampling.sampler().unwrap();
        let mut counts = [0.0; 5];
        (0..20_000).for_each(|_| counts[sampler.sample(&logits).unwrap() as usize] += 1.0);
        for (token, probability) in sampling.candidates(&LOGITS).unwrap() {
            // Five standard deviations of a binomial count.
            let allowed = 5.0 * (20_000.0 * probability * (1.0 - probability)).sqrt();
            assert!((counts[token as usize] - 20_000.0 * probability).abs() <= allowed, "{counts:?}");
        }
        assert_eq!(counts[4], 0.0);
    }

    #[test]
    fn a_low_temperature_and_one_candidate_are_greedy() {
        // Token 3 is as probable as 1, which comes first.
        assert_eq!(tokens(Sampling::greedy()), [1]);
        assert_eq!(tokens(Sampling { top_k: Some(1), ..Default::default() }), [1]);
        assert_eq!(tokens(Sampling { top_p: Some(1e-9), ..Default::default() }), [1]);
        for temperature in [1e-3, 1e-300, f64::MIN_POSITIVE] {
            let sampling = Sampling { temperature, ..Default::default() };
            let drawn = sampling.candidates(&[1.0, 3.0, 2.0]).unwrap();
            assert_eq!(drawn, [(0, 0.0), (1, 1.0), (2, 0.0)], "{temperature}");
        }
    }

    #[test]
    fn top_k_and_top_p_keep_the_most_probable() {
        assert_eq!(tokens(Sampling { top_k: Some(3), ..Default::default() }), [1, 2, 3]);
        assert_eq!(tokens(Sampling { top_k: Some(99), ..Default::default() }), [0, 1, 2, 3, 4]);
        // Probabilities 0.058, 0.397, 0.147, 0.397, 0.
        assert_eq!(tokens(Sampling { top_p: Some(0.39), ..Default::default() }), [1]);
        assert_eq!(tokens(Sampling { top_p: Some(0.4), ..Default::default() }), [1, 3]);
        assert_eq!(tokens(Sampling { top_p: Some(0.8), ..Default::default() }), [1, 2, 3]);
        // Of the two largest each has a half, which reaches 0.5.
        assert_eq!(tokens(Sampling { top_k: Some(2), top_p: Some(0.5), ..Default::default() }), [1]);
        let sum: f64 = Sampling { top_p: Some(0.8), ..Default::default() }
            .candidates(&LOGITS)
            .unwrap()
            .iter()
            .map(|(_, probability)| probability)
            .sum();
        assert!((sum - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let logits = Tensor::new(&[0f32; 100], &Device::Cpu).unwrap();
        let draw = |seed| {
            let mut sampler = Sampling { seed: Seed(seed), ..Default::default() }.sampler().unwrap();
            (0..20).map(|_| sampler.sample(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn settings_and_logits_that_make_no_sense_are_errors() {
        let message = |sampling: Sampling| sampling.sampler().unwrap_err().to_string();
        let base = Sampling::default();
        assert_eq!(
            message(Sampling { temperature: -1.0, ..base }),
            "temperature: expected a finite number of 0 or more, got -1"
        );
        assert!(message(Sampling { temperature: f64::NAN, ..base }).contains("NaN"));
        assert_eq!(message(Sampling { top_k: Some(0), ..base }), "top_k: expected at least 1, got 0");
        assert_eq!(message(Sampling { top_p: Some(0.0), ..base }), "top_p: expected above 0, at most 1, got 0");
        assert!(base.candidates(&[]).is_err());
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(base.candidates(&[0.0, bad]).is_err());
            assert!(Sampling::greedy().candidates(&[bad, 0.0]).is_err());
        }
        assert!(base.candidates(&[f64::NEG_INFINITY; 2]).is_err());
        let matrix = Tensor::new(&[[0f32]], &Device::Cpu).unwrap();
        assert!(base.sampler().unwrap().sample(&matrix).is_err());
    }

    #[test]
    fn rounding_never_draws_the_impossible() {
        assert_eq!(pick(&[(4, 0.5), (7, 0.499_999), (9, 0.0)], 0.999_999_9), 7);
    }
}
