//! The simple recurrent network.

use candle_core::Tensor;

use super::{BackwardStep, Cell, Part, Step, update};
use crate::Result;
use crate::activation::formulas::tanh;
use crate::activation::{Activation, activation};
use crate::cpu::Float;

/// h' = tanh of the sum.
pub(in crate::recurrent) struct RnnTanh;

/// h' = max(sum, 0).
pub(in crate::recurrent) struct RnnRelu;

macro_rules! rnn {
    ($cell:ident, $activation:ident, $forward:expr, $slope:expr) => {
        impl Cell for $cell {
            const NAME: &'static str = "rnn";
            const GATES: usize = 1;
            const SAVED: usize = 0;
            const CELL: usize = 0;
            const SUMS: usize = 1;
            const RECURRENT: &'static [Part] = &[Part { rows: 0, sums: 0, len: 1 }];
            const CARRIES: bool = false;

            #[inline(always)]
            fn forward<T: Float>(mut step: Step<T>) {
                step.activate(0..1, $forward);
                step.hidden.copy_from_slice(step.gates);
            }

            #[inline(always)]
            fn backward<T: Float>(step: BackwardStep<T>) {
                update(step.d_sums, [step.d_hidden, step.gates], |_, [dh, h]| $slope(dh, h));
            }

            fn composed(
                projected: &Tensor,
                recurrent: &Tensor,
                _: &Tensor,
                _: Option<&Tensor>,
            ) -> Result<(Tensor, Option<Tensor>)> {
                Ok((activation(&(projected + recurrent)?, Activation::$activation)?, None))
            }
        }
    };
}

rnn!(RnnTanh, Tanh, tanh, |dh: T, h: T| dh * (T::one() - h * h));
// NaN is not <= 0, so it passes.
rnn!(RnnRelu, Relu, |x| if x <= T::zero() { T::zero() } else { x }, |dh: T, h: T| if h <= T::zero() {
    T::zero()
} else {
    dh
});
