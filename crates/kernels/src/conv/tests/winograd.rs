//! Winograd's algorithm against the products of columns, in every direction.

use crate::conv::op::{Direction, Role};
use crate::conv::winograd::Tiles;
use crate::conv::winograd::three_taps::{F23, F43};
use crate::conv::winograd::tile::{Tile, TransposedTile};
use crate::conv::winograd::two_taps::{F22, F32, F42};
use crate::conv::{dense, winograd};
use crate::cpu::Element;

use super::*;

/// Largest accepted difference from the f64 result, relative to its largest value: f32 keeps 6e-8 of a sum's terms, and
/// the transforms make terms a few times as large.
const CLOSE_F32: f64 = 1e-5;
/// The same for f64, which keeps 1e-16.
const CLOSE_F64: f64 = 1e-12;

pub(super) const DIRECTIONS: [Direction; 3] = [Direction::Output, Direction::Input, Direction::Weight];

fn geometry(xs: [usize; 4], out_channels: usize, padding: [[usize; 2]; 2]) -> Geometry {
    geometry_of(xs, out_channels, (3, 1), padding)
}

pub(super) fn geometry_of(
    xs: [usize; 4],
    out_channels: usize,
    (kernel, stride): (usize, usize),
    padding: [[usize; 2]; 2],
) -> Geometry {
    let params = Conv2dParams { padding, stride: [stride; 2], ..Default::default() };
    Geometry::conv("test", &xs, &[out_channels, xs[1], kernel, kernel], &params).unwrap()
}

