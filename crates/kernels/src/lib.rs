//! Differentiable operations for training on Candle.
//!
//! Every operation is one function that takes and returns [`candle_core::Tensor`]s and has right gradients on every
//! device. On the CPU it is a custom op with its own backward; elsewhere it is composed of Candle's operations. Callers
//! never ask which. This is the only crate of Glassbox that may contain `unsafe` code.

pub mod activation;
pub mod attention;
pub mod backward;
pub mod concat;
pub mod conv;
mod cpu;
pub mod dropout;
pub mod embedding;
pub mod graph;
pub mod index;
pub mod linear;
pub mod loss;
pub mod norm;
pub mod optim;
pub mod pool;
pub mod recurrent;
pub mod reduce;
pub mod rotary;
pub mod scan;
pub mod softmax;
pub mod tail;
#[cfg(test)]
mod testing;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod upsample;

/// The result of an operation: Candle's own, since a kernel knows neither layers nor files.
pub type Result<T> = candle_core::Result<T>;
