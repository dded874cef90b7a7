//! A class for each sequence.

use candle_core::Tensor;
use glassbox_core::dataset::Padded;
use glassbox_core::train::Supervised;
use glassbox_core::{Layer, Linear, Pass, Result, VarBuilder};

use crate::encoder::{SequenceEncoder, SequenceEncoderConfig, SequenceInput};
use crate::pooling::{Pool, SequencePooling};

/// A class for each sequence: a recurrent network reads it, its outputs are pooled to one vector, and a linear layer gives
/// the logits of the classes.
///
/// Parameters: those of the network under `rnn`, as PyTorch's; `embedding.weight`, where it takes ids; those of the
/// [`SequencePooling`]; `classes.weight` and `classes.bias`.
///
/// As a [`Layer`] it takes sequences of one length. Batches of several lengths, (sequences, classes), train it through a
/// [`SupervisedStep`](glassbox_core::SupervisedStep):
///
/// ```
/// use candle_core::Device;
/// use glassbox_core::dataset::{DataLoader, Sequence, VecDataset};
/// use glassbox_core::loss::CrossEntropy;
/// use glassbox_core::optim::AdamW;
/// use glassbox_core::{Accuracy, ParamStore, RunDir, Seed, SupervisedStep, Trainer};
/// use glassbox_rnn::{SequenceClassifier, SequenceEncoderConfig, SequenceInput, SequencePooling};
///
/// // Does a 3 come up?
/// let samples: Vec<(Sequence, u32)> = [(&[1, 2, 3][..], 1), (&[3], 1), (&[2, 1], 0), (&[2, 2, 1, 2], 0)]
///     .into_iter()
///     .map(|(ids, class)| Ok((Sequence::from_ids(ids)?, class)))
///     .collect::<glassbox_core::Result<_>>()?;
///
/// let params = ParamStore::new(Seed(42), &Device::Cpu);
/// let input = SequenceInput::Ids { num_embeddings: 4, embedding_dim: 8 };
/// let config = SequenceEncoderConfig { hidden_size: 16, ..Default::default() };
/// let model = SequenceClassifier::new(input, 2, SequencePooling::Max, config, params.root())?;
/// let step = SupervisedStep::new(model, CrossEntropy::default(), AdamW::new(&params, 0.01)?).metric(Accuracy::default());
/// let loader = || DataLoader::new(VecDataset(samples.clone()), 4);
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// let fitted = Trainer::new(RunDir::new(folder)?).epochs(30).fit(step, loader(), loader())?;
/// assert_eq!(fitted.scores.value("accuracy"), Some(1.0));
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SequenceClassifier {
    encoder: SequenceEncoder,
    pool: Pool,
    classes: Linear,
}

impl SequenceClassifier {
    /// A classifier of sequences of `input` into `num_classes`.
    ///
    /// # Errors
    /// A size or number of 0; as the recurrent network's `new`; parameters of the same name and another shape exist.
    pub fn new(
        input: SequenceInput,
        num_classes: usize,
        pooling: SequencePooling,
        config: SequenceEncoderConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let encoder = SequenceEncoder::new(input, &config, &vb)?;
        let pool = Pool::new(pooling, encoder.output_size(), &vb)?;
        let classes = encoder.classes(num_classes, &vb)?;
        Ok(Self { encoder, pool, classes })
    }

    /// The logits of the classes, of sequences of `lengths`, from 1 to seq_len, all of them whole by default. What comes
    /// after a sequence's end changes nothing.
    ///
    /// # Shapes
    /// `xs` (batch, seq_len, features), or (batch, seq_len) of ids, to (batch, num_classes).
    ///
    /// # Errors
    /// An input of another shape or type or without steps, an id out of range, as many lengths as there are samples not
    /// given, or one outside of 1 to seq_len.
    pub fn forward_with(&self, xs: &Tensor, lengths: Option<&[usize]>, pass: &Pass) -> Result<Tensor> {
        let encoded = self.encoder.read(xs, lengths, pass)?;
        let pooled = self.pool.pool(&encoded, lengths, pass)?;
        self.classes.forward(&self.encoder.drop(&pooled, pass)?, pass)
    }
}

impl Layer for SequenceClassifier {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.forward_with(xs, None, pass)
    }
}

/// Sequences and their classes, (batch).
impl Supervised<(Padded, Tensor)> for SequenceClassifier {
    fn answer(&self, (sequences, classes): &(Padded, Tensor), pass: &Pass) -> Result<(Tensor, Tensor)> {
        Ok((self.forward_with(&sequences.values, Some(&sequences.lengths), pass)?, classes.clone()))
    }
}
