//! Windows of a stream of tokens.

use candle_core::{Device, Tensor};
use glassbox_core::{Dataset, Error, Result, Rng, Sample};

use crate::images::out_of_range;

/// Windows of a stream of tokens: the input is `seq_len` tokens, the target the same moved on by one.
///
/// # Shapes
/// Input and target (seq_len), u32.
#[derive(Clone, Debug)]
pub struct TokenWindows {
    /// (num_tokens)
    tokens: Tensor,
    seq_len: usize,
    start: Start,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    /// Sample i starts at i × stride.
    Every { stride: usize },
    /// Anywhere, by the random numbers of the sample.
    Random { num_samples: usize },
}

impl TokenWindows {
    /// Windows one after another, each target once; tokens left over at the end, too few for a window, are left out.
    ///
    /// # Errors
    /// A `seq_len` of 0; fewer than `seq_len + 1` tokens.
    pub fn new(tokens: &[u32], seq_len: usize) -> Result<Self> {
        if seq_len == 0 {
            return Err(Error::invalid("seq_len of the windows", "at least 1", 0));
        }
        if tokens.len() <= seq_len {
            let got = format!("{} tokens", tokens.len());
            return Err(Error::invalid("text", format!("more tokens than seq_len {seq_len}"), got));
        }
        let tokens = Tensor::new(tokens, &Device::Cpu)?;
        Ok(Self { tokens, seq_len, start: Start::Every { stride: seq_len } })
    }

    /// Windows over several documents, packed one after another with `separator` after each, such as `<|endoftext|>`: every
    /// window is full, and one may hold the end of a document and the start of the next, which the model tells apart by the
    /// separator (Radford et al. 2019). Shuffled windows mix documents; the order within one stays.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn packed<D: AsRef<[u32]>>(documents: &[D], separator: u32, seq_len: usize) -> Result<Self> {
        let documents = documents.iter().map(AsRef::as_ref).filter(|document| !document.is_empty());
        Self::new(
            &documents.flat_map(|document| document.iter().copied().chain([separator])).collect::<Vec<_>>(),
            seq_len,
        )
    }

    /// A window at every `stride`-th token; below `seq_len` they overlap.
    ///
    /// # Errors
    /// A stride of 0.
    pub fn stride(self, stride: usize) -> Result<Self> {
        match stride {
            0 => Err(Error::invalid("stride of the windows", "at least 1", 0)),
            stride => Ok(Self { start: Start::Every { stride }, ..self }),
        }
    }

    /// `num_samples` windows an epoch, each at a random place, drawn with replacement. The place depends on the loader's
    /// seed, the epoch and the sample's place in it alone; the index does not matter, so shuffling adds nothing.
    ///
    /// # Errors
    /// No samples.
    pub fn random(self, num_samples: usize) -> Result<Self> {
        match num_samples {
            0 => Err(Error::invalid("num_samples of the windows", "at least 1", 0)),
            num_samples => Ok(Self { start: Start::Random { num_samples }, ..self }),
        }
    }

    /// Number of places where a window can start.
    fn num_starts(&self) -> usize {
        self.tokens.elem_count() - self.seq_len
    }
}

impl Dataset for TokenWindows {
    type Item = Sample;

    fn len(&self) -> usize {
        match self.start {
            Start::Every { stride } => (self.num_starts() - 1) / stride + 1,
            Start::Random { num_samples } => num_samples,
        }
    }

    fn get(&self, index: usize, rng: &mut Rng) -> Result<Sample> {
        if index >= self.len() {
            return Err(out_of_range(index, self.len()));
        }
        let start = match self.start {
            Start::Every { stride } => index * stride,
            Start::Random { .. } => rng.below(self.num_starts()),
        };
        let input = self.tokens.narrow(0, start, self.seq_len)?;
        Ok(Sample { input, target: self.tokens.narrow(0, start + 1, self.seq_len)? })
    }
}
