//! Reading off what a [`Seq2seq`] says: greedily, or with a beam.

use candle_core::{D, DType, Tensor};
use glassbox_core::dataset::Padded;
use glassbox_core::{Error, Pass, Result, TensorExt};

use super::{Seq2seq, Seq2seqState};

/// How to search for the best target.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchConfig {
    /// Hypotheses that are followed for each source, and given. At least 1. Default 5.
    pub beam_size: usize,
    /// The exponent α of the length's penalty ((5 + length) / 6)^α, by which log-probabilities are divided, since longer
    /// hypotheses are always less likely (Wu et al. 2016, arXiv 1609.08144). 0 is none. Default 1.
    pub length_penalty: f64,
    /// Tokens after which a hypothesis is cut, `eos` included. At least 1. Default 100.
    pub max_length: usize,
    /// Ids that are never said, such as that of unknown words; `pad` and `bos` never are. Default none.
    pub suppress: Vec<u32>,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self { beam_size: 5, length_penalty: 1.0, max_length: 100, suppress: vec![] }
    }
}

/// One target that the model might say.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without `bos` and `eos`.
    pub tokens: Vec<u32>,
    /// The logarithm of its probability, of `eos` too.
    pub log_probability: f64,
    /// The log-probability divided by the length's penalty: what hypotheses are sorted by.
    pub score: f64,
    /// Whether it ended by itself, with `eos`, before `max_length`.
    pub finished: bool,
}

/// A hypothesis that goes on.
#[derive(Clone, Debug, Default)]
struct Live {
    tokens: Vec<u32>,
    log_probability: f64,
}

/// The hypotheses of one source.
struct Beams {
    live: Vec<Live>,
    done: Vec<Hypothesis>,
}

/// A live hypothesis with one more token.
struct Candidate {
    /// The hypothesis's place among the live ones of its source.
    parent: usize,
    token: u32,
    log_probability: f64,
}

impl SearchConfig {
    fn check(&self, target_vocab_size: usize) -> Result<()> {
        for (what, value) in [("beam_size", self.beam_size), ("max_length", self.max_length)] {
            if value == 0 {
                return Err(Error::invalid(what, "at least 1", value));
            }
        }
        if !self.length_penalty.is_finite() {
            return Err(Error::invalid("length_penalty", "a finite number", self.length_penalty));
        }
        match self.suppress.iter().find(|&&id| id as usize >= target_vocab_size) {
            Some(id) => Err(Error::invalid("suppressed id", format!("below {target_vocab_size}"), id)),
            None => Ok(()),
        }
    }

    /// `live` as a hypothesis; an end counts as a token of its length.
    fn hypothesis(&self, live: Live, finished: bool) -> Hypothesis {
        let Live { tokens, log_probability } = live;
        let length = tokens.len() + usize::from(finished);
        let score = log_probability / ((5.0 + length as f64) / 6.0).powf(self.length_penalty);
        Hypothesis { tokens, log_probability, score, finished }
    }
}

impl Seq2seq {
    /// For each source what the model says if it always says the most likely token. Of `search`, the beam plays no part.
    ///
    /// # Errors
    /// A source or a search that does not fit.
    pub fn greedy(&self, source: &Padded, search: &SearchConfig) -> Result<Vec<Hypothesis>> {
        let (mut state, never) = self.begin(source, search)?;
        let mut hypotheses = vec![(Live::default(), false); source.lengths.len()];
        let mut last = vec![self.config().bos; hypotheses.len()];
        for _ in 0..search.max_length {
            let (log_probabilities, next) = self.say(&last, &state, &never)?;
            let tokens = log_probabilities.argmax(D::Minus1)?.to_vec1::<u32>()?;
            let likely = log_probabilities.max(D::Minus1)?.to_f64_vec()?;
            for (((live, finished), &token), likely) in hypotheses.iter_mut().zip(&tokens).zip(likely) {
                if !*finished {
                    live.log_probability += likely;
                    *finished = token == self.config().eos;
                    live.tokens.extend((!*finished).then_some(token));
                }
            }
            if hypotheses.iter().all(|(_, finished)| *finished) {
                break;
            }
            (state, last) = (next, tokens);
        }
        Ok(hypotheses.into_iter().map(|(live, finished)| search.hypothesis(live, finished)).collect())
    }