/// Input, output, weight, a bias for the output, a bias for the input.
fn operands(g: &Geometry) -> [Vec<f64>; 5] {
    let lens = [
        g.batch * g.in_channels * g.input_plane(),
        g.batch * g.out_channels * g.output_plane(),
        g.out_channels * g.in_channels * g.taps(),
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

fn by_winograd<T: Element>(g: &Geometry, tiles: Tiles, direction: Direction, operands: [&[T]; 5]) -> Vec<T> {
    let [xs, ys, weight, bias, input_bias] = operands;
    match direction {
        Direction::Output => winograd::output(g, tiles, xs, weight, Some(bias)),
        Direction::Input => winograd::input_gradient(g, tiles, ys, weight, Some(input_bias)),
        Direction::Weight => winograd::weight_gradient(g, tiles, xs, ys),
    }
}

fn by_tiles<T: Element, K: Tile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    g: &Geometry,
    direction: Direction,
    [xs, ys, weight, bias, input_bias]: [&[T]; 5],
) -> Vec<T> {
    match direction {
        Direction::Output => winograd::output_by::<T, K, M, R, A>(g, xs, weight, Some(bias)),
        Direction::Input => winograd::input_gradient_by::<T, K, M, R, A>(g, ys, weight, Some(input_bias)),
        Direction::Weight => winograd::weight_gradient_by::<T, K, M, R, A>(g, xs, ys),
    }
}

fn by_phases<T: Element, K: TransposedTile<M, R, A>, const M: usize, const R: usize, const A: usize>(
    g: &Geometry,
    direction: Direction,
    operands: [&[T]; 5],
) -> Vec<T> {
    let [_, ys, weight, _, input_bias] = operands;
    match direction {
        Direction::Input => winograd::phase_gradient_by::<T, K, M, R, A>(g, ys, weight, Some(input_bias)),
        _ => by_tiles::<T, K, M, R, A>(g, direction, operands),
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

pub(super) fn assert_agrees(g: &Geometry) {
    for direction in DIRECTIONS {
        match (g.kernel[0], g.stride[0]) {
            (3, _) => {
                assert_agrees_by(g, direction, by_tiles::<f64, F23, 2, 3, 4>, by_tiles::<f32, F23, 2, 3, 4>);
                assert_agrees_by(g, direction, by_tiles::<f64, F43, 4, 3, 6>, by_tiles::<f32, F43, 4, 3, 6>);
            }
            (_, 1) => {
                assert_agrees_by(g, direction, by_tiles::<f64, F22, 2, 2, 3>, by_tiles::<f32, F22, 2, 2, 3>);
                assert_agrees_by(g, direction, by_tiles::<f64, F32, 3, 2, 4>, by_tiles::<f32, F32, 3, 2, 4>);
                assert_agrees_by(g, direction, by_tiles::<f64, F42, 4, 2, 5>, by_tiles::<f32, F42, 4, 2, 5>);
            }
            _ => {
                assert_agrees_by(g, direction, by_phases::<f64, F22, 2, 2, 3>, by_phases::<f32, F22, 2, 2, 3>);
                assert_agrees_by(g, direction, by_phases::<f64, F32, 3, 2, 4>, by_phases::<f32, F32, 3, 2, 4>);
                assert_agrees_by(g, direction, by_phases::<f64, F42, 4, 2, 5>, by_phases::<f32, F42, 4, 2, 5>);
            }
        }
    }
}

fn assert_agrees_by(
    g: &Geometry,
    direction: Direction,
    in_f64: impl Fn(&Geometry, Direction, [&[f64]; 5]) -> Vec<f64>,
    in_f32: impl Fn(&Geometry, Direction, [&[f32]; 5]) -> Vec<f32>,
) {
    let operands = operands(g);
    let expected = by_columns(g, direction, operands.each_ref().map(Vec::as_slice));
    let got = in_f64(g, direction, operands.each_ref().map(Vec::as_slice));
    assert_eq!(got.len(), expected.len());
    let wide = error(got.into_iter(), &expected);
    assert!(wide <= CLOSE_F64, "{direction:?} in f64: error {wide} for {g:?}");
    let operands = operands.each_ref().map(|values| narrow(values));
    let got = in_f32(g, direction, operands.each_ref().map(Vec::as_slice));
    let narrow = error(got.iter().map(|&x| x as f64), &expected);
    assert!(narrow <= CLOSE_F32, "{direction:?} in f32: error {narrow} for {g:?}");
}

/// Numbers below a bound, the same ones every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

/// `count` convolutions of sizes drawn at random.
fn assert_agrees_on_random_sizes(shape: (usize, usize), count: usize) {
    let mut draw = Draw(5);
    let mut tried = 0;
    while tried < count {
        let padding = [0, 1].map(|_| [draw.below(3), draw.below(3)]);
        let size = [0, 1].map(|axis: usize| (1 + draw.below(13 * shape.1), padding[axis]));
        if size.iter().all(|(size, [before, after])| size + before + after >= shape.0) {
            let xs = [1 + draw.below(6), 1 + draw.below(40), size[0].0, size[1].0];
            assert_agrees(&geometry_of(xs, 1 + draw.below(40), shape, padding));
            tried += 1;
        }
    }
}

#[test]
fn agrees_with_columns_on_random_sizes() {
    assert_agrees_on_random_sizes((3, 1), 100);
    assert_agrees_on_random_sizes((2, 1), 30);
    assert_agrees_on_random_sizes((4, 2), 100);
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
    for (shape, taps, tiles) in [((3, 1), 9, Tiles::F23), ((2, 1), 4, Tiles::F32), ((4, 2), 16, Tiles::F42)] {
        let g = geometry_of([0, 16, 8, 8], 16, shape, [[1, 1]; 2]);
        let weight = vec![1.0; 16 * 16 * taps];
        assert!(winograd::output::<f32>(&g, tiles, &[], &weight, None).is_empty());
        assert!(winograd::input_gradient::<f32>(&g, tiles, &[], &weight, None).is_empty());
        assert_eq!(winograd::weight_gradient::<f32>(&g, tiles, &[], &[]), vec![0.0; 16 * 16 * taps]);
    }
}

/// What a thread's scratch memory holds from before must not reach a result.
#[test]
fn scratch_memory_may_hold_anything() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let large = geometry([4, 40, 20, 20], 40, [[1, 1]; 2]);
        let nans = operands(&large).map(|values| vec![f64::NAN; values.len()]);
        for direction in DIRECTIONS {
            let operands = nans.each_ref().map(Vec::as_slice);
            assert!(by_winograd(&large, Tiles::F23, direction, operands).iter().all(|x| x.is_nan()));
            for shape in [(3, 1), (2, 1), (4, 2)] {
                assert_agrees(&geometry_of([3, 17, 9, 7], 18, shape, [[1, 1]; 2]));
            }
        }
    });
}

