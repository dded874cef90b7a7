//! The record of a run: what [`Lens`](crate::Lens) writes to `lens.jsonl`, and what rules and the report read.
//!
//! `lens.jsonl` has a JSON object on each line, whose `event` says what it is:
//!
//! | `event` | when | what |
//! |---|---|---|
//! | `network` | once | [`Network`]: layers with type and output shape, parameters with shape |
//! | `vitals` | every recorded step | [`Vitals`]: per layer and per parameter |
//! | `answers` | every validation of a classifier | [`Answers`]: confusion, errors by class, calibration |
//! | `finding` | when a rule first finds it | [`Finding`](crate::Finding) |
//!
//! Numbers have five significant digits; one that is not finite is `null`. A long run is recorded more and more rarely, so
//! that the file stays below 5 MB.

pub(crate) mod compact;
mod file;
mod line;
mod recording;
mod series;
pub mod stats;

pub(crate) use file::LensFile;
pub use file::{Metrics, Record, Validation};
pub use line::{Answers, LayerInfo, LayerVitals, Line, Network, ParamInfo, ParamVitals, Vitals};
pub(crate) use recording::{Recorder, Roles, Shown, classes_of};
pub use series::Series;
