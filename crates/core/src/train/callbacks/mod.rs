//! The callbacks that most runs have.

mod checkpoints;
mod early_stopping;
mod metric_log;
mod progress;
mod restore_best;

pub use checkpoints::Checkpoints;
pub use early_stopping::EarlyStopping;
pub use metric_log::MetricLog;
pub use progress::ProgressBar;
pub use restore_best::RestoreBest;
