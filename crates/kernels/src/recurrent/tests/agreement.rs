//! Fused against composed, at the edges of blocks and of shapes, with any number of threads.

use candle_core::{DType, Tensor};
use rayon::ThreadPoolBuilder;

use super::{KINDS, Kind, Setup, joined};
use crate::testing::{assert_close, flat, run};
use crate::testkit::values;

/// The joined outputs and the gradients of all tensors.
fn results(setup: &Setup, tensors: &[Tensor], fused: bool) -> Vec<Tensor> {
    run(tensors, |t| joined(&setup.outputs(t, fused)?))
}

fn assert_agree(setup: &Setup, sizes: (usize, usize, usize, usize)) {
    // Sums of a hundred products of numbers below 1, in either type; gradients add up over all samples.
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let scaled = |t: Tensor| (t * 0.5).unwrap().to_dtype(dtype).unwrap();
        let tensors: Vec<_> = setup.tensors(sizes).into_iter().map(scaled).collect();
        let expected = results(setup, &tensors, false);
        for (got, expected) in results(setup, &tensors, true).iter().zip(&expected) {
            assert_eq!(got.dims(), expected.dims());
            assert_close(&flat(got), &flat(expected), tolerance);
        }
    }
}

/// Lengths from 1 to `seq_len`, unordered.
fn lengths(batch: usize, seq_len: usize) -> Vec<usize> {
    (0..batch).map(|i| 1 + (i * 7 + 3) % seq_len).collect()
}

#[test]
fn fused_equals_composed_over_several_blocks() {
    for kind in KINDS {
        for lengths in [None, Some(lengths(37, 6))] {
            let setup = Setup { directions: vec![false, true], lengths, ..Setup::full(kind) };
            assert_agree(&setup, (37, 6, 5, 19));
        }
    }
}

#[test]
fn a_projection_over_several_blocks() {
    for lengths in [None, Some(lengths(37, 6))] {
        let setup = Setup { directions: vec![false, true], lengths, proj_size: Some(7), ..Setup::full(Kind::Lstm) };
        assert_agree(&setup, (37, 6, 5, 19));
        let setup = Setup { directions: vec![true], lengths: None, ..setup };
        assert_agree(&setup, (1, 3, 2, 9));
    }
}

#[test]
fn one_step_one_sample_one_feature() {
    for kind in KINDS {
        let setup = Setup { directions: vec![false, true], ..Setup::full(kind) };
        assert_agree(&setup, (5, 1, 3, 4));
        assert_agree(&setup, (1, 3, 1, 1));
        assert_agree(&Setup { state: false, bias: false, ..setup }, (1, 1, 2, 33));
    }
}

#[test]
fn an_empty_batch() {
    for kind in KINDS {
        let setup = Setup { directions: vec![false, true], lengths: Some(vec![]), ..Setup::full(kind) };
        let tensors = setup.tensors((0, 4, 2, 3));
        let outputs = setup.outputs(&tensors, true).unwrap();
        assert_eq!(outputs[0].dims(), [0, 4, 6]);
        assert_eq!(outputs[1].dims(), [0, 3]);
        let sum = |t: &[Tensor]| setup.outputs(t, true)?[0].sum_all()?.reshape(1);
        for (result, tensor) in run(&tensors, sum).iter().skip(1).zip(&tensors) {
            assert_eq!(flat(result), vec![0.0; tensor.elem_count()]);
        }
    }
}

/// Large enough that all of it runs in parallel.
#[test]
fn the_same_bits_with_any_number_of_threads() {
    for kind in KINDS {
        for lengths in [None, Some(lengths(37, 9))] {
            let setup = Setup { directions: vec![false, true], lengths, ..Setup::full(kind) };
            let tensors = setup.tensors((37, 9, 70, 64));
            let tensors: Vec<_> = tensors.iter().map(|t| (t * 0.2).unwrap().to_dtype(DType::F32).unwrap()).collect();
            let with_threads = |threads| {
                let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| results(&setup, &tensors, true).iter().map(flat).collect::<Vec<_>>())
            };
            assert_eq!(with_threads(1), with_threads(2), "{kind:?}");
        }
    }
}

/// A sample's results are those that it has alone, and what lies beyond its length plays no part.
#[test]
fn samples_are_independent_and_end_at_their_length() {
    for kind in KINDS {
        let lengths = lengths(20, 5);
        let setup = Setup { directions: vec![true], lengths: Some(lengths.clone()), ..Setup::full(kind) };
        let mut tensors = setup.tensors((20, 5, 3, 8));
        let valid = |sample: usize, time: usize| if time < lengths[sample] { 0.0 } else { f64::NAN };
        let beyond: Vec<f64> = (0..20).flat_map(|s| (0..5).map(move |t| (s, t))).map(|(s, t)| valid(s, t)).collect();
        let beyond = Tensor::from_vec(beyond, (20, 5, 1), tensors[0].device()).unwrap();
        tensors[0] = tensors[0].broadcast_add(&beyond).unwrap();
        let together = results(&setup, &tensors, true);
        assert!(together.iter().flat_map(flat).all(f64::is_finite));
        let sequence = setup.outputs(&tensors, true).unwrap().swap_remove(0);
        for sample in [0, 7, 19] {
            let (alone, length) = (Setup { lengths: None, ..setup.clone() }, lengths[sample]);
            let mut own = tensors.clone();
            own[0] = tensors[0].narrow(0, sample, 1).unwrap().narrow(1, 0, length).unwrap();
            for state in own.iter_mut().skip(5) {
                *state = state.narrow(0, sample, 1).unwrap();
            }
            let expected = alone.outputs(&own, true).unwrap().swap_remove(0);
            let row = sequence.narrow(0, sample, 1).unwrap();
            assert_close(&flat(&row.narrow(1, 0, length).unwrap()), &flat(&expected), 1e-14);
            assert!(flat(&row.narrow(1, length, 5 - length).unwrap()).iter().all(|&x| x == 0.0));
        }
    }
}

/// The gradient of the output may be a broadcast or transposed view.
#[test]
fn gradients_of_views() {
    let setup = Setup::full(Kind::Gru);
    let tensors = setup.tensors((3, 4, 2, 5));
    let weights = values((3, 4), 3).unwrap();
    let weigh = |fused: bool| {
        run(&tensors, |t| {
            let sequence = setup.outputs(t, fused)?.swap_remove(0);
            sequence.sum(2)?.t()? * weights.t()?
        })
    };
    for (got, expected) in weigh(true).iter().zip(&weigh(false)) {
        assert_close(&flat(got), &flat(expected), 1e-13);
    }
}
