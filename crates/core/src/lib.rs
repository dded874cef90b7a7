//! Parameters, layers, losses, optimizers, metrics, data loading and the training loop of Glassbox.
//!
//! A [`ParamStore`] holds a model's parameters by name; a [`Layer`] maps a tensor to a tensor under a [`Pass`].
#![forbid(unsafe_code)]

pub mod dataset;
mod device;
mod error;
pub mod fusion;
pub mod init;
mod layer;
mod layers;
pub mod loss;
pub mod metric;
pub mod optim;
pub mod params;
mod pass;
pub mod pattern;
pub mod probe;
mod rng;
mod sampling;
mod state;
mod summary;
mod tensor_ext;
mod tensors;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod threads;
pub mod train;

pub use dataset::{Batch, Collate, DataLoader, Dataset, DatasetExt, Sample, Sampler, Subset, TensorDataset};
pub use device::device;
pub use error::{Error, Result};
pub use init::Init;
pub use layer::{Flatten, Layer, Residual, Sequential};
pub use layers::*;
pub use loss::{Loss, Reduction};
pub use metric::{
    Accuracy, Average, ConfusionMatrix, FBeta, Metric, Perplexity, PrAuc, Precision, R2, Recall, RocAuc, TopK,
};
pub use optim::{GradTransform, Gradients, Optimizer, Schedule};
pub use params::{Kind, LoadReport, Param, ParamStore, VarBuilder};
pub use pass::Pass;
pub use probe::{Probe, Seen, Site};
pub use rng::{Rng, RngState, Seed};
pub use sampling::{Sampling, TokenSampler};
pub use state::State;
pub use summary::{Summary, SummaryRow, summary, summary_of};
pub use tensor_ext::{TensorExt, concat};
pub use tensors::write_atomic;
pub use threads::on_pool;
pub use train::{Callback, Progress, RunDir, SupervisedStep, TrainStep, Trainer};

pub use candle_core;
pub use candle_nn;
