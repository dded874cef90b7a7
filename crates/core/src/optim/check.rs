//! Ranges of hyper-parameters.

use std::fmt::Display;

use crate::{Error, Result};

/// `value`, where it is finite and 0 or more.
pub(super) fn non_negative(who: &str, name: &str, value: f64) -> Result<f64> {
    within(who, name, value, value.is_finite() && value >= 0.0, "a finite number >= 0")
}

/// `value`, where it is finite and above 0.
pub(super) fn positive(who: &str, name: &str, value: f64) -> Result<f64> {
    within(who, name, value, value.is_finite() && value > 0.0, "a finite number > 0")
}

/// `value`, where it lies in [0, 1).
pub(super) fn fraction(who: &str, name: &str, value: f64) -> Result<f64> {
    within(who, name, value, (0.0..1.0).contains(&value), "a number in [0, 1)")
}

/// `count`, where it is 1 or more.
pub(super) fn count(who: &str, name: &str, count: u64) -> Result<u64> {
    within(who, name, count, count > 0, "1 or more")
}

fn within<T: Display>(who: &str, name: &str, value: T, holds: bool, expected: &str) -> Result<T> {
    if holds { Ok(value) } else { Err(Error::invalid(format!("{who} {name}"), expected, value)) }
}
