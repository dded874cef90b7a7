//! Cross-entropy of logits with classes.

use candle_core::Tensor;
use glassbox_kernels::loss::cross_entropy;

use super::{Loss, Reduction, expect_classes};
use crate::{Error, Result};

/// Cross-entropy of logits with classes, as PyTorch's `nn.CrossEntropyLoss`.
///
/// With log-probabilities l = log_softmax(logits), target class y, class weights w, label smoothing s and C classes, the
/// loss of one target is −(1 − s) w_y l_y − s / C · Σ_c w_c l_c. The mean divides by the sum of the w_y, not by their
/// number; ignored targets count in neither.
///
/// # Shapes
/// Logits (batch, …, classes), the classes last, as sequence models give them; targets (batch, …) of type u32 or i64;
/// without a reduction the loss has the targets' shape. PyTorch has the classes second, (batch, classes, …): for logits
/// so laid out, such as those of a segmentation, say `.class_dim(1)`.
///
/// # Differences from PyTorch
/// No target is ignored unless [`ignore_index`](Self::ignore_index) says so (PyTorch ignores −100). The mean over no
/// targets at all is 0, where PyTorch gives NaN. Targets are classes only, not probabilities.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Loss, loss::CrossEntropy};
/// let logits = Tensor::new(&[[0f32, 0.0], [8.0, -8.0]], &Device::Cpu)?;
/// let targets = Tensor::new(&[1u32, 0], &Device::Cpu)?;
/// let loss = CrossEntropy::default().forward(&logits, &targets)?.to_scalar::<f32>()?;
/// assert!((loss - 0.5 * 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    weight: Option<Tensor>,
    label_smoothing: f64,
    ignore_index: Option<i64>,
    class_dim: Option<usize>,
    pub(super) reduction: Reduction,
}

impl CrossEntropy {
    /// Weighs each class: (classes), of a float type.
    pub fn weight(self, weight: Tensor) -> Self {
        Self { weight: Some(weight), ..self }
    }

    /// Mixes each target with the uniform distribution, of which it takes the share `label_smoothing`, in [0, 1]
    /// (Szegedy et al. 2015, arXiv 1512.00567).
    pub fn label_smoothing(self, label_smoothing: f64) -> Self {
        Self { label_smoothing, ..self }
    }

    /// Leaves out targets of this value, such as padding. Of type i64 it can be negative.
    pub fn ignore_index(self, ignore_index: i64) -> Self {
        Self { ignore_index: Some(ignore_index), ..self }
    }

    /// The dimension of the classes, where it is not the last.
    pub fn class_dim(self, class_dim: usize) -> Self {
        Self { class_dim: Some(class_dim), ..self }
    }

    fn classes_last(&self, logits: &Tensor) -> Result<Tensor> {
        let Some(class_dim) = self.class_dim else { return Ok(logits.clone()) };
        if class_dim >= logits.rank() {
            let expected = format!("a shape with the classes in dimension {class_dim}");
            return Err(Error::invalid("outputs", expected, format!("{:?}", logits.dims())));
        }
        let mut dims: Vec<usize> = (0..logits.rank()).filter(|&dim| dim != class_dim).collect();
        dims.push(class_dim);
        Ok(logits.permute(dims)?)
    }
}

impl Loss for CrossEntropy {
    fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let logits = self.classes_last(outputs)?;
        expect_classes(&logits, targets)?;
        let (weight, smoothing) = (self.weight.as_ref(), self.label_smoothing);
        Ok(cross_entropy(&logits, targets, weight, smoothing, self.ignore_index, self.reduction)?)
    }
}
