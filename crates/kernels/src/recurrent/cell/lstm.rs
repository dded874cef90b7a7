//! The long short-term memory.

use candle_core::Tensor;

use super::{BackwardStep, Cell, Part, Step, chunks, parts, parts_mut, update};
use crate::Result;
use crate::activation::formulas::{sigmoid, tanh};
use crate::activation::{Activation, activation};
use crate::cpu::Float;

/// i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of the gates' sums; c' = f c + i g; h' = o tanh(c').
pub(in crate::recurrent) struct Lstm;

impl Cell for Lstm {
    const NAME: &'static str = "lstm";
    const GATES: usize = 4;
    /// The new cell state.
    const SAVED: usize = 1;
    const CELL: usize = 1;
    const SUMS: usize = 4;
    const RECURRENT: &'static [Part] = &[Part { rows: 0, sums: 0, len: 4 }];
    const CARRIES: bool = false;

    #[inline(always)]
    fn forward<T: Float>(mut step: Step<T>) {
        step.activate(0..2, sigmoid);
        step.activate(2..3, tanh);
        step.activate(3..4, sigmoid);
        let [i, f, g, o] = parts(step.gates);
        update(step.cell, [i, f, g], |c, [i, f, g]| f * c + i * g);
        update(step.hidden, [o, step.cell], |_, [o, c]| o * tanh(c));
        step.saved.copy_from_slice(step.cell);
    }

    #[inline(always)]
    fn backward<T: Float>(step: BackwardStep<T>) {
        let one = T::one();
        let [i, f, g, o] = parts(step.gates);
        let [di, df, dg, d_o] = parts_mut(step.d_sums);
        let (dh, dc) = (&*step.d_hidden, step.d_cell);
        // Until it is known, dg holds tanh(c').
        update(dg, [step.saved], |_, [c]| tanh(c));
        update(d_o, [dh, dg, o], |_, [dh, t, o]| dh * t * (o * (one - o)));
        update(dc, [dh, dg, o], |dc, [dh, t, o]| dc + dh * o * (one - t * t));
        update(di, [dc, g, i], |_, [dc, g, i]| dc * g * (i * (one - i)));
        update(df, [dc, step.previous, f], |_, [dc, c, f]| dc * c * (f * (one - f)));
        update(dg, [dc, i, g], |_, [dc, i, g]| dc * i * (one - g * g));
        update(dc, [f], |dc, [f]| dc * f);
    }

    fn composed(
        projected: &Tensor,
        recurrent: &Tensor,
        hidden: &Tensor,
        cell: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let [i, f, g, o] = chunks(&(projected + recurrent)?)?;
        let [i, f, o] = [i, f, o].map(|gate| activation(&gate, Activation::Sigmoid));
        let new = (i? * activation(&g, Activation::Tanh)?)?;
        let cell = match cell {
            Some(cell) => (new + f?.mul(cell)?)?,
            None => candle_core::bail!("lstm: no cell state for hidden state {:?}", hidden.dims()),
        };
        Ok(((o? * activation(&cell, Activation::Tanh)?)?, Some(cell)))
    }
}
