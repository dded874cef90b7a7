//! Texts token by token from a [`CausalLm`] or an [`EncoderDecoder`]: the likeliest token, a drawn one, or a beam search.
//!
//! ```no_run
//! use candle_core::Device;
//! use glassbox_core::{Sampling, Seed};
//! use glassbox_transformer::generate::{GenerateConfig, generate, stream};
//! use glassbox_transformer::hub::{Gpt2, Pretrained};
//! let gpt2 = Gpt2::from_dir("models/gpt2", &Device::Cpu)?;
//! let config = GenerateConfig { max_new_tokens: 20, num_beams: 4, ..Default::default() };
//! let best = &generate(&gpt2, &[[464, 3290]], &config)?[0][0];
//! println!("{:?} {}", best.tokens, best.score);
//!
//! let sampling = Sampling { temperature: 0.8, top_p: Some(0.9), seed: Seed(1), ..Default::default() };
//! for token in stream(&gpt2, &[464, 3290], &GenerateConfig { sampling, ..Default::default() })? {
//!     println!("{}", token?);
//! }
//! # Ok::<(), glassbox_core::Error>(())
//! ```

mod beam;
mod config;
mod draw;
mod pieces;
mod scores;
mod session;
#[cfg(test)]
mod tests;

use glassbox_core::Result;

use crate::model::{CausalLm, EncoderDecoder};
pub use config::{EarlyStopping, GenerateConfig};
pub use draw::Tokens;
pub use pieces::Pieces;
use scores::Rules;
use session::Session;

/// What a model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens, without the id that ended them; a stop sequence is the last of them.
    pub tokens: Vec<u32>,
    /// The sum of the tokens' log-probabilities, that of the ending id too, divided by their number to the power of
    /// [`length_penalty`](GenerateConfig::length_penalty). Of a beam search it is what texts are sorted by, with the rules of
    /// repetition applied; otherwise it is of what the model says before any rule.
    pub score: f64,
    /// Why it ended.
    pub ended: Ended,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model said so.
    Eos,
    /// It came to a stop sequence.
    StopSequence,
    /// It has `max_new_tokens`, or fills the model's context.
    Length,
}

/// What `model` writes after each of `prompts`: with a beam of `num_beams` so many texts, the best first, otherwise one.
///
/// Prompts of different lengths are padded on the left, which changes no result. With one beam or more the texts are those
/// of `transformers`' `generate`, token by token.
///
/// # Errors
/// No prompt, or one that is empty, has an id past the vocabulary or more tokens than the model has positions; a
/// configuration out of its range.
pub fn generate(
    model: &dyn CausalLm,
    prompts: &[impl AsRef<[u32]>],
    config: &GenerateConfig,
) -> Result<Vec<Vec<Generated>>> {
    write(Session::after(model, prompts, config)?, config)
}

/// What `model` writes for each of `sources`: with a beam of `num_beams` so many texts, the best first, otherwise one.
///
/// # Errors
/// No source, or an empty one, or one that the model's encoder refuses; a configuration out of its range.
pub fn generate_from(
    model: &dyn EncoderDecoder,
    sources: &[impl AsRef<[u32]>],
    config: &GenerateConfig,
) -> Result<Vec<Vec<Generated>>> {
    write(Session::of(model, sources, config)?, config)
}

/// The tokens that `model` writes after `prompt`, each as it comes: those of [`generate`].
///
/// # Errors
/// As [`generate`]; a beam, whose first token is not known before its last.
pub fn stream<'a>(model: &'a dyn CausalLm, prompt: &[u32], config: &GenerateConfig) -> Result<Tokens<'a>> {
    Tokens::new(Session::after(model, &[prompt], config)?, config)
}

/// The tokens that `model` writes for `source`, each as it comes: those of [`generate_from`].
///
/// # Errors
/// As [`generate_from`]; a beam.
pub fn stream_from<'a>(model: &'a dyn EncoderDecoder, source: &[u32], config: &GenerateConfig) -> Result<Tokens<'a>> {
    Tokens::new(Session::of(model, &[source], config)?, config)
}

fn write(session: Session, config: &GenerateConfig) -> Result<Vec<Vec<Generated>>> {
    let rules = Rules::new(config, &session);
    match config.num_beams {
        1 => Ok(draw::all(session, &rules, config)?.into_iter().map(|text| vec![text]).collect()),
        _ => beam::search(session, &rules, config),
    }
}
