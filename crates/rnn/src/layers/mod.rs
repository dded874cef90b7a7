//! RNN, GRU and LSTM over whole sequences or step by step.

mod cell;
mod config;
mod gru;
mod level;
mod lstm;
mod recurrent;
mod rnn;
mod stack;
mod state;
mod weights;

pub use glassbox_kernels::recurrent::RnnActivation;
pub use gru::{Gru, GruConfig};
pub use lstm::{Lstm, LstmConfig};
pub use recurrent::{Recurrent, RecurrentSizes};
pub use rnn::{Rnn, RnnConfig};
pub use state::{LstmState, RecurrentState, RnnState};
