//! The checks that every layer and loss goes through, in this crate and in those built on it.
//!
//! [`check_layer`] and [`check_loss`] are the contracts, [`Golden`] compares with values that PyTorch made. As assertions,
//! they panic with what was expected and what came; the `testkit` feature is for tests alone.

mod golden;
mod gradient;
mod layer;
mod loss;

pub use glassbox_kernels::testkit::{check_gradients, values};
pub use golden::Golden;
pub use layer::{LayerCheck, check_layer};
pub use loss::check_loss;

use candle_core::Tensor;

use crate::{Error, Result, TensorExt};

/// Panics with the error, if there is one.
#[track_caller]
fn assert_ok(result: Result<()>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Fails unless `got` has the shape of `want` and every element lies within `tolerance` · (1 + |want|).
fn expect_close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
    if got.dims() != want.dims() {
        return Err(Error::invalid(what, format!("shape {:?}", want.dims()), format!("{:?}", got.dims())));
    }
    for (i, (got, want)) in got.to_f64_vec()?.into_iter().zip(want.to_f64_vec()?).enumerate() {
        expect_near(&format!("{what}, element {i}"), got, want, tolerance)?;
    }
    Ok(())
}

fn expect_near(what: &str, got: f64, want: f64, tolerance: f64) -> Result<()> {
    // Written so that NaN fails.
    if (got - want).abs() <= tolerance * (1.0 + want.abs()) {
        return Ok(());
    }
    Err(Error::invalid(what, format!("{want} within {tolerance} relative"), got))
}

fn expect(holds: bool, what: &str, expected: &str, got: impl std::fmt::Display) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::invalid(what, expected, got)) }
}
