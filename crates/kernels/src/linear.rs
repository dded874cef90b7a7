//! The fully connected layer, with its bias and activation.

use candle_core::{CpuStorage, Shape, Tensor};

use crate::Result;
use crate::activation::{Activation, activation as apply_activation, formulas};
use crate::cpu::{
    Element, Float, Function, Matrix, by_float, check_same_kind, is_fused, output, product_of, record, sum_rows,
    tensor, transpose_into, with_values,
};

/// Rows of the smallest input for which the weight is transposed first.
const MIN_ROWS: usize = 16;

/// `activation(xs · weightᵀ + bias)` over the last dimension, in one operation.
///
/// # Shapes
/// `xs` (…, in_features), `weight` (out_features, in_features), `bias` (out_features) to (…, out_features).
///
/// # Errors
/// Where a shape, dtype or device does not fit, or the activation's parameters are out of range.
pub fn linear(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Result<Tensor> {
    let shape = check(xs, weight, bias)?;
    if let Some(activation) = activation {
        activation.check(xs.dtype())?;
    }
    if !is_fused(xs) {
        return composed(xs, weight, bias, activation, shape);
    }
    by_float!("linear", xs.dtype(), T => fused::<T>(xs, weight, bias, activation, shape))
}

/// The result's shape.
fn check(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Shape> {
    let &[outputs, inputs] = weight.dims() else {
        candle_core::bail!("linear: expected weight (out_features, in_features), got {:?}", weight.dims());
    };
    check_same_kind("linear", xs, "weight", weight)?;
    let Some((_, leading)) = xs.dims().split_last().filter(|&(&last, _)| last == inputs) else {
        candle_core::bail!("linear: expected last dimension {inputs} (in_features), got {:?}", xs.dims());
    };
    if let Some(bias) = bias {
        check_same_kind("linear", xs, "bias", bias)?;
        if bias.dims() != [outputs] {
            candle_core::bail!("linear: expected bias [{outputs}], got {:?}", bias.dims());
        }
    }
    Ok(Shape::from([leading, &[outputs]].concat()))
}

/// The same from Candle's operations.
fn composed(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
    shape: Shape,
) -> Result<Tensor> {
    let rows = shape.elem_count() / weight.dim(0)?.max(1);
    let ys = xs.reshape((rows, weight.dim(1)?))?.matmul(&weight.t()?)?;
    let ys = bias.map_or(Ok(ys.clone()), |bias| ys.broadcast_add(bias))?.reshape(shape)?;
    activation.map_or(Ok(ys.clone()), |activation| apply_activation(&ys, activation))
}

fn fused<T: Float>(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
    shape: Shape,
) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let inputs_of: Vec<&Tensor> = [xs, weight].into_iter().chain(bias).collect();
    let tracked = inputs_of.iter().any(|t| t.track_op());
    let forward = |x: &[T], w: &[T], b: &[T]| {
        let rows = shape.elem_count() / outputs.max(1);
        let keep = tracked && activation.is_some_and(|a| a.needs_input());
        let finish = |column: usize, ys: &mut [T]| {
            if let Some(bias) = b.get(column..column + ys.len()) {
                ys.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
            }
            if let Some(activation) = activation.filter(|_| !keep) {
                formulas::apply(activation, ys);
            }
        };
        let product = |rhs: Matrix<T>| product_of((rows, inputs, outputs), Matrix::rows(x, inputs), rhs, Some(&finish));
        let ys = if rows < MIN_ROWS {
            product(Matrix::rows(w, inputs).transposed())
        } else {
            T::with_scratch(w.len(), |scratch| {
                transpose_into(w, inputs, scratch);
                product(Matrix::rows(scratch, outputs))
            })
        };
        match activation.filter(|_| keep) {
            Some(activation) => (formulas::forward(activation, &ys), Some(ys)),
            None => (ys, None),
        }
    };
    let (ys, before) = match bias {
        Some(bias) => with_values::<T, _, 3>([xs, weight, bias], |[x, w, b]| Ok(forward(x, w, b)))?,
        None => with_values::<T, _, 2>([xs, weight], |[x, w]| Ok(forward(x, w, &[])))?,
    };
    let outputs: Vec<(CpuStorage, Shape)> = vec![output(ys, shape)];
    Ok(record(Linear { activation, before }, &inputs_of, outputs)?.swap_remove(0))
}

/// What the backward needs: the sums before the activation, where its derivative takes them.
struct Linear<T> {
    activation: Option<Activation>,
    before: Option<Vec<T>>,
}

impl<T: Float> Function for Linear<T> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        ys: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let [xs, weight, ..] = inputs else { candle_core::bail!("linear: {} inputs", inputs.len()) };
        let Some(grad) = &grads[0] else { candle_core::bail!("linear: backward without a gradient") };
        with_values::<T, _, 4>([xs, weight, ys, grad], |[x, w, y, grad]| {
            let changed = self.activation.map(|a| formulas::backward(a, self.before.as_deref().unwrap_or(y), y, grad));
            let grad = changed.as_deref().unwrap_or(grad);
            let wants = |i: usize| wanted.get(i).copied().unwrap_or(false);
            let (outputs, features) = weight.dims2()?;
            let rows = grad.len() / outputs.max(1);
            let dx = wants(0).then(|| {
                let (lhs, rhs) = (Matrix::rows(grad, outputs), Matrix::rows(w, features));
                tensor(product_of((rows, outputs, features), lhs, rhs, None), xs.shape())
            });
            let dw = wants(1).then(|| {
                let (lhs, rhs) = (Matrix::rows(grad, outputs).transposed(), Matrix::rows(x, features));
                tensor(product_of((outputs, rows, features), lhs, rhs, None), weight.shape())
            });
            let db = wants(2).then(|| tensor(column_sums(grad, outputs), &Shape::from(outputs)));
            [dx, dw, db].into_iter().take(inputs.len()).map(Option::transpose).collect()
        })
    }
}

