//! Checks a function's gradients against central differences in f64, and lets operations be composed of Candle's.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor, Var};

use crate::Result;

/// Step of the central difference. In f64 its truncation error is about `STEP²` and its rounding error `1e-16 / STEP`.
const STEP: f64 = 1e-5;
/// Largest accepted difference, relative to `1 + |expected|`: both errors above are well below it for smooth functions.
const TOLERANCE: f64 = 1e-6;

/// Checks the gradient of `function` at `inputs` (f64) with respect to every input.
///
/// The output is reduced to a scalar with fixed, uneven weights, so that an error in any element shows. Each input is
/// tried as it is and, where it has two dimensions or more, as a transposed (non-contiguous) view of the same values.
///
/// # Errors
/// Names the input, the element, the expected and the received value of the first disagreement.
pub fn check_gradients(inputs: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    for transposed in [false, true] {
        let vars = inputs.iter().map(|t| leaf(t, transposed)).collect::<Result<Vec<_>>>()?;
        let views = vars.iter().map(|v| view(v, transposed)).collect::<Result<Vec<_>>>()?;
        let grads = weighted_sum(&function(&views)?)?.backward()?;
        for (i, var) in vars.iter().enumerate() {
            let grad = match grads.get(var.as_tensor()) {
                Some(grad) => grad.flatten_all()?.to_vec1::<f64>()?,
                None => candle_core::bail!("no gradient reached input {i}"),
            };
            let expected = differences(&vars, i, transposed, &function)?;
            for (j, (&got, &want)) in grad.iter().zip(&expected).enumerate() {
                if got.is_nan() || (got - want).abs() > TOLERANCE * (1.0 + want.abs()) {
                    candle_core::bail!(
                        "gradient of input {i} (transposed: {transposed}) at element {j}: expected {want}, got {got}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Fixed pseudo-random f64 values in [-1, 1) of the given shape, different for each `seed`.
pub fn values(shape: impl Into<candle_core::Shape>, seed: u64) -> Result<Tensor> {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    let data: Vec<f64> = (0..shape.elem_count())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect();
    Tensor::from_vec(data, shape, &Device::Cpu)
}

thread_local! {
    static COMPOSING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `run` with every operation on this thread composed of Candle's, as on a device without kernels of ours.
pub fn composed<R>(run: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            COMPOSING.set(self.0);
        }
    }
    let _restore = Restore(COMPOSING.replace(true));
    run()
}

/// Whether this thread is in [`composed`].
pub(crate) fn is_composing() -> bool {
    COMPOSING.get()
}

fn leaf(tensor: &Tensor, transposed: bool) -> Result<Var> {
    let tensor = if transposed && tensor.rank() > 1 { tensor.t()?.contiguous()? } else { tensor.clone() };
    Var::from_tensor(&tensor.to_dtype(DType::F64)?)
}

fn view(var: &Var, transposed: bool) -> Result<Tensor> {
    if transposed && var.rank() > 1 { var.t() } else { Ok(var.as_tensor().clone()) }
}

fn weighted_sum(output: &Tensor) -> Result<Tensor> {
    (output * values(output.shape().clone(), 99)?)?.sum_all()
}

fn differences(
    vars: &[Var],
    index: usize,
    transposed: bool,
    function: &impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<f64>> {
    let original = vars[index].flatten_all()?.to_vec1::<f64>()?;
    let evaluate = |values: Vec<f64>| -> Result<f64> {
        let mut inputs = vars.iter().map(|v| view(v, transposed).map(|t| t.detach())).collect::<Result<Vec<_>>>()?;
        let changed = Var::from_vec(values, vars[index].shape(), &Device::Cpu)?;
        inputs[index] = view(&changed, transposed)?;
        weighted_sum(&function(&inputs)?)?.to_scalar::<f64>()
    };
    (0..original.len())
        .map(|j| {
            let shifted = |by: f64| {
                let mut values = original.clone();
                values[j] += by;
                evaluate(values)
            };
            Ok((shifted(STEP)? - shifted(-STEP)?) / (2.0 * STEP))
        })
        .collect()
}
