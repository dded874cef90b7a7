//! Values against loops written from the definition, gradients against central differences, and the composed path
//! against the fused one.

mod errors;
mod phases;
mod transposed;
mod volume;
mod whole;
mod winograd;

use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::testing::{assert_close, flat, run};
use crate::testkit::{check_gradients, values};

/// Largest accepted difference in f64, where sums of a few hundred terms of size 1 are added in another order.
const CLOSE: f64 = 1e-11;

/// A configuration: shapes of xs and weight, parameters.
struct Case {
    xs: [usize; 4],
    weight: [usize; 4],
    params: Conv2dParams,
}

fn cases() -> Vec<Case> {
    let case = |xs, weight, stride, padding, dilation, groups| Case {
        xs,
        weight,
        params: Conv2dParams { stride, padding, dilation, groups },
    };
    let none = [[0, 0], [0, 0]];
    vec![
        case([2, 3, 5, 4], [4, 3, 3, 3], [1, 1], [[1, 1], [1, 1]], [1, 1], 1),
        // Stride with a non-square input that the windows do not cover.
        case([2, 2, 6, 9], [3, 2, 3, 2], [2, 2], none, [1, 1], 1),
        case([1, 2, 7, 5], [2, 2, 3, 3], [2, 3], [[1, 1], [2, 2]], [1, 1], 1),
        case([2, 2, 7, 8], [2, 2, 3, 2], [1, 1], [[2, 2], [1, 1]], [2, 2], 1),
        case([1, 2, 8, 7], [3, 2, 2, 3], [2, 1], none, [1, 2], 1),
        // Groups, with more than one channel in and out each.
        case([2, 4, 5, 5], [6, 2, 3, 3], [1, 1], [[1, 1], [1, 1]], [1, 1], 2),
        case([2, 4, 6, 5], [8, 1, 3, 3], [2, 2], [[1, 1], [1, 1]], [1, 1], 4),
        // Depthwise.
        case([2, 3, 5, 6], [3, 1, 3, 3], [1, 1], [[1, 1], [1, 1]], [1, 1], 3),
        case([2, 3, 7, 6], [3, 1, 3, 2], [2, 2], [[1, 0], [2, 1]], [1, 2], 3),
        // Asymmetric padding, more padding than kernel.
        case([1, 2, 4, 5], [2, 2, 2, 2], [1, 1], [[0, 1], [1, 0]], [1, 1], 1),
        case([1, 1, 3, 3], [2, 1, 2, 2], [2, 2], [[3, 2], [2, 3]], [1, 1], 1),
        // Pointwise, with and without stride.
        case([2, 3, 4, 3], [5, 3, 1, 1], [1, 1], none, [1, 1], 1),
        case([2, 4, 4, 3], [4, 2, 1, 1], [1, 1], none, [1, 1], 2),
        case([2, 3, 4, 5], [2, 3, 1, 1], [2, 2], none, [1, 1], 1),
    ]
}

/// Larger ones, for which a gradient check would take long: several images a block, several bands, many channels.
fn large_cases() -> Vec<Case> {
    let params = Conv2dParams { padding: [[1, 1], [1, 1]], ..Default::default() };
    vec![
        Case { xs: [35, 6, 4, 4], weight: [20, 6, 3, 3], params },
        Case { xs: [33, 8, 2, 2], weight: [36, 4, 1, 1], params: Conv2dParams { groups: 2, ..Default::default() } },
        Case { xs: [2, 128, 30, 28], weight: [17, 128, 3, 3], params },
        // By Winograd's algorithm in tiles of 4 x 4; the one before by tiles of 2 x 2.
        Case { xs: [4, 20, 33, 31], weight: [32, 20, 3, 3], params },
        Case { xs: [3, 4, 19, 150], weight: [40, 4, 3, 3], params: Conv2dParams { stride: [2, 2], ..params } },
    ]
}

impl Case {
    fn operands(&self) -> [Tensor; 3] {
        [values(&self.xs[..], 1).unwrap(), values(&self.weight[..], 2).unwrap(), values(self.weight[0], 3).unwrap()]
    }

