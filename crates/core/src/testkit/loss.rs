//! The contract of losses.

use candle_core::{DType, Tensor};

use super::{assert_ok, check_gradients, expect, expect_close};
use crate::{Loss, Result, TensorExt};

/// Agreement of f32 with f64, relative to `1 + |expected|`.
const F32_TOLERANCE: f64 = 1e-5;
/// A transposed tensor holds the same numbers; only the order of a sum may differ.
const LAYOUT_TOLERANCE: f64 = 1e-12;

/// Checks `loss` at f64 `outputs` and their `targets`: finite; gradients of the outputs equal to central differences, on
/// contiguous and on transposed outputs; the same for transposed targets; f32 agrees with f64; and targets of another
/// shape are an error.
///
/// # Panics
/// Where one of these does not hold, with what was expected and what came.
///
/// ```
/// use glassbox_core::loss::Mse;
/// use glassbox_core::testkit::{check_loss, values};
/// check_loss(&Mse::default(), &values((3, 2), 1)?, &values((3, 2), 2)?);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[track_caller]
pub fn check_loss(loss: &dyn Loss, outputs: &Tensor, targets: &Tensor) {
    assert_ok(check(loss, outputs, targets));
}

fn check(loss: &dyn Loss, outputs: &Tensor, targets: &Tensor) -> Result<()> {
    let value = loss.forward(outputs, targets)?;
    expect(value.to_f64_vec()?.iter().all(|v| v.is_finite()), "loss", "finite values", &value)?;
    check_gradients(std::slice::from_ref(outputs), |t| Ok(loss.forward(&t[0], targets)?))?;
    if targets.rank() > 1 {
        let strided = targets.t()?.contiguous()?.t()?;
        expect_close("loss of transposed targets", &loss.forward(outputs, &strided)?, &value, LAYOUT_TOLERANCE)?;
    }
    let single = |t: &Tensor| if t.dtype() == DType::F64 { t.to_dtype(DType::F32) } else { Ok(t.clone()) };
    expect_close("loss in f32", &loss.forward(&single(outputs)?, &single(targets)?)?, &value, F32_TOLERANCE)?;
    let longer = Tensor::cat(&[targets, targets], 0)?;
    expect(loss.forward(outputs, &longer).is_err(), "targets of another shape", "an error", "a loss")
}
