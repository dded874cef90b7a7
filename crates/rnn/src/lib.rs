//! Recurrent networks for Glassbox: RNN, GRU and LSTM, and what is built of them.
//!
//! Sequences are tensors (batch, seq_len, features). Parameters have PyTorch's names, shapes, gate order and initial values,
//! so weights go back and forth as safetensors files.
//!
//! | | |
//! |---|---|
//! | [`Rnn`], [`Gru`], [`Lstm`] | layers of one kind, in one direction or both, with dropout and normalisation between them |
//! | [`Recurrent`] | what all three do: sequences from a given state, of given lengths, or one step |
//! | [`RnnState`], [`LstmState`] | what is remembered from one call to the next |
//! | [`MinGru`], [`MinLstm`] | gates without the previous state, so that all steps are taken in parallel |
//! | [`EncoderAttention`] | additive and dot-product attention over encoder states |
//! | [`Forecaster`], [`walk_forward`] | time series: forecasts with intervals, and how good they are |
//! | [`SeasonalNaive`], [`DLinear`], [`RevIn`] | the baselines to show beside it; what takes out a window's level |
//! | [`Seq2seq`], [`Seq2seqStep`] | sequence to sequence with attention: training, greedy and beam search |
//! | [`LanguageModel`], [`LanguageModelStep`] | the next token from those before it: training along a text, streaming generation |
//! | [`Ctc`], [`ctc_greedy`], [`CtcBeamSearch`] | labels without their times: the loss, and reading them off |
//! | [`SequenceClassifier`], [`SequenceTagger`] | a class for each sequence, or for each of its steps |
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use glassbox_core::{ParamStore, Pass, Seed};
//! use glassbox_rnn::{Lstm, LstmConfig, Recurrent, RecurrentState};
//!
//! let params = ParamStore::new(Seed(42), &Device::Cpu);
//! let lstm = Lstm::new(8, 32, LstmConfig { num_layers: 2, ..Default::default() }, params.root())?;
//! let batch = Tensor::zeros((4, 10, 8), DType::F32, &Device::Cpu)?;
//! let (sequence, state) = lstm.forward_with(&batch, None, Some(&[10, 7, 3, 10]), &Pass::eval())?;
//! assert_eq!(sequence.dims(), [4, 10, 32]);
//! let (_, state) = lstm.forward_with(&batch, Some(&state.detach()), None, &Pass::eval())?;
//! assert_eq!(state.cell.dims(), [2, 4, 32]);
//! # Ok::<(), glassbox_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod attention;
mod classifier;
mod ctc;
mod decode;
mod encoder;
mod forecast;
mod language_model;
// Not public: the facade's prelude takes in this crate and that of convolutional networks, which has a module of this name.
mod layers;
mod lengths;
mod network;
mod pooling;
mod seq2seq;
mod tagger;

pub use attention::{Attended, AttentionMemory, AttentionScore, EncoderAttention};
pub use classifier::SequenceClassifier;
pub use ctc::Ctc;
pub use decode::{CtcBeamSearch, CtcHypothesis, PrefixScorer, ctc_greedy};
pub use encoder::{SequenceEncoderConfig, SequenceInput};
pub use forecast::{
    DLinear, Decoding, ForecastScores, Forecaster, ForecasterConfig, IntervalScores, RevIn, SeasonalNaive, WindowLevel,
    WindowNorm, walk_forward,
};
pub use glassbox_core::train::Seq2seqStep;
pub use language_model::{GeneratedTokens, LanguageModel, LanguageModelConfig, LanguageModelStep};
pub use layers::*;
pub use network::{NetworkState, RecurrentConfig, RecurrentKind};
pub use pooling::SequencePooling;
pub use seq2seq::{Decoded, Hypothesis, SearchConfig, Seq2seq, Seq2seqConfig, Seq2seqState};
pub use tagger::SequenceTagger;

/// The README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
