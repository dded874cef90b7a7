#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "dashboard")]
mod dashboard;
pub mod inspect;
mod lens;
mod non_finite;
pub mod preflight;
pub mod record;
pub mod report;
pub mod rules;
mod taps;
mod tensorboard;
pub mod views;

pub use lens::Lens;
pub use non_finite::{FirstNonFinite, Found, Place};
pub use preflight::{Preflight, preflight};
pub use report::{Figure, Report, Section, compare};
pub use rules::{Certainty, Finding, diagnose};
pub use taps::{Tapped, Taps};
pub use tensorboard::EventFile;
