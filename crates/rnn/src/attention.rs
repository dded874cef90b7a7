//! Attention of a decoder over an encoder's states.

use candle_core::Tensor;
use glassbox_core::{Activation, Error, Layer, Linear, Pass, Result, Site, TensorExt, VarBuilder};
use glassbox_kernels::activation::activation;
use glassbox_kernels::index::index_select;
use serde::{Deserialize, Serialize};

use crate::lengths::mask;

/// How well a decoder's state q suits an encoder's state k.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttentionScore {
    /// v · tanh(W q + U k + b) with so many rows of W and U (Bahdanau et al. 2015, arXiv 1409.0473).
    Additive(usize),
    /// q · k, for states of one size (Luong et al. 2015, arXiv 1508.04025). Not divided by the root of the size.
    Dot,
    /// q · W k (Luong et al. 2015).
    General,
}

/// Attention of a decoder over an encoder's states: their mean, weighted by how well each suits the decoder's state.
///
/// a_t = softmax over the encoder's steps t of score(q, k_t); context = Σ_t a_t k_t. Steps beyond a sample's length have
/// weight 0.
///
/// [`remember`](Self::remember) projects the encoder's states, once; [`attend`](Self::attend) is called at every step of
/// the decoder. Parameters: additive `query.weight` (attention_size, query_size), `key.weight` (attention_size,
/// encoder_size), `key.bias` and `score.weight` (1, attention_size); general `key.weight` (query_size, encoder_size); dot
/// none.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_rnn::{AttentionScore, EncoderAttention};
///
/// let params = ParamStore::new(Seed(1), &Device::Cpu);
/// let attention = EncoderAttention::new(AttentionScore::Additive(16), 8, 6, params.root())?;
/// let pass = Pass::eval();
/// let memory = attention.remember(&Tensor::ones((2, 5, 6), DType::F32, &Device::Cpu)?, Some(&[5, 3]), &pass)?;
/// let attended = attention.attend(&Tensor::ones((2, 8), DType::F32, &Device::Cpu)?, &memory, &pass)?;
/// assert_eq!(attended.context.dims(), [2, 6]);
/// assert_eq!(attended.weights.to_vec2::<f32>()?[1][3..], [0.0, 0.0]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct EncoderAttention {
    score: Score,
    query_size: usize,
    encoder_size: usize,
    site: Site,
}

#[derive(Debug)]
enum Score {
    Additive { query: Linear, key: Linear, score: Linear },
    Dot,
    General { key: Linear },
}

/// An encoder's states, ready to attend to.
#[derive(Clone, Debug)]
pub struct AttentionMemory {
    /// The states as the score takes them: (batch, seq_len, attention_size or query_size).
    keys: Tensor,
    /// The states: (batch, seq_len, encoder_size).
    states: Tensor,
    /// 0 for the steps of a sample and −∞ beyond: (batch, 1, seq_len).
    mask: Option<Tensor>,
}

/// What a decoder's step attends to.
#[derive(Clone, Debug)]
pub struct Attended {
    /// The weighted mean of the encoder's states: (batch, encoder_size), or (batch, steps, encoder_size).
    pub context: Tensor,
    /// The weights, which sum to 1: (batch, seq_len), or (batch, steps, seq_len).
    pub weights: Tensor,
}

impl EncoderAttention {
    /// Attention of a decoder with states of `query_size` over encoder states of `encoder_size`.
    ///
    /// # Errors
    /// A size of 0; sizes that differ, for the dot product; parameters of the same name and another shape exist.
    pub fn new(score: AttentionScore, query_size: usize, encoder_size: usize, vb: VarBuilder) -> Result<Self> {
        let attention_size = if let AttentionScore::Additive(size) = score { size } else { query_size };
        let sizes = [("query_size", query_size), ("encoder_size", encoder_size), ("attention_size", attention_size)];
        for (what, size) in sizes {
            if size == 0 {
                return Err(Error::invalid(what, "1 or more", size).at(vb.path()));
            }
        }
        if score == AttentionScore::Dot && query_size != encoder_size {
            let expected = format!("the query_size {query_size}, for the dot product");
            return Err(Error::invalid("encoder_size", expected, encoder_size).at(vb.path()));
        }
        let score = match score {
            AttentionScore::Additive(size) => Score::Additive {
                query: Linear::no_bias(query_size, size, vb.pp("query"))?,
                key: Linear::new(encoder_size, size, vb.pp("key"))?,
                score: Linear::no_bias(size, 1, vb.pp("score"))?,
            },
            AttentionScore::Dot => Score::Dot,
            AttentionScore::General => Score::General { key: Linear::no_bias(encoder_size, query_size, vb.pp("key"))? },
        };
        Ok(Self { score, query_size, encoder_size, site: Site::new(vb.path(), "EncoderAttention") })
    }

