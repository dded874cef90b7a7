//! Winograd's algorithm against the products of columns, in every direction.

use crate::conv::op::Direction;
use crate::conv::winograd::tile::{Four, Tile, Two};
use crate::conv::{dense, winograd};
use crate::cpu::Element;

use super::*;

/// Largest accepted difference from the f64 result, relative to its largest value: f32 keeps 6e-8 of a sum's terms, and
/// the transforms make terms a few times as large.
const CLOSE_F32: f64 = 1e-5;
/// The same for f64, which keeps 1e-16.
const CLOSE_F64: f64 = 1e-12;

const DIRECTIONS: [Direction; 3] = [Direction::Output, Direction::Input, Direction::Weight];

fn geometry(xs: [usize; 4], out_channels: usize, padding: [[usize; 2]; 2]) -> Geometry {
    let params = Conv2dParams { padding, ..Default::default() };
    Geometry::conv("test", &xs, &[out_channels, xs[1], 3, 3], &params).unwrap()
}

/// Input, output, weight, a bias for the output, a bias for the input.
fn operands(g: &Geometry) -> [Vec<f64>; 5] {
    let lens = [
        g.batch * g.in_channels * g.input_plane(),
        g.batch * g.out_channels * g.output_plane(),
        g.out_channels * g.in_channels * 9,
        g.out_channels,
        g.in_channels,
    ];
    let mut seed = 0;
    lens.map(|len| {
        seed += 1;
        flat(&values(len, seed).unwrap())
    })
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

fn by_winograd<T: Element>(g: &Geometry, direction: Direction, operands: [&[T]; 5]) -> Vec<T> {
    let [xs, ys, weight, bias, input_bias] = operands;
    match direction {
        Direction::Output => winograd::output(g, xs, weight, Some(bias)),
        Direction::Input => winograd::input_gradient(g, ys, weight, Some(input_bias)),
        Direction::Weight => winograd::weight_gradient(g, xs, ys),
    }
}

fn by_tiles<T: Element, K: Tile<M, A>, const M: usize, const A: usize>(
    g: &Geometry,
    direction: Direction,
    [xs, ys, weight, bias, input_bias]: [&[T]; 5],
) -> Vec<T> {
    match direction {
        Direction::Output => winograd::output_by::<T, K, M, A>(g, xs, weight, Some(bias)),
        Direction::Input => winograd::input_gradient_by::<T, K, M, A>(g, ys, weight, Some(input_bias)),
        Direction::Weight => winograd::weight_gradient_by::<T, K, M, A>(g, xs, ys),
    }
}

fn by_columns(g: &Geometry, direction: Direction, [xs, ys, weight, bias, input_bias]: [&[f64]; 5]) -> Vec<f64> {
    match direction {
        Direction::Output => dense::output(g, xs, weight, Some(bias)),
        Direction::Input => dense::input_gradient(g, ys, weight, Some(input_bias)),
        Direction::Weight => dense::weight_gradient(g, xs, ys),
    }
}

/// The largest difference relative to the largest expected value.
fn error(got: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let error = got.zip(expected).fold(0.0, |error: f64, (got, expected)| error.max((got - expected).abs()));
    if error == 0.0 { 0.0 } else { error / largest }
}

fn assert_agrees(g: &Geometry) {
    let operands = operands(g);
    for direction in [Direction::Output, Direction::Input, Direction::Weight] {
        let expected = by_columns(g, direction, operands.each_ref().map(Vec::as_slice));
        assert_tiles_agree::<Two, 2, 4>(g, direction, &operands, &expected);
        assert_tiles_agree::<Four, 4, 6>(g, direction, &operands, &expected);
    }
}

fn assert_tiles_agree<K: Tile<M, A>, const M: usize, const A: usize>(
    g: &Geometry,
    direction: Direction,
    operands: &[Vec<f64>; 5],
    expected: &[f64],
) {
    let got = by_tiles::<f64, K, M, A>(g, direction, operands.each_ref().map(Vec::as_slice));
    assert_eq!(got.len(), expected.len());
    let wide = error(got.into_iter(), expected);
    assert!(wide <= CLOSE_F64, "{M} x {M}, {direction:?} in f64: error {wide} for {g:?}");
    let operands = operands.each_ref().map(|values| narrow(values));
    let got = by_tiles::<f32, K, M, A>(g, direction, operands.each_ref().map(Vec::as_slice));
    let narrow = error(got.iter().map(|&x| x as f64), expected);
    assert!(narrow <= CLOSE_F32, "{M} x {M}, {direction:?} in f32: error {narrow} for {g:?}");
}

/// Numbers below a bound, the same ones every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn agrees_with_columns_on_random_sizes() {
    let mut draw = Draw(5);
    let mut tried = 0;
    while tried < 100 {
        let padding = [0, 1].map(|_| [draw.below(3), draw.below(3)]);
        let size = [0, 1].map(|axis: usize| (1 + draw.below(13), padding[axis]));
        if size.iter().all(|(size, [before, after])| size + before + after >= 3) {
            let xs = [1 + draw.below(6), 1 + draw.below(40), size[0].0, size[1].0];
            assert_agrees(&geometry(xs, 1 + draw.below(40), padding));
            tried += 1;
        }
    }
}

