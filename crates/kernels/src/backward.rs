//! Backward that hands a variable's gradient over as it is.
//!
//! Candle adds every gradient to a tensor of zeros. For a parameter that is used once, that is three more passes over its
//! memory than needed. Within [`backward`] the operations of this crate keep the gradients of variables here instead;
//! under Candle's own `backward` they return them as any operation does.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId};

use crate::Result;

thread_local! {
    static KEPT: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// The gradients of a scalar, by variable.
pub struct Gradients {
    store: GradStore,
    kept: HashMap<TensorId, Tensor>,
}

impl Gradients {
    /// The gradient of `variable`; none where the scalar does not depend on it.
    ///
    /// # Errors
    /// A device that fails.
    pub fn get(&self, variable: &Tensor) -> Result<Option<Tensor>> {
        match (self.store.get(variable), self.kept.get(&variable.id())) {
            (Some(a), Some(b)) => (a + b).map(Some),
            (a, b) => Ok(a.or(b).cloned()),
        }
    }
}

/// The gradients of the scalar `loss` with respect to the variables that it depends on.
///
/// # Errors
/// An operation without a backward; a device that fails.
pub fn backward(loss: &Tensor) -> Result<Gradients> {
    let outer = KEPT.replace(Some(HashMap::new()));
    let store = loss.backward();
    let kept = KEPT.replace(outer).unwrap_or_default();
    Ok(Gradients { store: store?, kept })
}

/// What an operation's `bwd` returns for `arg`: its gradient, unless that is kept here.
pub(crate) fn hand_over(arg: &Tensor, gradient: Option<Tensor>) -> Result<Option<Tensor>> {
    if !arg.is_variable() {
        return Ok(gradient);
    }
    let Some(gradient) = gradient else { return Ok(None) };
    KEPT.with_borrow_mut(|kept| {
        let Some(kept) = kept else { return Ok(Some(gradient)) };
        let sum = match kept.get(&arg.id()) {
            Some(before) => (before + gradient)?,
            None => gradient,
        };
        kept.insert(arg.id(), sum);
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::linear::linear;
    use crate::testing::flat;
    use crate::testkit::values;

    /// A weight used by two operations of ours and one of Candle's gets the same gradient from both backwards.
    #[test]
    fn gradients_are_candles() {
        let weight = Var::from_tensor(&values((3, 3), 1).unwrap()).unwrap();
        let xs = Var::from_tensor(&values((2, 3), 2).unwrap()).unwrap();
        let unused = Var::from_tensor(&values(2, 3).unwrap()).unwrap();
        let ys = linear(&linear(&xs, &weight, None, None).unwrap(), &weight, None, None).unwrap();
        let loss = (ys.sqr().unwrap().sum_all().unwrap() + weight.sqr().unwrap().sum_all().unwrap()).unwrap();
        let (ours, candles) = (backward(&loss).unwrap(), loss.backward().unwrap());
        for var in [&weight, &xs] {
            let got = flat(&ours.get(var).unwrap().unwrap());
            crate::testing::assert_close(&got, &flat(candles.get(var.as_tensor()).unwrap()), 1e-14);
        }
        assert!(ours.get(&unused).unwrap().is_none());
    }
}