    /// Takes in the states of an encoder, (batch, seq_len, encoder_size), of samples of `lengths`, from 1 to `seq_len`, all
    /// by default.
    ///
    /// # Errors
    /// A shape or length that does not fit; no steps.
    pub fn remember(&self, states: &Tensor, lengths: Option<&[usize]>, pass: &Pass) -> Result<AttentionMemory> {
        self.memory(states, lengths, pass).map_err(|e| e.at(self.site.path()))
    }

    fn memory(&self, states: &Tensor, lengths: Option<&[usize]>, pass: &Pass) -> Result<AttentionMemory> {
        match *states.dims() {
            [_, seq_len, size] if seq_len > 0 && size == self.encoder_size => {}
            _ => {
                let expected = format!("(batch, seq_len, {}) of a step or more", self.encoder_size);
                return Err(Error::invalid("encoder states", expected, format!("{:?}", states.dims())));
            }
        }
        let states = states.contiguous()?;
        let keys = match &self.score {
            Score::Additive { key, .. } | Score::General { key } => key.forward(&states, pass)?,
            Score::Dot => states.clone(),
        };
        let mask = lengths.map(|lengths| mask(lengths, &states)).transpose()?;
        Ok(AttentionMemory { keys, states, mask })
    }

    /// What the decoder's states `query` attend to: (batch, query_size) at one step, or (batch, steps, query_size) at many
    /// at once.
    ///
    /// # Errors
    /// A shape that does not fit.
    pub fn attend(&self, query: &Tensor, memory: &AttentionMemory, pass: &Pass) -> Result<Attended> {
        let batch = memory.states.dim(0)?;
        let one_step = query.rank() == 2;
        let many = match *query.dims() {
            [samples, size] if samples == batch && size == self.query_size => query.unsqueeze(1)?,
            [samples, _, size] if samples == batch && size == self.query_size => query.clone(),
            _ => {
                let expected = format!("({batch}, {0}) or ({batch}, steps, {0})", self.query_size);
                return Err(Error::invalid("query", expected, format!("{:?}", query.dims())).at(self.site.path()));
            }
        };
        let weights = self.weights(&many, memory, pass).map_err(|e| e.at(self.site.path()))?;
        let context = self.site.run(&many, pass, || Ok(weights.matmul(&memory.states)?))?;
        if one_step {
            return Ok(Attended { context: context.squeeze(1)?, weights: weights.squeeze(1)? });
        }
        Ok(Attended { context, weights })
    }

    /// The weights of all steps of the encoder at all steps of the decoder: (batch, steps, seq_len).
    fn weights(&self, query: &Tensor, memory: &AttentionMemory, pass: &Pass) -> Result<Tensor> {
        let scores = match &self.score {
            Score::Additive { query: project, score, .. } => {
                let query = project.forward(query, pass)?.unsqueeze(2)?; // (batch, steps, 1, size)
                let sums = query.broadcast_add(&memory.keys.unsqueeze(1)?)?; // (batch, steps, seq_len, size)
                score.forward(&activation(&sums, Activation::Tanh)?, pass)?.squeeze(3)?
            }
            Score::Dot | Score::General { .. } => query.contiguous()?.matmul(&memory.keys.t()?)?,
        };
        match &memory.mask {
            Some(mask) => scores.broadcast_add(mask)?.softmax(2),
            None => scores.softmax(2),
        }
    }
}

impl AttentionMemory {
    /// The memory of other samples: for each of `ids`, u32 or i64, the one at this place of the batch. A beam search gives
    /// each of its beams the memory of its sample.
    ///
    /// # Errors
    /// An id that is not below the batch size.
    pub fn select(&self, ids: &Tensor) -> Result<Self> {
        let pick = |t: &Tensor| index_select(t, ids, 0);
        Ok(Self {
            keys: pick(&self.keys)?,
            states: pick(&self.states)?,
            mask: self.mask.as_ref().map(pick).transpose()?,
        })
    }
}