/// The first shape takes tiles of 2 x 2, the second one those of 4 x 4; for other kernels see [`super::phases`].
#[test]
fn gradients_of_served_convolutions() {
    for (xs, padding, tiles) in
        [([1, 16, 13, 13], [[1, 2], [0, 2]], Tiles::F23), ([8, 16, 7, 7], [[1, 1], [1, 1]], Tiles::F43)]
    {
        let weight = [16, 16, 3, 3];
        let params = Conv2dParams { padding, ..Default::default() };
        let g = Geometry::conv("test", &xs, &weight, &params).unwrap();
        for direction in DIRECTIONS {
            assert_eq!(winograd::choose(&g, direction, Role::Gradient), Some(tiles), "{direction:?}");
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
        DIRECTIONS.map(|direction| winograd::choose(&g, direction, Role::Gradient).is_some())
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
    let halve = Conv2dParams { stride: [2, 2], ..base };
    assert_eq!(serves(xs, [32, 32, 4, 4], halve), [true; 3]);
    assert_eq!(serves(xs, [8, 32, 4, 4], halve), [false, true, true]);
    assert_eq!(serves([1, 32, 12, 12], [32, 32, 4, 4], halve), [false; 3]);
    assert_eq!(serves([64, 32, 4, 4], [32, 32, 4, 4], halve), [true; 3]);
    // Too many kernels for so few tiles.
    assert_eq!(serves([64, 256, 4, 4], [512, 256, 4, 4], halve), [false, true, true]);
    // One output: a tile has no fewer products.
    assert_eq!(serves([512, 32, 2, 2], [32, 32, 4, 4], halve), [false; 3]);
    assert_eq!(serves(xs, [32, 32, 4, 4], base), [false; 3]);
    assert_eq!(serves(xs, [32, 32, 2, 2], halve), [false; 3]);
    assert_eq!(serves(xs, [32, 32, 4, 4], Conv2dParams { stride: [2, 1], ..base }), [false; 3]);
    assert_eq!(serves(xs, [32, 16, 4, 4], Conv2dParams { groups: 2, ..halve }), [false; 3]);
}

#[test]
fn same_bits_for_any_number_of_threads() {
    for (xs, out_channels, shape, tiles) in [
        ([35, 20, 7, 6], 17, (3, 1), Tiles::F43),
        ([1, 128, 32, 32], 64, (3, 1), Tiles::F23),
        ([9, 16, 30, 40], 32, (3, 1), Tiles::F43),
        ([4, 64, 14, 14], 64, (3, 1), Tiles::F23),
        ([33, 20, 9, 8], 17, (4, 2), Tiles::F32),
        ([1, 64, 64, 64], 64, (4, 2), Tiles::F22),
        ([64, 64, 8, 8], 128, (4, 2), Tiles::F42),
    ] {
        let g = geometry_of(xs, out_channels, shape, [[1, 1]; 2]);
        let operands = operands(&g).map(|values| narrow(&values));
        let with_threads = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let run = |direction| by_winograd(&g, tiles, direction, operands.each_ref().map(Vec::as_slice));
            pool.install(|| DIRECTIONS.map(run))
        };
        assert_eq!(with_threads(1), with_threads(2));
    }
}
