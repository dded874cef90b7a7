//! Recurrent networks for Glassbox: RNN, GRU and LSTM, and what is built of them.
//!
//! Sequences are tensors (batch, seq_len, features). Parameters have PyTorch's names, shapes, gate order and initial values,
//! so weights go back and forth as safetensors files.
#![forbid(unsafe_code)]

mod attention;
mod ctc;
mod decode;
pub mod layers;

pub use attention::{Attended, AttentionMemory, AttentionScore, EncoderAttention};
pub use ctc::Ctc;
pub use decode::{CtcBeamSearch, CtcHypothesis, PrefixScorer, ctc_greedy};
pub use layers::*;