    /// For each source the `beam_size` best targets that a beam search finds, the best first.
    ///
    /// At each step every live hypothesis is tried with every token, and the most likely are kept. One that ends is set
    /// aside and leaves the beam a place narrower, so that the search is over when as many have ended as it was wide.
    /// Hypotheses cut at `max_length` come after those that ended. With a beam of 1 it is [`greedy`](Self::greedy).
    ///
    /// # Errors
    /// A source or a search that does not fit.
    pub fn beam_search(&self, source: &Padded, search: &SearchConfig) -> Result<Vec<Vec<Hypothesis>>> {
        let (mut state, never) = self.begin(source, search)?;
        let start = |_: &usize| Beams { live: vec![Live::default()], done: vec![] };
        let mut all: Vec<Beams> = source.lengths.iter().map(start).collect();
        let mut last = vec![self.config().bos; all.len()];
        for _ in 0..search.max_length {
            let (log_probabilities, next) = self.say(&last, &state, &never)?;
            let vocab_size = log_probabilities.dim(1)?;
            let log_probabilities = log_probabilities.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let mut rows = log_probabilities.chunks_exact(vocab_size);
            let (mut parents, mut first_row) = (vec![], 0u32);
            for beams in &mut all {
                let num_live = beams.live.len();
                let chosen = beams.advance(rows.by_ref().take(num_live), self.config().eos, search);
                parents.extend(chosen.into_iter().map(|parent| first_row + parent));
                first_row += num_live as u32;
            }
            if parents.is_empty() {
                break;
            }
            let live = all.iter().flat_map(|beams| &beams.live);
            last = live.filter_map(|live| live.tokens.last().copied()).collect();
            state = next.select(&Tensor::new(parents, source.values.device())?)?;
        }
        Ok(all.into_iter().map(|beams| beams.best(search)).collect())
    }

    /// The sources read, and −∞ for every token that is never said, 0 for the others: (1, target_vocab_size).
    fn begin(&self, source: &Padded, search: &SearchConfig) -> Result<(Seq2seqState, Tensor)> {
        let config = self.config();
        search.check(config.target_vocab_size)?;
        let never = |id: u32| id == config.pad || id == config.bos || search.suppress.contains(&id);
        let never = (0..config.target_vocab_size).map(|id| if never(id as u32) { f32::NEG_INFINITY } else { 0.0 });
        let state = self.encode(source, &Pass::eval())?;
        Ok((state, Tensor::from_iter(never, source.values.device())?.unsqueeze(0)?))
    }

    /// The log-probabilities of the token after `last`, (hypotheses, target_vocab_size), and the state then.
    fn say(&self, last: &[u32], state: &Seq2seqState, never: &Tensor) -> Result<(Tensor, Seq2seqState)> {
        let inputs = Tensor::from_vec(last.to_vec(), (last.len(), 1), never.device())?;
        let (decoded, state) = self.decode(&inputs, state, &Pass::eval())?;
        let log_probabilities = decoded.logits.squeeze(1)?.log_softmax(1)?;
        Ok((log_probabilities.broadcast_add(&never.to_dtype(log_probabilities.dtype())?)?, state))
    }
}

impl Beams {
    /// Takes one step, with the log-probabilities of each live hypothesis's next token: the parents of those live then.
    fn advance<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>, eos: u32, search: &SearchConfig) -> Vec<u32> {
        let width = search.beam_size - self.done.len();
        let mut candidates = vec![];
        for (parent, (live, row)) in self.live.iter().zip(rows).enumerate() {
            let with = |(likely, token)| Candidate {
                parent,
                token,
                log_probability: live.log_probability + f64::from(likely),
            };
            candidates.extend(most_likely(row, width).into_iter().map(with));
        }
        // Stable: of equal ones the first stays first.
        candidates.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
        let (mut live, mut parents) = (vec![], vec![]);
        for Candidate { parent, token, log_probability } in candidates.into_iter().take(width) {
            let mut tokens = self.live[parent].tokens.clone();
            if token == eos {
                self.done.push(search.hypothesis(Live { tokens, log_probability }, true));
            } else {
                tokens.push(token);
                live.push(Live { tokens, log_probability });
                parents.push(parent as u32);
            }
        }
        self.live = live;
        parents
    }

    /// The finished hypotheses by score, then those that were cut.
    fn best(self, search: &SearchConfig) -> Vec<Hypothesis> {
        let mut all = self.done;
        all.extend(self.live.into_iter().map(|live| search.hypothesis(live, false)));
        all.sort_by(|a, b| b.finished.cmp(&a.finished).then(b.score.total_cmp(&a.score)));
        all
    }
}

/// The `count` most likely tokens that are possible at all, the most likely first, of equal ones that of the lower id.
fn most_likely(log_probabilities: &[f32], count: usize) -> Vec<(f32, u32)> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(count.min(log_probabilities.len()) + 1);
    for (&likely, token) in log_probabilities.iter().zip(0u32..) {
        let full = best.len() == count;
        if likely == f32::NEG_INFINITY || full && best.last().is_some_and(|last| likely <= last.0) {
            continue;
        }
        let place = best.partition_point(|other| other.0 >= likely);
        best.insert(place, (likely, token));
        best.truncate(count);
    }
    best
}
