//! Gradients against central differences in f64.

use candle_core::{Tensor, Var};

use super::{KINDS, Kind, Setup, joined};
use crate::testing::flat;
use crate::testkit::check_gradients;

const SIZES: (usize, usize, usize, usize) = (3, 4, 2, 3);

/// Checks what `pick` makes of the outputs.
fn check(setup: &Setup, fused: bool, pick: impl Fn(Vec<Tensor>) -> crate::Result<Tensor>) {
    let tensors = setup.tensors(SIZES);
    check_gradients(&tensors, |t| pick(setup.outputs(t, fused)?)).unwrap_or_else(|error| panic!("{setup:?}: {error}"));
}

fn all(outputs: Vec<Tensor>) -> crate::Result<Tensor> {
    joined(&outputs)
}

#[test]
fn forward_and_reverse_with_and_without_lengths() {
    for kind in KINDS {
        for lengths in [None, Some(vec![2, 4, 1])] {
            for reverse in [false, true] {
                check(&Setup { directions: vec![reverse], lengths: lengths.clone(), ..Setup::full(kind) }, true, all);
            }
        }
    }
}

#[test]
fn both_directions() {
    for kind in KINDS {
        let setup = Setup { directions: vec![false, true], lengths: Some(vec![3, 1, 4]), ..Setup::full(kind) };
        check(&setup, true, all);
        check(&Setup { bias: false, state: false, lengths: None, ..setup }, true, all);
    }
}

#[test]
fn without_bias_or_state() {
    for kind in KINDS {
        check(&Setup { bias: false, ..Setup::full(kind) }, true, all);
        check(&Setup { state: false, ..Setup::full(kind) }, true, all);
    }
}

#[test]
fn a_projection() {
    let setup = Setup { proj_size: Some(2), ..Setup::full(Kind::Lstm) };
    check(&setup, true, all);
    check(&Setup { bias: false, state: false, ..setup.clone() }, true, all);
    let both = Setup { directions: vec![false, true], lengths: Some(vec![3, 1, 4]), ..setup };
    check(&both, true, all);
    check(&both, false, all);
}

/// `check_gradients` also fails where a gradient does not reach an input.
#[test]
fn each_output_alone() {
    for kind in KINDS {
        let outputs = if kind == Kind::Lstm { 3 } else { 2 };
        for output in 0..outputs {
            for lengths in [None, Some(vec![2, 4, 1])] {
                let setup = Setup { lengths, ..Setup::full(kind) };
                // The final cell state does not depend on the last output gate, but on all tensors.
                check(&setup, true, |mut outputs| Ok(outputs.swap_remove(output)));
            }
        }
    }
}

#[test]
fn sequences_of_time_major_views() {
    for kind in KINDS {
        let setup = Setup { directions: vec![false, true], lengths: Some(vec![3, 1, 4]), ..Setup::full(kind) };
        let mut tensors = setup.tensors(SIZES);
        tensors[0] = tensors[0].transpose(0, 1).unwrap().contiguous().unwrap();
        check_gradients(&tensors, |t| {
            let mut t = t.to_vec();
            t[0] = t[0].transpose(0, 1)?;
            joined(&setup.outputs(&t, true)?)
        })
        .unwrap();
    }
}

#[test]
fn composed() {
    for kind in [Kind::Lstm, Kind::Gru, Kind::Tanh] {
        let setup = Setup { directions: vec![false, true], lengths: Some(vec![3, 1, 4]), ..Setup::full(kind) };
        check(&setup, false, all);
    }
}

/// Every tensor alone requires a gradient: it gets the one that it gets among all, and no other tensor gets one.
#[test]
fn constants_get_no_gradient() {
    for kind in [Kind::Lstm, Kind::Gru] {
        let setup = Setup { directions: vec![false, true], ..Setup::full(kind) };
        let tensors = setup.tensors(SIZES);
        let vars: Vec<_> = tensors.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
        let leaves: Vec<_> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let weighted = |outputs: Vec<Tensor>| outputs[0].sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let expected = weighted(setup.outputs(&leaves, true).unwrap());
        for (i, leaf) in leaves.iter().enumerate() {
            let mut mixed = tensors.clone();
            mixed[i] = leaf.clone();
            let got = weighted(setup.outputs(&mixed, true).unwrap());
            assert_eq!(got.get_ids().count(), 1, "{kind:?} {i}");
            assert_eq!(flat(got.get(leaf).unwrap()), flat(expected.get(leaf).unwrap()), "{kind:?} {i}");
        }
        assert!(!setup.outputs(&tensors, true).unwrap()[0].track_op());
    }
}
