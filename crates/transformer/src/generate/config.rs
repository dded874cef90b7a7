//! How a text is written.

use glassbox_core::{Error, Result, Sampling};
use serde::{Deserialize, Serialize};

/// How a text is written: `transformers`' `GenerationConfig`, as far as it goes, under its names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateConfig {
    /// Tokens after which a text is cut, the one that ends it included; at least 1. A text is cut before where the model has
    /// no more positions. Default 128.
    pub max_new_tokens: usize,
    /// How a token is drawn. Default greedy: the likeliest one. Each prompt of a batch draws for itself.
    pub sampling: Sampling,
    /// Least probability of a token that is drawn, as a share of the likeliest one's, in [0, 1]; at the temperature of
    /// `sampling` and before its other limits, where `transformers` has it after them (Nguyen et al. 2024,
    /// arXiv 2407.01082). Default 0.
    pub min_p: f64,
    /// What the score of each token that is in the text or its prompt is divided by, or multiplied with if below 0; above 0
    /// (Keskar et al. 2019, arXiv 1909.05858). Default 1: nothing.
    pub repetition_penalty: f64,
    /// No run of so many tokens comes twice in prompt and text; 0 for any. Default 0.
    pub no_repeat_ngram_size: usize,
    /// A text ends after one of these.
    pub stop_sequences: Vec<Vec<u32>>,
    /// Ids that end a text. Default those of the model.
    pub eos_token_ids: Option<Vec<u32>>,
    /// Ids that are never said. Default none.
    pub suppress_tokens: Vec<u32>,
    /// What a text that comes to `max_new_tokens` ends with. Default anything.
    pub forced_eos_token_id: Option<u32>,
    /// Texts that are followed at the same time, of which each step keeps the likeliest, at least 1. Default 1: no search.
    pub num_beams: usize,
    /// The exponent of the length that a beam's log-probability is divided by: above 0 favours long texts, below 0 short
    /// ones. Default 1.
    pub length_penalty: f64,
    /// When a beam search ends. Default [`EarlyStopping::False`].
    pub early_stopping: EarlyStopping,
    /// Whether keys and values of earlier tokens are kept: without, the same tokens more slowly. Default true.
    pub use_cache: bool,
}

/// When a beam search ends that has `num_beams` finished texts: `transformers`' `early_stopping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EarlyStopping {
    /// When no text that goes on is, over its length so far, better than the worst finished one.
    #[default]
    False,
    /// At once.
    True,
    /// When no text that goes on can become better than the worst finished one, however it goes on.
    Never,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            sampling: Sampling::greedy(),
            min_p: 0.0,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            stop_sequences: vec![],
            eos_token_ids: None,
            suppress_tokens: vec![],
            forced_eos_token_id: None,
            num_beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::False,
            use_cache: true,
        }
    }
}

impl GenerateConfig {
    pub(super) fn check(&self, vocab_size: usize) -> Result<()> {
        for (what, value) in [("max_new_tokens", self.max_new_tokens), ("num_beams", self.num_beams)] {
            if value == 0 {
                return Err(Error::invalid(what, "at least 1", value));
            }
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return Err(Error::invalid("min_p", "from 0 to 1", self.min_p));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return Err(Error::invalid("repetition_penalty", "a number above 0", self.repetition_penalty));
        }
        if !self.length_penalty.is_finite() {
            return Err(Error::invalid("length_penalty", "a finite number", self.length_penalty));
        }
        if self.num_beams > 1 && self.sampling.temperature != 0.0 {
            return Err(Error::invalid("sampling", "greedy, with several beams", "a temperature above 0"));
        }
        if self.stop_sequences.iter().any(Vec::is_empty) {
            return Err(Error::invalid("stop_sequences", "at least one token each", "none"));
        }
        self.sampling.sampler()?;
        let ids = self.suppress_tokens.iter().chain(&self.forced_eos_token_id);
        match ids.chain(self.eos_token_ids.iter().flatten()).find(|&&id| id as usize >= vocab_size) {
            Some(id) => Err(Error::invalid("id to end with or to suppress", format!("below {vocab_size}"), id)),
            None => Ok(()),
        }
    }
}
