//! What the tests of several operations share.

use candle_core::{DType, Tensor, Var};

use crate::Result;
use crate::testkit::values;

/// All elements in f64, in row-major order.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails where an element differs by more than `tolerance`, relative to 1 + |expected|.
pub(crate) fn assert_close(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= tolerance * (1.0 + expected.abs()),
            "element {i}: expected {expected}, got {got}"
        );
    }
}

/// Value and the gradients of every input, where the output is weighted unevenly.
pub(crate) fn run(inputs: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Tensor> {
    let vars: Vec<_> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tensors: Vec<_> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let ys = function(&tensors).unwrap();
    let weights = values(ys.shape().clone(), 7).unwrap().to_dtype(ys.dtype()).unwrap();
    let grads = (&ys * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let grads = tensors.iter().map(|t| grads.get(t).unwrap().clone());
    std::iter::once(ys.detach()).chain(grads).collect()
}