/// Several blocks of several images, several bands of one image, many channels, more padding than kernel.
#[test]
fn agrees_with_columns_on_chosen_sizes() {
    let same = [[1, 1]; 2];
    for (xs, out_channels, padding) in [
        ([35, 20, 7, 6], 17, same),
        ([3, 16, 41, 23], 33, same),
        ([1, 24, 60, 50], 16, [[2, 0], [0, 1]]),
        ([4, 128, 16, 16], 130, same),
        ([16, 512, 4, 4], 512, same),
        ([2, 5, 4, 7], 6, [[3, 4], [6, 3]]),
        ([2, 5, 1, 1], 6, [[5, 5], [3, 7]]),
    ] {
        assert_agrees(&geometry(xs, out_channels, padding));
    }
}

#[test]
fn empty_batch_gives_zeros() {
    let g = geometry([0, 16, 8, 8], 16, [[1, 1]; 2]);
    assert!(winograd::output::<f32>(&g, &[], &[1.0; 16 * 16 * 9], None).is_empty());
    assert!(winograd::input_gradient::<f32>(&g, &[], &[1.0; 16 * 16 * 9], None).is_empty());
    assert_eq!(winograd::weight_gradient::<f32>(&g, &[], &[]), vec![0.0; 16 * 16 * 9]);
}

/// What a thread's scratch memory holds from before must not reach a result.
#[test]
fn scratch_memory_may_hold_anything() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let large = geometry([4, 40, 20, 20], 40, [[1, 1]; 2]);
        let nans = operands(&large).map(|values| vec![f64::NAN; values.len()]);
        for direction in DIRECTIONS {
            assert!(by_winograd(&large, direction, nans.each_ref().map(Vec::as_slice)).iter().all(|x| x.is_nan()));
            assert_agrees(&geometry([3, 17, 9, 7], 18, [[1, 1]; 2]));
        }
    });
}

/// The first shape takes tiles of 2 x 2, the second one those of 4 x 4.
#[test]
fn gradients_of_served_convolutions() {
    for (xs, padding, four) in [([1, 16, 13, 13], [[1, 2], [0, 2]], false), ([8, 16, 7, 7], [[1, 1], [1, 1]], true)] {
        let weight = [16, 16, 3, 3];
        let params = Conv2dParams { padding, ..Default::default() };
        let g = Geometry::conv("test", &xs, &weight, &params).unwrap();
        for direction in DIRECTIONS {
            assert!(winograd::serves(&g, direction) && winograd::prefers_four(&g, direction) == four);
        }
        let inputs = [values(&xs[..], 1).unwrap(), values(&weight[..], 2).unwrap(), values(16, 3).unwrap()];
        check_gradients(&inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), &params)).unwrap();
    }
}

#[test]
fn serves_what_it_computes() {
    let (xs, weight) = ([4, 32, 16, 16], [32, 32, 3, 3]);
    let base = Conv2dParams { padding: [[1, 1]; 2], ..Default::default() };
    let serves = |xs: [usize; 4], weight: [usize; 4], params: Conv2dParams| {
        let g = Geometry::conv("test", &xs, &weight, &params).unwrap();
        DIRECTIONS.map(|direction| winograd::serves(&g, direction))
    };
    assert_eq!(serves(xs, weight, base), [true; 3]);
    assert_eq!(serves([2, 32, 8, 8], weight, base), [false, true, true]);
    assert_eq!(serves([1, 32, 8, 8], weight, base), [false; 3]);
    assert_eq!(serves([4, 8, 16, 16], [32, 8, 3, 3], base), [false; 3]);
    assert_eq!(serves([4, 32, 1, 64], weight, base), [false; 3]);
    assert_eq!(serves(xs, [32, 32, 3, 1], base), [false; 3]);
    assert_eq!(serves(xs, [32, 32, 5, 5], base), [false; 3]);
    assert_eq!(serves(xs, weight, Conv2dParams { stride: [1, 2], ..base }), [false; 3]);
    assert_eq!(serves(xs, weight, Conv2dParams { dilation: [2, 1], ..base }), [false; 3]);
    assert_eq!(serves(xs, [32, 16, 3, 3], Conv2dParams { groups: 2, ..base }), [false; 3]);
}

#[test]
fn same_bits_for_any_number_of_threads() {
    for (xs, out_channels) in
        [([35, 20, 7, 6], 17), ([1, 128, 32, 32], 64), ([9, 16, 30, 40], 32), ([4, 64, 14, 14], 64)]
    {
        let g = geometry(xs, out_channels, [[1, 1]; 2]);
        let operands = operands(&g).map(|values| narrow(&values));
        let with_threads = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let run = |direction| by_winograd(&g, direction, operands.each_ref().map(Vec::as_slice));
            pool.install(|| DIRECTIONS.map(run))
        };
        assert_eq!(with_threads(1), with_threads(2));
    }
}
