//! What joins operations: another shape, and the sum of two branches.

use candle_core::{Shape, Tensor};

use crate::Result;
use crate::cpu::{
    self, Function, add_values, by_float, check_same_kind, is_fused, output, record, tensor, with_values,
};
use crate::linear::column_sums;

/// `xs` with another shape of the same number of elements.
///
/// Unlike Candle's, it passes the gradient on as it is where `xs` comes from an operation of this crate.
///
/// # Errors
/// Where the numbers of elements differ.
pub fn reshape(xs: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    cpu::reshape(xs, shape)
}

/// `a + b`, such as a residual connection or position embeddings; `b` is repeated over the leading dimensions of `a` that
/// it does not have. Both get the gradient as it is, or `b` its sum over those dimensions.
///
/// # Shapes
/// `b` has the last dimensions of `a`, all or fewer; the result has the shape of `a`.
///
/// # Errors
/// Where shape, dtype or device do not fit.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_same_kind("add", a, "b", b)?;
    if !a.dims().ends_with(b.dims()) {
        candle_core::bail!("add: expected b of shape {:?} or its last dimensions, got {:?}", a.dims(), b.dims());
    }
    if !is_fused(a) {
        return a.broadcast_add(b);
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
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let [Some(grad)] = grads else { candle_core::bail!("add: backward without a gradient") };
        let of_b = || match inputs[1].elem_count() {
            len if len == grad.elem_count() => grad.reshape(inputs[1].shape()),
            len => by_float!("add", grad.dtype(), T => with_values::<T, _, 1>([grad], |[grad]| {
                tensor(column_sums(grad, len), inputs[1].shape())
            })),
        };
        Ok(vec![wanted[0].then(|| grad.clone()), wanted[1].then(of_b).transpose()?])
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
    fn gradients_of_what_is_repeated() {
        let inputs = [values((2, 3, 4), 1).unwrap(), values((3, 4), 2).unwrap(), values(4, 3).unwrap()];
        check_gradients(&inputs, |t| add(&add(&t[0], &t[1])?, &t[2])).unwrap();
        let (a, b) = (values((20, 30, 70), 1).unwrap(), values((30, 70), 2).unwrap());
        let want = a.broadcast_add(&b).unwrap();
        assert_eq!(crate::testing::flat(&add(&a, &b).unwrap()), crate::testing::flat(&want));
    }

    #[test]
    fn wrong_shapes_are_named() {
        let error = add(&values((2, 3), 1).unwrap(), &values((3, 2), 1).unwrap()).unwrap_err().to_string();
        assert!(error.contains("add: expected b of shape [2, 3] or its last dimensions, got [3, 2]"), "{error}");
        assert!(reshape(&values((2, 3), 1).unwrap(), 5).is_err());
    }
}
