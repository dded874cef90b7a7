//! Every differentiable operation, in shapes drawn at random from fixed seeds: small and odd ones, sizes of 1, operands
//! that are transposed, cut out or repeated.
//!
//! The f64 gradients are compared with central differences; values and gradients of f64 and f32 with the form composed of
//! Candle's operations; one thread with two, bit by bit; and no samples at all give an empty result and no gradient.

// The lint's exception for tests covers functions marked as tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod check;
mod convolution;
mod draw;
mod elements;
mod normalisation;
mod pooling;
mod sequences;
