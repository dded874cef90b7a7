//! Optimizer updates in place: one pass over a parameter, its gradient and its state.
//!
//! Every function takes its parameter and state as [`Var`](candle_core::Var)s of one shape and dtype, contiguous, each
//! with memory of its own, and changes them. On the CPU (f32, f64) one fused loop reads and writes everything once;
//! elsewhere the update is composed of Candle's operations. The formulas, with their order of rounding, are PyTorch's.

mod adam;
mod muon;
mod norm;
mod sgd;
mod simple;
#[cfg(test)]
mod tests;
mod update;

pub use adam::{AdamStep, adam_step};
pub use muon::{MuonAdjust, MuonStep, muon_step, newton_schulz};
pub use norm::{global_norm, limited, scaled};
pub use sgd::{SgdStep, sgd_step};
pub use simple::{AdagradStep, LionStep, RmspropStep, adagrad_step, lion_step, rmsprop_step};
