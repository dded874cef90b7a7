//! One token after another, the likeliest or a drawn one.

use candle_core::{Device, Tensor};
use glassbox_core::{Error, Result, Sampling, TokenSampler};

use super::scores::{Rules, best, largest, log_sum_exp};
use super::session::Session;
use super::{Ended, GenerateConfig, Generated};

/// Draws the tokens of one text.
struct Drawer {
    /// None where the likeliest is taken.
    sampler: Option<TokenSampler>,
    top_k: Option<usize>,
    /// How far a logit may be below the largest.
    depth: f32,
}

impl Drawer {
    /// That of the text in place `row` of a batch.
    fn new(config: &GenerateConfig, row: usize) -> Result<Self> {
        let Sampling { temperature, top_k, seed, .. } = config.sampling;
        let sampling = Sampling { seed: seed.index(row as u64), top_k: None, ..config.sampling };
        let sampler = (temperature > 0.0).then(|| sampling.sampler()).transpose()?;
        // exp((logit − largest) / temperature) is the share; a min_p of 0 allows any.
        let depth = (-config.min_p.ln() * temperature) as f32;
        Ok(Self { sampler, top_k, depth })
    }

    fn draw(&mut self, scores: &[f32]) -> Result<u32> {
        let (likeliest, largest_score) = best(scores)?;
        let Some(sampler) = &mut self.sampler else { return Ok(likeliest) };
        let floor = largest_score - self.depth;
        let can_come = |score: f32| score >= floor && score > f32::NEG_INFINITY;
        let (kept, tokens): (Vec<f32>, Vec<u32>) = match self.top_k {
            Some(count) => largest(scores, count).into_iter().filter(|(score, _)| can_come(*score)).unzip(),
            None => scores.iter().copied().zip(0..).filter(|(score, _)| can_come(*score)).unzip(),
        };
        let place = sampler.sample(&Tensor::new(kept, &Device::Cpu)?)?;
        Ok(tokens.get(place as usize).copied().unwrap_or(likeliest))
    }
}

/// The texts of all rows.
pub(super) fn all(mut session: Session, rules: &Rules, config: &GenerateConfig) -> Result<Vec<Generated>> {
    let count = session.num_rows();
    let mut drawers = (0..count).map(|row| Drawer::new(config, row)).collect::<Result<Vec<_>>>()?;
    let mut texts = vec![Generated { tokens: vec![], score: 0.0, ended: Ended::Length }; count];
    // Which text each row of the session is.
    let mut places: Vec<usize> = (0..count).collect();
    while !places.is_empty() {
        let mut scores = session.logits()?;
        let rows = scores.chunks_exact_mut(session.vocab_size.max(1));
        let (mut next, mut live) = (vec![], vec![]);
        for ((row, &place), scores) in places.iter().enumerate().zip(rows) {
            let (text, written) = (&mut texts[place], session.written(row));
            let (total, plain) = (log_sum_exp(scores)?, scores.to_vec());
            rules.apply(session.text(row), written.len(), scores);
            let token = drawers[place].draw(scores)?;
            text.score += f64::from(plain[token as usize]) - total;
            let Some(ended) = rules.end(written, token) else {
                next.push((row, token));
                live.push(place);
                continue;
            };
            let tokens = written.iter().copied().chain((ended != Ended::Eos).then_some(token)).collect();
            let score = text.score / ((written.len() + 1) as f64).powf(config.length_penalty);
            *text = Generated { tokens, score, ended };
        }
        session.go_on(&next)?;
        places = live;
    }
    Ok(texts)
}

/// The tokens of a text as they come, without the id that ends it; after an error there are none. From
/// [`stream`](super::stream).
pub struct Tokens<'a> {
    session: Session<'a>,
    config: GenerateConfig,
    drawer: Drawer,
    ended: Option<Ended>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(session: Session<'a>, config: &GenerateConfig) -> Result<Self> {
        if config.num_beams != 1 {
            return Err(Error::invalid("num_beams", "1, for tokens as they come", config.num_beams));
        }
        Ok(Self { session, config: config.clone(), drawer: Drawer::new(config, 0)?, ended: None })
    }

    /// Why it ended; none where it goes on, or an error ended it.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// The next token, and why it is the last one if it is.
    fn draw(&mut self) -> Result<(u32, Option<Ended>)> {
        let rules = Rules::new(&self.config, &self.session);
        let mut scores = self.session.logits()?;
        let written = self.session.written(0);
        rules.apply(self.session.text(0), written.len(), &mut scores);
        let token = self.drawer.draw(&scores)?;
        let ended = rules.end(written, token);
        self.session.go_on(&[(0, token)])?;
        Ok((token, ended))
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended.is_some() || self.session.num_rows() == 0 {
            return None;
        }
        match self.draw() {
            Ok((token, ended)) => {
                self.ended = ended;
                (ended != Some(Ended::Eos)).then_some(Ok(token))
            }
            Err(error) => {
                // Nothing follows: the session has no rows any more.
                let emptied = self.session.go_on(&[]);
                Some(Err(emptied.err().unwrap_or(error)))
            }
        }
    }
}