/// The sum of each column of rows of `len` elements.
pub(crate) fn column_sums<T: Element>(rows: &[T], len: usize) -> Vec<T> {
    sum_rows(rows.len() / len.max(1), len, len, |row, sums| {
        sums.iter_mut().zip(&rows[row * len..][..len]).for_each(|(sum, &x)| *sum += x);
    })
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::testing::{assert_close, flat, run};
    use crate::testkit::{check_gradients, values};

    const ACTIVATIONS: [Option<Activation>; 4] =
        [None, Some(Activation::Relu), Some(Activation::GeluTanh), Some(Activation::Tanh)];

    fn operands(leading: &[usize], inputs: usize, outputs: usize) -> [Tensor; 3] {
        let xs = values([leading, &[inputs]].concat(), 1).unwrap();
        [xs, values((outputs, inputs), 2).unwrap(), values(outputs, 3).unwrap()]
    }

    #[test]
    fn gradients_with_and_without_bias_and_activation() {
        let operands = operands(&[2, 3], 4, 5);
        for activation in ACTIVATIONS {
            check_gradients(&operands, |t| linear(&t[0], &t[1], Some(&t[2]), activation)).unwrap();
            check_gradients(&operands[..2], |t| linear(&t[0], &t[1], None, activation)).unwrap();
        }
    }

    /// Sizes that are cut into jobs by columns and by rows, and a single row; f32 to 1e-5 relative.
    #[test]
    fn fused_equals_composed() {
        for (leading, inputs, outputs) in [(&[3usize, 50][..], 70, 300), (&[900], 40, 30), (&[1], 600, 900)] {
            let operands = operands(leading, inputs, outputs);
            for dtype in [DType::F64, DType::F32] {
                let operands = operands.each_ref().map(|t| t.to_dtype(dtype).unwrap());
                for activation in ACTIVATIONS {
                    let got = run(&operands, |t| linear(&t[0], &t[1], Some(&t[2]), activation));
                    let shape = Shape::from([leading, &[outputs]].concat());
                    let want = run(&operands, |t| composed(&t[0], &t[1], Some(&t[2]), activation, shape.clone()));
                    for (got, want) in got.iter().zip(&want) {
                        // Sums of up to 900 terms in another order: 1e-5 of a term's size times their root.
                        assert_close(&flat(got), &flat(want), if dtype == DType::F64 { 1e-11 } else { 1e-4 });
                    }
                }
            }
        }
    }

    /// What `Sequential` relies on.
    #[test]
    fn fused_activation_has_the_bits_of_a_separate_one() {
        let operands = operands(&[70], 50, 90).map(|t| t.to_dtype(DType::F32).unwrap());
        for activation in ACTIVATIONS.into_iter().flatten() {
            let fused = run(&operands, |t| linear(&t[0], &t[1], Some(&t[2]), Some(activation)));
            let apart = run(&operands, |t| apply_activation(&linear(&t[0], &t[1], Some(&t[2]), None)?, activation));
            assert!(fused.iter().zip(&apart).all(|(a, b)| flat(a) == flat(b)), "{activation:?}");
        }
    }

    #[test]
    fn empty_batches_and_no_features() {
        for (leading, inputs, outputs) in [(&[0usize][..], 3, 4), (&[2, 0], 3, 4), (&[2], 0, 3)] {
            let results = run(&operands(leading, inputs, outputs), |t| linear(&t[0], &t[1], Some(&t[2]), None));
            assert_eq!(results[0].dims(), [leading, &[outputs]].concat());
            assert_eq!(results[3].dims(), [outputs]);
        }
    }

    #[test]
    fn wrong_shapes_are_named() {
        let [xs, weight, _] = operands(&[2], 3, 4);
        let error = linear(&xs, &values((4, 5), 1).unwrap(), None, None).unwrap_err().to_string();
        assert!(error.contains("linear: expected last dimension 5 (in_features), got [2, 3]"), "{error}");
        let error = linear(&xs, &weight, Some(&values(3, 1).unwrap()), None).unwrap_err().to_string();
        assert!(error.contains("linear: expected bias [4], got [3]"), "{error}");
    }
}
