//! The gated recurrent unit.

use candle_core::Tensor;

use super::{BackwardStep, Cell, Part, Step, chunks, parts, parts_mut, update};
use crate::Result;
use crate::activation::formulas::{sigmoid, tanh};
use crate::activation::{Activation, activation};
use crate::cpu::Float;

/// r, z = sigmoid of the gates' sums; n = tanh(W_in x + b_in + r (W_hn h + b_hn)); h' = n + z (h − n).
pub(in crate::recurrent) struct Gru;

impl Cell for Gru {
    const NAME: &'static str = "gru";
    const GATES: usize = 3;
    /// W_hn h + b_hn.
    const SAVED: usize = 1;
    const CELL: usize = 0;
    /// W_hn h has its own.
    const SUMS: usize = 4;
    const RECURRENT: &'static [Part] = &[Part { rows: 0, sums: 0, len: 2 }, Part { rows: 2, sums: 3, len: 1 }];
    const CARRIES: bool = true;

    #[inline(always)]
    fn forward<T: Float>(mut step: Step<T>) {
        step.activate(0..2, sigmoid);
        let [r, z, n] = parts_mut(step.gates);
        let [bias_in, bias_hn] = step.bias.map(|bias| parts::<_, 3>(bias)[2]);
        let [_, _, sums_in, sums_hn] = parts(step.sums);
        update(step.saved, [sums_hn, bias_hn], |_, [x, b]| x + b);
        update(n, [sums_in, bias_in, r, step.saved], |_, [x, b, r, s]| tanh(x + b + r * s));
        update(step.hidden, [z, n], |h, [z, n]| n + z * (h - n));
    }

    #[inline(always)]
    fn backward<T: Float>(step: BackwardStep<T>) {
        let one = T::one();
        let [r, z, n] = parts(step.gates);
        let [dr, dz, dn, ds] = parts_mut(step.d_sums);
        let dh = step.d_hidden;
        update(dz, [dh, step.previous, n, z], |_, [dh, h, n, z]| dh * (h - n) * (z * (one - z)));
        update(dn, [dh, z, n], |_, [dh, z, n]| dh * (one - z) * (one - n * n));
        update(ds, [dn, r], |_, [dn, r]| dn * r);
        update(dr, [ds, step.saved, r], |_, [ds, s, r]| ds * s * (one - r));
        update(dh, [z], |dh, [z]| dh * z);
    }

    fn composed(
        projected: &Tensor,
        recurrent: &Tensor,
        hidden: &Tensor,
        _: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let ([xr, xz, xn], [hr, hz, hn]) = (chunks(projected)?, chunks(recurrent)?);
        let r = activation(&(xr + hr)?, Activation::Sigmoid)?;
        let z = activation(&(xz + hz)?, Activation::Sigmoid)?;
        let n = activation(&(xn + r * hn)?, Activation::Tanh)?;
        let hidden = (&n + z * (hidden - &n)?)?;
        Ok((hidden, None))
    }
}
