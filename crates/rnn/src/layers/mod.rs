//! RNN, GRU and LSTM over whole sequences or step by step, and their minimal kin.

mod cell;
mod config;
mod gru;
mod level;
mod lstm;
mod min_gru;
mod min_lstm;
mod minimal;
mod recurrent;
mod rnn;
mod stack;
mod state;
mod weights;

pub(crate) use config::expect_positive;
pub use glassbox_kernels::recurrent::RnnActivation;
pub use gru::{Gru, GruConfig};
pub use lstm::{Lstm, LstmConfig};
pub use min_gru::MinGru;
pub use min_lstm::MinLstm;
pub use recurrent::{Recurrent, RecurrentSizes};
pub use rnn::{Rnn, RnnConfig};
pub use state::{LstmState, RecurrentState, RnnState};
