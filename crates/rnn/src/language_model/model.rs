//! The network.

use candle_core::{Device, Tensor};
use glassbox_core::probe::Cost;
use glassbox_core::{
    Dropout, Embedding, Error, Init, Layer, Linear, Param, Pass, Result, Sampling, Site, TensorExt, VarBuilder,
};
use glassbox_kernels::linear::linear;
use serde::{Deserialize, Serialize};

use super::GeneratedTokens;
use crate::network::Network;
use crate::{NetworkState, RecurrentKind};

/// What a [`LanguageModel`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageModelConfig {
    /// Number of tokens; ids are below it. Default 256, the bytes.
    pub vocab_size: usize,
    /// Size of the tokens' vectors. Default 128.
    pub embedding_dim: usize,
    /// Size of the recurrent layers. Default 512.
    pub hidden_size: usize,
    /// Recurrent layers, at least 1. Default 1.
    pub num_layers: usize,
    /// Of which kind they are. Default LSTM.
    pub kind: RecurrentKind,
    /// Probability of dropping an element of the tokens' vectors, of each recurrent layer's outputs, in training, in
    /// [0, 1). The recurrent connections are left alone (Zaremba et al. 2014, arXiv 1409.2329). Default 0.
    pub dropout: f64,
    /// Whether the tokens' vectors are also the rows of the output layer's weight, which saves its parameters (Press and
    /// Wolf 2016, arXiv 1608.05859); `embedding_dim` must then be `hidden_size`. Default false.
    pub tie_weights: bool,
}

impl Default for LanguageModelConfig {
    fn default() -> Self {
        Self {
            vocab_size: 256,
            embedding_dim: 128,
            hidden_size: 512,
            num_layers: 1,
            kind: RecurrentKind::Lstm,
            dropout: 0.0,
            tie_weights: false,
        }
    }
}

impl LanguageModelConfig {
    fn check(&self) -> Result<()> {
        if self.vocab_size == 0 || self.embedding_dim == 0 {
            let got = format!("{} and {}", self.vocab_size, self.embedding_dim);
            return Err(Error::invalid("vocab_size and embedding_dim", "at least 1", got));
        }
        if self.tie_weights && self.embedding_dim != self.hidden_size {
            let expected = format!("{}, the hidden_size, as weights are tied", self.hidden_size);
            return Err(Error::invalid("embedding_dim", expected, self.embedding_dim));
        }
        Ok(())
    }
}

/// A recurrent language model: how probable each token is to come next, after those read so far.
///
/// logits_t = W y_t + b, where y is the recurrent network's output for the tokens' vectors; the probabilities of token
/// t + 1 are their softmax. It learns from texts with [`LanguageModelStep`](crate::LanguageModelStep), or from
/// windows of them with `SupervisedStep` and `CrossEntropy`.
///
/// Parameters: `embedding.weight` (vocab_size, embedding_dim), initially standard normal, or uniform within ± 0.1 where it
/// is tied; `rnn.…`, those of an [`Lstm`](crate::Lstm) or a [`Gru`](crate::Gru); `head.weight` (vocab_size, hidden_size),
/// unless it is tied, and `head.bias` (vocab_size).
///
/// # Shapes
/// Ids (batch, seq_len), u32 or i64, to logits (batch, seq_len, vocab_size).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, ParamStore, Pass, Sampling, Seed};
/// use glassbox_rnn::{LanguageModel, LanguageModelConfig};
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let config = LanguageModelConfig { vocab_size: 10, hidden_size: 16, ..Default::default() };
/// let model = LanguageModel::new(config, params.root())?;
/// let logits = model.forward(&Tensor::new(&[[1u32, 2, 9]], &Device::Cpu)?, &Pass::eval())?;
/// assert_eq!(logits.dims(), [1, 3, 10]);
///
/// // One token after another, as long as somebody asks.
/// let sampling = Sampling { temperature: 0.8, seed: Seed(7), ..Default::default() };
/// let tokens: Vec<u32> = model.generate(&[1, 2], &sampling)?.take(5).collect::<Result<_, _>>()?;
/// assert!(tokens.len() == 5 && tokens.iter().all(|&token| token < 10));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct LanguageModel {
    embedding: Embedding,
    network: Network,
    head: Head,
    dropout: Dropout,
    config: LanguageModelConfig,
    path: String,
}