    fn output_size(&self, axis: usize) -> usize {
        let p = &self.params;
        let padded = self.xs[axis + 2] + p.padding[axis][0] + p.padding[axis][1];
        (padded - p.dilation[axis] * (self.weight[axis + 2] - 1) - 1) / p.stride[axis] + 1
    }

    /// Calls `run` with the flat indexes of (xs, weight, ys) of every term of the sum.
    fn for_each_term(&self, mut run: impl FnMut(usize, usize, usize)) {
        let (p, [n, c, h, w], [o, cg, kh, kw]) = (&self.params, self.xs, self.weight);
        let (oh, ow, og) = (self.output_size(0), self.output_size(1), o / p.groups);
        assert_eq!(c / p.groups, cg);
        for (n, o, y, x) in grid([n, o, oh, ow]) {
            for (_, c, i, j) in grid([1, cg, kh, kw]) {
                let row = (y * p.stride[0] + i * p.dilation[0]).wrapping_sub(p.padding[0][0]);
                let column = (x * p.stride[1] + j * p.dilation[1]).wrapping_sub(p.padding[1][0]);
                if row < h && column < w {
                    let channel = n * self.xs[1] + o / og * cg + c;
                    run(
                        (channel * h + row) * w + column,
                        ((o * cg + c) * kh + i) * kw + j,
                        ((n * self.weight[0] + o) * oh + y) * ow + x,
                    );
                }
            }
        }
    }
}

