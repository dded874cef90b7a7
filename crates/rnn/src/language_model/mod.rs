//! Language models: the next token from those before it.

mod generate;
mod model;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use generate::GeneratedTokens;
pub use model::{LanguageModel, LanguageModelConfig};
pub use state::LanguageModelState;
pub use step::LanguageModelStep;
