//! The loss of label sequences whose alignment with the input is unknown.

use candle_core::{DType, Device, Tensor};
use glassbox_core::{Error, Loss, Reduction, Result};
use glassbox_kernels::loss::{CtcParams, ctc};

/// Connectionist temporal classification, as PyTorch's `nn.CTCLoss`: −ln of the probability of the labels, over all ways
/// to align them with the time steps (Graves et al. 2006, "Connectionist Temporal Classification").
///
/// At each step the model gives a class, one of which is the blank. A path, one class for each step, spells what is left
/// once repeated classes are merged and then blanks removed: with `-` for the blank, `aa-ab-` spells `aab`. The loss is
/// −ln Σ Π_t softmax(logits)_t over the paths that spell the target. Decode with [`ctc_greedy`](crate::ctc_greedy) or
/// [`CtcBeamSearch`](crate::CtcBeamSearch).
///
/// As a [`Loss`] it takes all time steps of every sample, and its targets end at their first blank, with which they are
/// padded. [`with_lengths`](Self::with_lengths) takes the lengths.
///
/// # Shapes
/// Logits (batch, seq_len, classes); targets (batch, max_target_len) of type u32 or i64. Without a reduction the loss is
/// (batch).
///
/// # Differences from PyTorch
/// PyTorch takes log-probabilities (time, batch, classes). Here logits and log-probabilities do equally, since the softmax
/// of log-probabilities is the probabilities. A target that needs more steps than its sample has is an error unless
/// [`zero_infinity`](Self::zero_infinity) is set, where PyTorch's loss is infinite; inputs of no steps are an error too.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use glassbox_core::Loss;
/// use glassbox_rnn::Ctc;
///
/// let logits = Tensor::zeros((1, 2, 3), DType::F32, &Device::Cpu)?;
/// let targets = Tensor::new(&[[1u32, 0]], &Device::Cpu)?; // the label 1, then padding
/// let loss = Ctc::default().forward(&logits, &targets)?.to_scalar::<f32>()?;
/// // Three of the nine paths spell it: 1 and blank, blank and 1, 1 and 1.
/// assert!((loss - 3f32.ln()).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Ctc {
    blank: usize,
    zero_infinity: bool,
    reduction: Reduction,
}

impl Ctc {
    /// The class that stands for no label; 0 unless told otherwise.
    pub fn blank(self, blank: usize) -> Self {
        Self { blank, ..self }
    }

    /// A sample that no path fits counts 0 and gets no gradient.
    pub fn zero_infinity(self) -> Self {
        Self { zero_infinity: true, ..self }
    }

    /// Reduces in this way; by [`Reduction::Mean`] unless told otherwise, which divides each loss by the number of its
    /// labels and the sum by the number of samples.
    pub fn reduction(self, reduction: Reduction) -> Self {
        Self { reduction, ..self }
    }

    /// The loss of samples of `input_lengths` time steps (all of them by default) and `target_lengths` labels (up to the
    /// first blank by default). What lies beyond is never used, and the gradient there is 0.
    ///
    /// # Errors
    /// Shapes or lengths that disagree, a label that is the blank or no class, and a target that needs more steps than its
    /// sample has: one for each label, and one more for each that equals the label before it.
    pub fn with_lengths(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        input_lengths: Option<&[usize]>,
        target_lengths: Option<&[usize]>,
    ) -> Result<Tensor> {
        let padded = if target_lengths.is_none() { Some(self.lengths(targets)?) } else { None };
        let params = CtcParams {
            input_lengths,
            target_lengths: target_lengths.or(padded.as_deref()),
            blank: self.blank,
            zero_infinity: self.zero_infinity,
            reduction: self.reduction,
        };
        Ok(ctc(logits, targets, &params)?)
    }

    /// The number of labels before the first blank of each target.
    fn lengths(&self, targets: &Tensor) -> Result<Vec<usize>> {
        if targets.rank() != 2 || !matches!(targets.dtype(), DType::U32 | DType::I64) {
            let got = format!("{:?} of {:?}", targets.dims(), targets.dtype());
            return Err(Error::invalid("targets", "(batch, max_target_len) of type u32 or i64", got));
        }
        let rows = targets.to_device(&Device::Cpu)?.to_dtype(DType::I64)?.to_vec2::<i64>()?;
        rows.iter().enumerate().map(|(i, row)| self.length(i, row)).collect()
    }

    fn length(&self, sample: usize, row: &[i64]) -> Result<usize> {
        let is_blank = |label: &i64| usize::try_from(*label) == Ok(self.blank);
        let len = row.iter().position(is_blank).unwrap_or(row.len());
        match row.iter().skip(len).find(|label| !is_blank(label)) {
            None => Ok(len),
            Some(label) => {
                let expected = format!("nothing but the blank {} after the first", self.blank);
                Err(Error::invalid(format!("target of sample {sample}"), expected, label))
            }
        }
    }
}

impl Loss for Ctc {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.with_lengths(outputs, targets, None, None)
    }
}
