//! What training needs on Candle's tensors.

use candle_core::{D, DType, Tensor};

use crate::{Error, Result};

/// Tensors one after another along dimension `dim`, as `torch.cat`: skip connections, for one. Faster than Candle's
/// [`Tensor::cat`], forward and backward.
///
/// # Shapes
/// All alike but for dimension `dim`, whose sizes add up.
///
/// # Errors
/// No tensors, shapes or types that disagree, no such dimension.
///
/// ```
/// use candle_core::{D, Device, Tensor};
/// use glassbox_core::concat;
/// let (a, b) = (Tensor::new(&[[1f32], [2.0]], &Device::Cpu)?, Tensor::new(&[[3f32], [4.0]], &Device::Cpu)?);
/// assert_eq!(concat(&[&a, &b], D::Minus1)?.to_vec2::<f32>()?, [[1.0, 3.0], [2.0, 4.0]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
pub fn concat<T: AsRef<Tensor>>(tensors: &[T], dim: impl candle_core::shape::Dim) -> Result<Tensor> {
    let Some(first) = tensors.first() else { return Err(Error::invalid("concat", "at least one tensor", "none")) };
    let dim = dim.to_index(first.as_ref().shape(), "concat")?;
    Ok(glassbox_kernels::concat::concat(tensors, dim)?)
}

/// Checked shapes and differentiable pieces that Candle's tensors lack or cut.
pub trait TensorExt {
    /// Softmax along `dim`, with a gradient.
    ///
    /// # Errors
    /// No such dimension.
    fn softmax(&self, dim: impl candle_core::shape::Dim) -> Result<Tensor>;

    /// Logarithm of the softmax along `dim`, stable, with a gradient.
    ///
    /// # Errors
    /// No such dimension.
    fn log_softmax(&self, dim: impl candle_core::shape::Dim) -> Result<Tensor>;

    /// The number in a tensor of one element, whatever its float type.
    ///
    /// # Errors
    /// More elements than one.
    fn to_f64(&self) -> Result<f64>;

    /// The elements in row-major order, as f64.
    ///
    /// # Errors
    /// A type that has no conversion.
    fn to_f64_vec(&self) -> Result<Vec<f64>>;

    /// Fails unless the last dimension is `expected`; `what` is its name in the layer's terms.
    ///
    /// # Errors
    /// Says the expected dimension and the shape that came.
    fn expect_last_dim(&self, expected: usize, what: &str) -> Result<()>;

    /// Fails unless there are `expected` dimensions; `what` names them, such as `(batch, channels, height, width)`.
    ///
    /// # Errors
    /// Says the expected dimensions and the shape that came.
    fn expect_rank(&self, expected: usize, what: &str) -> Result<()>;
}

impl TensorExt for Tensor {
    fn softmax(&self, dim: impl candle_core::shape::Dim) -> Result<Tensor> {
        let dim = dim.to_index(self.shape(), "softmax")?;
        Ok(glassbox_kernels::softmax::softmax(self, dim)?)
    }

    fn log_softmax(&self, dim: impl candle_core::shape::Dim) -> Result<Tensor> {
        let dim = dim.to_index(self.shape(), "log-softmax")?;
        Ok(glassbox_kernels::softmax::log_softmax(self, dim)?)
    }

    fn to_f64(&self) -> Result<f64> {
        Ok(self.to_dtype(DType::F64)?.reshape(())?.to_scalar()?)
    }

    fn to_f64_vec(&self) -> Result<Vec<f64>> {
        Ok(self.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
    }

    fn expect_last_dim(&self, expected: usize, what: &str) -> Result<()> {
        match self.dim(D::Minus1) {
            Ok(last) if last == expected => Ok(()),
            _ => Err(Error::invalid(
                "input",
                format!("last dimension {expected} ({what})"),
                format!("{:?}", self.dims()),
            )),
        }
    }

    fn expect_rank(&self, expected: usize, what: &str) -> Result<()> {
        if self.rank() == expected {
            return Ok(());
        }
        Err(Error::invalid("input", format!("{expected} dimensions {what}"), format!("{:?}", self.dims())))
    }
}
