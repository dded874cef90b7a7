//! Against a loop, against the composed form, gradients, and the edges of blocks and shapes.

use candle_core::{DType, Device, Tensor};
use rayon::ThreadPoolBuilder;

use super::{composed, gated_scan, scan};
use crate::Result;
use crate::testing::{assert_close, flat, run};
use crate::testkit::{check_gradients, values};

type Scan = fn(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor>;

const SCANS: [Scan; 2] = [scan, gated_scan];

fn plain_gated(gate: &Tensor, candidate: &Tensor, h0: Option<&Tensor>) -> Result<Tensor> {
    let z = ((gate.neg()?.exp()? + 1.0)?).recip()?;
    composed::scan(&z.affine(-1.0, 1.0)?, &(z * candidate)?, h0)
}

const PLAIN: [Scan; 2] = [composed::scan, plain_gated];

fn inputs((batch, seq_len, features): (usize, usize, usize)) -> [Tensor; 3] {
    let shape = (batch, seq_len, features);
    [values(shape, 1).unwrap(), values(shape, 2).unwrap(), values((batch, features), 3).unwrap()]
}

#[test]
fn one_step_after_the_other() {
    let [a, b, h0] = inputs((2, 5, 3));
    let got = scan(&a, &b, Some(&h0)).unwrap();
    let mut h = h0;
    for step in 0..5 {
        let at = |xs: &Tensor| xs.narrow(1, step, 1).unwrap().squeeze(1).unwrap();
        h = ((at(&a) * h).unwrap() + at(&b)).unwrap();
        assert_eq!(flat(&at(&got)), flat(&h));
    }
}

#[test]
fn gradients() {
    for one in SCANS.into_iter().chain(PLAIN) {
        let inputs = inputs((2, 5, 3));
        check_gradients(&inputs, |t| one(&t[0], &t[1], Some(&t[2]))).unwrap();
        check_gradients(&inputs[..2], |t| one(&t[0], &t[1], None)).unwrap();
    }
}

/// One and several blocks of features and rounds of the composed form, on both sides of the parallel threshold.
#[test]
fn fused_equals_composed() {
    for sizes in [(1, 1, 1), (3, 7, 130), (1, 200, 1), (2, 100, 300), (5, 64, 128)] {
        for (fused, plain) in SCANS.into_iter().zip(PLAIN) {
            // In f32 the rounding of some steps adds up; their weights fall off.
            for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 5e-6)] {
                let inputs = inputs(sizes).map(|t| t.to_dtype(dtype).unwrap());
                // Composed, a single step from no state takes no part of `a`, which then has no gradient to compare.
                for state in [true, false].into_iter().filter(|&state| state || sizes.1 > 1) {
                    let inputs = if state { &inputs[..] } else { &inputs[..2] };
                    let got = run(inputs, |t| fused(&t[0], &t[1], t.get(2)));
                    let want = run(inputs, |t| plain(&t[0], &t[1], t.get(2)));
                    got.iter().zip(&want).for_each(|(a, b)| assert_close(&flat(a), &flat(b), tolerance));
                }
            }
        }
    }
}

#[test]
fn views_of_inputs_and_gradients() {
    let [a, b, h0] = inputs((3, 4, 5));
    let view = |t: &Tensor| t.transpose(1, 2).unwrap().contiguous().unwrap().transpose(1, 2).unwrap();
    for one in SCANS {
        let joined = |t: &[Tensor]| one(&t[0], &t[1], Some(&t[2]))?.transpose(1, 2)?.sum(0);
        let want = run(&[a.clone(), b.clone(), h0.clone()], joined);
        let got = run(&[a.clone(), b.clone(), h0.clone()], |t| joined(&[view(&t[0]), view(&t[1]), t[2].clone()]));
        got.iter().zip(&want).for_each(|(a, b)| assert_close(&flat(a), &flat(b), 1e-15));
    }
}

#[test]
fn the_same_bits_with_any_number_of_threads() {
    let inputs = inputs((3, 50, 300)).map(|t| t.to_dtype(DType::F32).unwrap());
    for one in SCANS {
        let with_threads = |threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let all = || run(&inputs, |t| one(&t[0], &t[1], Some(&t[2])));
            pool.install(|| all().iter().map(flat).collect::<Vec<_>>())
        };
        assert_eq!(with_threads(1), with_threads(3));
    }
}

#[test]
fn far_gates_are_finite() {
    let gate = Tensor::new(&[[[1e4f32], [-1e4], [f32::INFINITY], [f32::NEG_INFINITY]]], &Device::Cpu).unwrap();
    let candidate = Tensor::new(&[[[1f32], [2.0], [3.0], [4.0]]], &Device::Cpu).unwrap();
    let got = run(&[gate, candidate], |t| gated_scan(&t[0], &t[1], None));
    assert_eq!(flat(&got[0]), [1.0, 1.0, 3.0, 3.0]);
    assert!(got.iter().flat_map(flat).all(f64::is_finite));
}

#[test]
fn empty_tensors() {
    for sizes in [(0, 3, 2), (2, 0, 3), (2, 3, 0)] {
        for one in SCANS {
            let inputs = inputs(sizes);
            let got = run(&inputs, |t| one(&t[0], &t[1], Some(&t[2])));
            assert_eq!(got[0].dims3().unwrap(), sizes);
            assert!(got[3].dims() == inputs[2].dims() && flat(&got[3]).iter().all(|&g| g == 0.0));
        }
    }
}

#[test]
fn wrong_inputs_are_named() {
    let [a, b, h0] = inputs((2, 5, 3));
    let fails = |result: Result<Tensor>, expected: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(scan(&h0, &b, None), "scan: expected a (batch, seq_len, features), got [2, 3]");
    fails(gated_scan(&a, &h0, None), "gated_scan: expected candidate [2, 5, 3] as gate, got [2, 3]");
    fails(scan(&a, &b, Some(&a)), "scan: expected h0 (2, 3), got [2, 5, 3]");
    fails(scan(&a, &b.to_dtype(DType::F32).unwrap(), None), "expected b of dtype F64, got F32");
    fails(scan(&a, &b, Some(&h0.to_dtype(DType::F32).unwrap())), "expected h0 of dtype F64, got F32");
    let ids = a.to_dtype(DType::U32).unwrap();
    fails(scan(&ids, &ids, None), "expected a of a float type");
}