impl LanguageModel {
    /// A model as `config` says.
    ///
    /// # Errors
    /// A size of 0, a dropout outside [0, 1), sizes that differ where weights are tied, or parameters of the same name and
    /// another shape.
    pub fn new(config: LanguageModelConfig, vb: VarBuilder) -> Result<Self> {
        config.check().map_err(|e| e.at(vb.path()))?;
        let LanguageModelConfig { vocab_size, embedding_dim, hidden_size, tie_weights, .. } = config;
        let dropout = Dropout::new(config.dropout).map_err(|e| e.at(vb.path()))?;
        if tie_weights {
            // Vectors of length √embedding_dim would be too long for rows of the output layer.
            vb.pp("embedding").param("weight", (vocab_size, embedding_dim), Init::Uniform { low: -0.1, high: 0.1 })?;
        }
        let embedding = Embedding::new(vocab_size, embedding_dim, vb.pp("embedding"))?;
        let network = config.kind.config(config.num_layers, false, config.dropout);
        let network = Network::new(embedding_dim, hidden_size, network, vb.pp("rnn"))?;
        let head = match tie_weights {
            true => Head::tied(embedding.weight().clone(), &vb.pp("head"))?,
            false => Head::Own(Linear::new(hidden_size, vocab_size, vb.pp("head"))?),
        };
        Ok(Self { embedding, network, head, dropout, config, path: vb.path().to_string() })
    }

    /// What it is made of.
    pub fn config(&self) -> &LanguageModelConfig {
        &self.config
    }

    /// The logits after every token, and what is remembered after the last. Without a `state` it starts from nothing read.
    ///
    /// # Shapes
    /// As [`forward`](Layer::forward).
    ///
    /// # Errors
    /// Ids of another shape, none, or one that is not below vocab_size; a state of other sizes.
    pub fn forward_with(
        &self,
        ids: &Tensor,
        state: Option<&NetworkState>,
        pass: &Pass,
    ) -> Result<(Tensor, NetworkState)> {
        ids.expect_rank(2, "(batch, seq_len)").map_err(|e| e.at(&self.path))?;
        let xs = self.dropout.forward(&self.embedding.forward(ids, pass)?, pass)?;
        let (ys, state) = self.network.run(&xs, state, None, pass)?;
        Ok((self.head.forward(&self.dropout.forward(&ys, pass)?, pass)?, state))
    }

    /// Goes on from `prompt`, token by token, without end: `take` as many as are wanted. The prompt is read at once, and
    /// then each token alone, from the state that the ones before it left.
    ///
    /// # Errors
    /// An empty prompt, since nothing says what comes first; an id that is not below vocab_size; settings out of range.
    /// Those of a device that fails come from the iterator, which then ends.
    pub fn generate(&self, prompt: &[u32], sampling: &Sampling) -> Result<GeneratedTokens<'_>> {
        GeneratedTokens::new(self, prompt, sampling)
    }

    pub(super) fn device(&self) -> Device {
        self.embedding.weight().value().device().clone()
    }
}

impl Layer for LanguageModel {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        Ok(self.forward_with(xs, None, pass)?.0)
    }
}

/// The output layer: with a weight of its own, or with the tokens' vectors.
#[derive(Debug)]
enum Head {
    Own(Linear),
    Tied { weight: Param, bias: Param, site: Site },
}

impl Head {
    fn tied(weight: Param, vb: &VarBuilder) -> Result<Self> {
        let &[vocab_size, features] = weight.shape().dims() else {
            return Err(Error::invalid("weight", "(vocab_size, embedding_dim)", format!("{:?}", weight.shape())));
        };
        let bias = vb.param("bias", vocab_size, Init::Zeros)?;
        let site = Site::new(vb.path(), "Linear").with_cost(Cost::PerOutput(features as u64));
        Ok(Self::Tied { weight, bias, site })
    }

    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        match self {
            Self::Own(linear) => linear.forward(xs, pass),
            Self::Tied { weight, bias, site } => {
                site.run(xs, pass, || Ok(linear(xs, &weight.get(pass), Some(&bias.get(pass)), None)?))
            }
        }
    }
}