fn grid([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

#[test]
fn conv2d_is_the_defining_sum() {
    for (index, case) in cases().iter().chain(&large_cases()).enumerate() {
        let [xs, weight, bias] = case.operands();
        let got = run(&[xs.clone(), weight.clone(), bias.clone()], |t| conv2d(&t[0], &t[1], Some(&t[2]), &case.params));
        let (x, w, b) = (flat(&xs), flat(&weight), flat(&bias));
        let grad = flat(&values(got[0].shape().clone(), 7).unwrap());
        let plane = case.output_size(0) * case.output_size(1);
        let mut ys: Vec<f64> = (0..grad.len()).map(|i| b[i / plane % b.len()]).collect();
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
        case.for_each_term(|xi, wi, yi| {
            ys[yi] += x[xi] * w[wi];
            dx[xi] += grad[yi] * w[wi];
            dw[wi] += grad[yi] * x[xi];
        });
        grad.iter().enumerate().for_each(|(i, g)| db[i / plane % b.len()] += g);
        println!("case {index}");
        for (got, expected) in got.iter().zip([&ys, &dx, &dw, &db]) {
            assert_close(&flat(got), expected, CLOSE);
        }
    }
}

#[test]
fn conv2d_gradients() {
    for case in cases() {
        check_gradients(&case.operands(), |t| conv2d(&t[0], &t[1], Some(&t[2]), &case.params)).unwrap();
    }
}

#[test]
fn conv2d_composed_agrees() {
    for (index, case) in cases().iter().chain(&large_cases()).enumerate() {
        println!("case {index}");
        let [xs, weight, _] = case.operands();
        let geometry = Geometry::conv("test", &case.xs, &case.weight, &case.params).unwrap();
        let fused = run(&[xs.clone(), weight.clone()], |t| conv2d(&t[0], &t[1], None, &case.params));
        let composed = run(&[xs, weight], |t| composed::output(&geometry, &t[0], &t[1]));
        for (fused, composed) in fused.iter().zip(&composed) {
            assert_eq!(fused.dims(), composed.dims());
            assert_close(&flat(composed), &flat(fused), CLOSE);
        }
    }
}

#[test]
fn conv1d_gradients() {
    for params in [
        Conv1dParams { padding: [1, 1], ..Default::default() },
        Conv1dParams { stride: 2, padding: [2, 1], dilation: 2, groups: 2 },
    ] {
        let group_in = 4 / params.groups;
        let inputs = [values((3, 4, 9), 1).unwrap(), values((6, group_in, 3), 2).unwrap(), values(6, 3).unwrap()];
        check_gradients(&inputs, |t| conv1d(&t[0], &t[1], Some(&t[2]), &params)).unwrap();
    }
}

/// The op that a backward consists of has a right backward itself: the gradient of a gradient.
#[test]
fn directions_are_each_others_gradients() {
    for (case, direction) in cases().iter().zip([Direction::Output, Direction::Input, Direction::Weight].iter().cycle())
    {
        let geometry = Geometry::conv("test", &case.xs, &case.weight, &case.params).unwrap();
        let [xs, weight, _] = case.operands();
        let ys = values((case.xs[0], case.weight[0], case.output_size(0), case.output_size(1)), 4).unwrap();
        let inputs = match direction {
            Direction::Output => [xs, weight],
            Direction::Input => [ys, weight],
            Direction::Weight => [xs, ys],
        };
        let op = Convolution { geometry, direction: *direction };
        check_gradients(&inputs, |t| t[0].contiguous()?.apply_op2(&t[1].contiguous()?, op)).unwrap();
    }
}

#[test]
fn f32_agrees_with_f64() {
    for case in cases().iter().chain(&large_cases()) {
        let wide = case.operands();
        let narrow = wide.each_ref().map(|t| t.to_dtype(DType::F32).unwrap());
        let function = |t: &[Tensor]| conv2d(&t[0], &t[1], Some(&t[2]), &case.params);
        // f32 rounds each of up to a few thousand terms to 6e-8 of a partial sum of size about 30: 1.3e-5 was the most.
        // The transforms of Winograd's tiles of 4 x 4 multiply by up to 8 and take differences: 4.9e-5, in the weights'.
        let geometry = Geometry::conv("test", &case.xs, &case.weight, &case.params).unwrap();
        let tiles = super::winograd::choose(&geometry, Direction::Weight, super::op::Role::Gradient);
        let by_four = tiles == Some(super::winograd::Tiles::F43);
        let tolerance = if by_four { 1e-4 } else { 2.5e-5 };
        for (wide, narrow) in run(&wide, function).iter().zip(run(&narrow, function)) {
            assert_eq!(narrow.dtype(), DType::F32);
            assert_close(&flat(&narrow), &flat(wide), tolerance);
        }
    }
}

#[test]
fn result_does_not_depend_on_the_number_of_threads() {
    for case in large_cases() {
        let operands = case.operands().map(|t| t.to_dtype(DType::F32).unwrap());
        let with_threads = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let results = pool.install(|| run(&operands, |t| conv2d(&t[0], &t[1], Some(&t[2]), &case.params)));
            results.iter().map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(with_threads(1), with_threads(3));
    }
}

#[test]
fn constants_get_no_gradient() {
    let xs = values((1, 2, 4, 4), 1).unwrap();
    let weight = Var::from_tensor(&values((2, 2, 3, 3), 2).unwrap()).unwrap();
    let ys = conv2d(&xs, &weight, None, &Conv2dParams::default()).unwrap();
    let grads = ys.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&xs).is_none() && grads.get(&weight).is_some());
}

#[test]
fn empty_batch_gives_an_empty_output() {
    let xs = Var::zeros((0, 2, 4, 4), DType::F32, &Device::Cpu).unwrap();
    let weight = Var::ones((3, 2, 3, 3), DType::F32, &Device::Cpu).unwrap();
    let bias = Var::ones(3, DType::F32, &Device::Cpu).unwrap();
    let ys = conv2d(&xs, &weight, Some(&bias), &Conv2dParams::default()).unwrap();
    assert_eq!(ys.dims(), [0, 3, 2, 2]);
    let grads = ys.sum_all().unwrap().backward().unwrap();
    assert_eq!(flat(grads.get(&weight).unwrap()), vec![0.0; 54]);
}

#[test]
fn same_padding_keeps_the_size() {
    let xs = values((1, 1, 6, 7), 1).unwrap();
    for (kernel, dilation) in [(1, 1), (2, 1), (3, 2), (4, 1)] {
        let weight = values((1, 1, kernel, kernel), 2).unwrap();
        let padding = [same_padding(kernel, dilation); 2];
        let params = Conv2dParams { padding, dilation: [dilation; 2], ..Default::default() };
        assert_eq!(conv2d(&xs, &weight, None, &params).unwrap().dims(), xs.dims());
    }
}
