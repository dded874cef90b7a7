//! The layers that every family uses.

mod linear;

pub use linear::Linear;
