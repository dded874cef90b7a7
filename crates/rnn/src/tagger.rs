//! A class for each step of a sequence.

use candle_core::Tensor;
use glassbox_core::dataset::Padded;
use glassbox_core::train::Supervised;
use glassbox_core::{Error, Layer, Linear, Pass, Result, VarBuilder};
use glassbox_kernels::graph::reshape;
use glassbox_kernels::index::index_select;

use crate::encoder::{SequenceEncoder, SequenceEncoderConfig, SequenceInput};
use crate::lengths::expect_lengths;

/// A class for each step of a sequence: a recurrent network reads it, and a linear layer gives the logits of the classes of
/// every step.
///
/// Parameters: those of the network under `rnn`, as PyTorch's; `embedding.weight`, where it takes ids; `classes.weight` and
/// `classes.bias`.
///
/// As a [`Layer`] it takes sequences of one length. Batches of several lengths, (sequences, the classes of their steps),
/// train it through a [`SupervisedStep`](glassbox_core::SupervisedStep); losses and metrics are then those of the steps that
/// there are, and a sequence counts as much as it is long.
///
/// ```
/// use candle_core::Device;
/// use glassbox_core::dataset::{Collate, Sequence};
/// use glassbox_core::train::Supervised;
/// use glassbox_core::{ParamStore, Pass, Seed};
/// use glassbox_rnn::{SequenceEncoderConfig, SequenceInput, SequenceTagger};
///
/// let words = [Sequence::from_ids(&[5, 6, 7])?, Sequence::from_ids(&[8])?];
/// let tags = [Sequence::from_ids(&[0, 2, 1])?, Sequence::from_ids(&[1])?];
/// let batch = Collate::collate(words.into_iter().zip(tags).collect())?;
///
/// let params = ParamStore::new(Seed(42), &Device::Cpu);
/// let input = SequenceInput::Ids { num_embeddings: 10, embedding_dim: 4 };
/// let tagger = SequenceTagger::new(input, 3, SequenceEncoderConfig::default(), params.root())?;
/// let (logits, targets) = tagger.answer(&batch, &Pass::eval())?;
/// assert_eq!(logits.dims(), [4, 3]);
/// assert_eq!(targets.to_vec1::<u32>()?, [0, 2, 1, 1]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SequenceTagger {
    encoder: SequenceEncoder,
    classes: Linear,
}

impl SequenceTagger {
    /// A tagger of sequences of `input` with `num_classes`.
    ///
    /// # Errors
    /// A size or number of 0; as the recurrent network's `new`; parameters of the same name and another shape exist.
    pub fn new(
        input: SequenceInput,
        num_classes: usize,
        config: SequenceEncoderConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let encoder = SequenceEncoder::new(input, &config, &vb)?;
        let classes = encoder.classes(num_classes, &vb)?;
        Ok(Self { encoder, classes })
    }

    /// The logits of every step's classes, of sequences of `lengths`, from 1 to seq_len, all of them whole by default. Those
    /// past a sequence's end mean nothing; what comes there changes no others.
    ///
    /// # Shapes
    /// `xs` (batch, seq_len, features), or (batch, seq_len) of ids, to (batch, seq_len, num_classes).
    ///
    /// # Errors
    /// An input of another shape or type or without steps, an id out of range, as many lengths as there are samples not
    /// given, or one outside of 1 to seq_len.
    pub fn forward_with(&self, xs: &Tensor, lengths: Option<&[usize]>, pass: &Pass) -> Result<Tensor> {
        let sequence = self.encoder.read(xs, lengths, pass)?.sequence;
        self.classes.forward(&self.encoder.drop(&sequence, pass)?, pass)
    }
}

impl Layer for SequenceTagger {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.forward_with(xs, None, pass)
    }
}

/// Sequences, and the classes of their steps; answers with the steps that there are, those of one sequence after those of
/// the other: (steps, num_classes) and (steps).
impl Supervised<(Padded, Padded)> for SequenceTagger {
    fn answer(&self, (sequences, classes): &(Padded, Padded), pass: &Pass) -> Result<(Tensor, Tensor)> {
        if let Some((i, (length, got))) =
            sequences.lengths.iter().zip(&classes.lengths).enumerate().find(|(_, (length, got))| length != got)
        {
            return Err(Error::invalid(format!("classes of sample {i}"), format!("{length}, one for each step"), got));
        }
        let logits = self.forward_with(&sequences.values, Some(&sequences.lengths), pass)?;
        Ok((steps(&logits, &sequences.lengths)?, steps(&classes.values, &classes.lengths)?))
    }
}

/// The steps before each sample's length, one sample's after the other's: (batch, seq_len, …) to (steps, …).
fn steps(padded: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (batch, seq_len) = match *padded.dims() {
        [batch, seq_len, ..] => (batch, seq_len),
        _ => return Err(Error::invalid("padded sequences", "(batch, seq_len, …)", format!("{:?}", padded.dims()))),
    };
    expect_lengths(lengths, batch, seq_len)?;
    let flat = reshape(padded, [&[batch * seq_len], &padded.dims()[2..]].concat())?;
    if lengths.iter().all(|&length| length == seq_len) {
        return Ok(flat);
    }
    let place = |(i, &length): (usize, &usize)| (i * seq_len..i * seq_len + length).map(|place| place as u32);
    let places: Vec<u32> = lengths.iter().enumerate().flat_map(place).collect();
    Ok(index_select(&flat, &Tensor::new(places, flat.device())?, 0)?)
}
