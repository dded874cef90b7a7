//! What joins operations: another shape, and the sum of two branches.

use candle_core::{Shape, Tensor};

use crate::Result;
use crate::cpu::{self, Function, add_values, by_float, check_same_kind, is_fused, output, record};

/// `xs` with another shape of the same number of elements.
///
/// Unlike Candle's, it passes the gradient on as it is where `xs` comes from an operation of this crate.
///
/// # Errors
/// Where the numbers of elements differ.
pub fn reshape(xs: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    cpu::reshape(xs, shape)
}

/// `a + b`, such as a residual connection. Both get the gradient as it is.
///
/// # Shapes
/// Both the same, which is the result's.
///
/// # Errors
/// Where shape, dtype or device differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_same_kind("add", a, "b", b)?;
    if a.dims() != b.dims() {
        candle_core::bail!("add: expected b of shape {:?}, got {:?}", a.dims(), b.dims());
    }
    if !is_fused(a) {
        return a + b;
    }
    let sum = by_float!("add", a.dtype(), T => output(add_values::<T>(a, b)?, a.shape()));
    Ok(record(Add, &[a, b], vec![sum])?.swap_remove(0))
}

struct Add;

impl Function for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _: &Tensor,
        grads: &[Option<Tensor>],
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![grads[0].clone(); inputs.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{check_gradients, values};

    #[test]
    fn gradients_of_branches_that_meet() {
        let inputs = [values((2, 3), 1).unwrap(), values((2, 3), 2).unwrap()];
        check_gradients(&inputs, |t| {
            let sum = add(&t[0], &reshape(&reshape(&t[1], 6)?, (2, 3))?)?;
            add(&add(&sum, &sum)?, &(reshape(&sum, (2, 3))? * &t[0])?)
        })
        .unwrap();
    }

    #[test]
    fn wrong_shapes_are_named() {
        let error = add(&values((2, 3), 1).unwrap(), &values((3, 2), 1).unwrap()).unwrap_err().to_string();
        assert!(error.contains("add: expected b of shape [2, 3], got [3, 2]"), "{error}");
        assert!(reshape(&values((2, 3), 1).unwrap(), 5).is_err());
    }
}
