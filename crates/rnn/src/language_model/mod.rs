//! Language models: the next token from those before it.

mod generate;
mod model;
mod step;
#[cfg(test)]
mod tests;

pub use generate::GeneratedTokens;
pub use model::{LanguageModel, LanguageModelConfig};
pub use step::LanguageModelStep;
