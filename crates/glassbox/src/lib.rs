#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use glassbox_core::*;

#[cfg(feature = "cnn")]
pub use glassbox_cnn as cnn;
#[cfg(feature = "data")]
pub use glassbox_data as data;
#[cfg(feature = "gan")]
pub use glassbox_gan as gan;
#[cfg(feature = "lens")]
pub use glassbox_lens as lens;
#[cfg(feature = "rnn")]
pub use glassbox_rnn as rnn;
#[cfg(feature = "transformer")]
pub use glassbox_transformer as transformer;

/// The allocator of every program that turns the feature `mimalloc` on.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What most programs need: `use glassbox::prelude::*;`.
pub mod prelude {
    pub use glassbox_core::dataset::{DataLoader, DatasetExt, TensorDataset};
    pub use glassbox_core::loss::*;
    pub use glassbox_core::metric::{Accuracy, ConfusionMatrix, RocAuc};
    pub use glassbox_core::optim::*;
    pub use glassbox_core::train::callbacks::{Checkpoints, EarlyStopping, MetricLog, ProgressBar, RestoreBest};
    pub use glassbox_core::{
        Activation, Batch, Callback, Dataset, Dropout, Error, Layer, Linear, Loss, Metric, Mlp, MlpConfig, ParamStore,
        Pass, Result, Rng, RunDir, Sample, Sampling, Seed, Sequential, SupervisedStep, TensorExt, TrainStep, Trainer,
        VarBuilder, concat, device, summary,
    };

    #[cfg(feature = "cnn")]
    pub use glassbox_cnn::*;
    #[cfg(feature = "data")]
    pub use glassbox_data as data;
    #[cfg(feature = "lens")]
    pub use glassbox_lens::{Lens, Taps, preflight};
    #[cfg(feature = "rnn")]
    pub use glassbox_rnn::*;

    pub use glassbox_core::candle_core::{self, D, DType, Device, Tensor};
}

/// The code in the project's documents is compiled with the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;

    #[doc = include_str!("../../../docs/adding-a-layer.md")]
    struct AddingALayer;

    /// The book.
    mod book {
        #[doc = include_str!("../../../docs/book/src/README.md")]
        struct Start;

        #[doc = include_str!("../../../docs/book/src/neuron.md")]
        struct Neuron;

        #[doc = include_str!("../../../docs/book/src/layers.md")]
        struct Layers;

        #[doc = include_str!("../../../docs/book/src/loss.md")]
        struct Loss;

        #[doc = include_str!("../../../docs/book/src/backpropagation.md")]
        struct Backpropagation;

        #[doc = include_str!("../../../docs/book/src/descent.md")]
        struct Descent;

        #[doc = include_str!("../../../docs/book/src/convolution.md")]
        struct Convolution;

        #[doc = include_str!("../../../docs/book/src/recurrence.md")]
        struct Recurrence;

        #[doc = include_str!("../../../docs/book/src/adversaries.md")]
        struct Adversaries;

        #[doc = include_str!("../../../docs/book/src/attention.md")]
        struct Attention;

        #[doc = include_str!("../../../docs/book/src/overfitting.md")]
        struct Overfitting;

        #[doc = include_str!("../../../docs/book/src/little.md")]
        struct Little;
    }
}
