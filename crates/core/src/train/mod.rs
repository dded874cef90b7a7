//! The training loop and who watches it.

mod best;
mod callback;
pub mod callbacks;
pub mod checkpoint;
mod fit;
#[cfg(feature = "interrupt")]
pub mod interrupt;
mod run;
mod run_dir;
mod seq2seq;
mod step;
mod supervised;
mod trainer;
mod update;

pub use best::Best;
pub use callback::Callback;
pub use checkpoint::average_checkpoints;
pub use run::Run;
pub use run_dir::RunDir;
pub use seq2seq::{Seq2seqModel, Seq2seqStep};
pub use step::{Progress, Score, Scores, StepReport, TrainStep};
pub use supervised::{Supervised, SupervisedStep};
pub use trainer::{Ended, Fitted, Trainer};
pub use update::Update;
