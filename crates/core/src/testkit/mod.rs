//! Checks that every layer and loss goes through.

pub use glassbox_kernels::testkit::{check_gradients, values};
