//! Recurrent layers.

mod min_gru;
mod min_lstm;
mod minimal;

pub use min_gru::MinGru;
pub use min_lstm::MinLstm;
