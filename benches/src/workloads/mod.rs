//! The workloads: networks, the data they are trained on, and a training step as a user writes it.
//!
//! Each has the parameters' names and shapes of the same workload in PyTorch, and its own size of batch. What a step
//! computes is counted as the multiply-adds of its products with weights and of attention: times 2 for operations, and times
//! 3 for the forward and the two backward products.

mod bigru;
mod cnn;
mod dcgan;
mod gpt;
mod lstm;
mod resnet18;
mod seq2seq;
mod supervised;
mod unet;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, bail};
use clap::ValueEnum;
use glassbox::Gradients;
use glassbox::prelude::*;

/// Where the workloads' random numbers start.
const SEED: Seed = Seed(0);

/// What is trained, and how.
pub trait Workload: Send {
    /// One step of training.
    fn step(&mut self) -> Result<Vec<Update>>;

    /// The parameters: stores, each with what their names begin with.
    fn stores(&self) -> Vec<(&'static str, &ParamStore)>;

    /// Takes its data out of `batch`, to be trained on from now on.
    fn take_batch(&mut self, batch: &mut BTreeMap<String, Tensor>) -> anyhow::Result<()>;

    /// Samples that a step sees.
    fn samples(&self) -> usize;

    /// Tokens, or steps of a sequence, that a step sees; none where there are no sequences.
    fn tokens(&self) -> Option<usize> {
        None
    }

    /// Floating-point operations of a step.
    fn flops(&self) -> Result<f64>;
}

/// One update of a network's parameters.
pub struct Update {
    /// The loss before it, detached.
    pub loss: Tensor,
    /// The gradients that it followed.
    pub gradients: Gradients,
}

impl Update {
    /// Changes the optimizer's parameters along the gradients of `loss`.
    fn of(loss: &Tensor, optimizer: &mut AdamW) -> Result<Self> {
        let gradients = Gradients::of(loss, optimizer.params())?;
        optimizer.step(&gradients, 1.0)?;
        Ok(Self { loss: loss.detach(), gradients })
    }
}

/// The workloads.
#[derive(Clone, Copy, ValueEnum)]
pub enum Name {
    /// Two convolutions with max pooling, two linear layers; 64 images of 28×28
    Cnn,
    /// One LSTM layer 128→256 with a head of 65 classes; 32 sequences of 64 steps
    Lstm,
    /// GPT of 4 layers of 128 features and 4 heads; 12 sequences of 64 tokens
    GptSmall,
    /// GPT of 6 layers of 384 features and 6 heads; 4 sequences of 256 tokens
    GptBaby,
    /// A generator and a critic of transposed and plain convolutions, a step of each; 64 images of 32×32
    Dcgan,
    /// ResNet-18 with a stem for small images; 32 images of 3×32×32
    Resnet18,
    /// U-Net of 16 to 128 channels; 4 images of 128×128
    Unet,
    /// GRU of two layers 128→256 in both directions; 32 sequences of 64 steps
    Bigru,
    /// Transformer of 3 encoder and 3 decoder layers of 256 features; 64 pairs of 24 tokens
    Seq2seq,
}

/// Classes of the workloads that read text by its characters.
const CHARACTERS: usize = 65;

/// What can be changed of a workload; none is the workload's own.
#[derive(Clone, Copy)]
pub struct Size {
    /// Samples in a batch.
    pub batch: Option<usize>,
    /// Steps of a sequence.
    pub length: Option<usize>,
    /// The parameters' type.
    pub dtype: DType,
}

impl Size {
    /// The (batch, length) of sequences, where these are the workload's own.
    fn sequences(self, batch: usize, length: usize) -> (usize, usize) {
        (self.batch.unwrap_or(batch), self.length.unwrap_or(length))
    }
}

impl Name {
    /// The workload, ready for its first step.
    pub fn build(self, size: Size) -> anyhow::Result<Box<dyn Workload>> {
        if size.length.is_some() && matches!(self, Self::Cnn | Self::Dcgan | Self::Resnet18 | Self::Unet) {
            bail!("--length: {self} has no sequences");
        }
        Ok(match self {
            Self::Cnn => Box::new(cnn::workload(size)?),
            Self::Lstm => Box::new(lstm::workload(size)?),
            Self::GptSmall => Box::new(gpt::small(size)?),
            Self::GptBaby => Box::new(gpt::baby(size)?),
            Self::Dcgan => Box::new(dcgan::Dcgan::new(size)?),
            Self::Resnet18 => Box::new(resnet18::workload(size)?),
            Self::Unet => Box::new(unet::workload(size)?),
            Self::Bigru => Box::new(bigru::workload(size)?),
            Self::Seq2seq => Box::new(seq2seq::Seq2Seq::new(size)?),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// The tensor called `name`, out of `batch`.
fn take(batch: &mut BTreeMap<String, Tensor>, name: &str) -> anyhow::Result<Tensor> {
    batch.remove(name).with_context(|| format!("`batch.{name}` is missing"))
}

/// Standard normal values, the same each time; `name` tells tensors apart.
fn normal(name: &str, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    SEED.child(name).rng().normal_tensor(shape, 0.0, 1.0, DType::F32, &Device::Cpu)
}

/// Sequences of 128 features, with a class for every step.
fn sequences(size: Size) -> Result<Batch> {
    let (batch, length) = size.sequences(32, 64);
    Ok(Batch { input: normal("input", (batch, length, 128))?, target: ids("target", CHARACTERS, (batch, length))? })
}

/// Classes or ids from 0 to `bound` − 1, the same each time; `name` tells tensors apart.
fn ids(name: &str, bound: usize, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    let (shape, mut rng) = (shape.into(), SEED.child(name).rng());
    let ids: Vec<u32> = (0..shape.elem_count()).map(|_| rng.below(bound) as u32).collect();
    Ok(Tensor::from_vec(ids, shape, &Device::Cpu)?)
}
