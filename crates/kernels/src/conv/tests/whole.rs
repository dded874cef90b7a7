//! A kernel that covers the whole input, as a product.

use crate::conv::{dense, whole};
use crate::cpu::Element;

use super::*;

fn geometry(batch: usize, channels: usize, size: [usize; 2], out_channels: usize, stride: usize) -> Geometry {
    let params = Conv2dParams { stride: [stride; 2], ..Default::default() };
    let [height, width] = size;
    Geometry::conv("test", &[batch, channels, height, width], &[out_channels, channels, height, width], &params)
        .unwrap()
}

/// Output, input gradient and weight gradient as products and as sums over columns.
fn both_ways<T: Element>(g: &Geometry) -> [(Vec<T>, Vec<T>); 3] {
    let numbers = |len: usize, seed: u32| -> Vec<T> {
        flat(&values(len, seed.into()).unwrap()).into_iter().map(T::from_f64).collect()
    };
    let (xs, ys) = (numbers(g.batch * g.depth(), 1), numbers(g.batch * g.out_channels, 2));
    let weight = numbers(g.out_channels * g.depth(), 3);
    let (bias, input_bias) = (numbers(g.out_channels, 4), numbers(g.in_channels, 5));
    let (bias, input_bias) = (Some(&bias[..]), Some(&input_bias[..]));
    [
        (whole::output(g, &xs, &weight, bias), dense::output(g, &xs, &weight, bias)),
        (whole::input_gradient(g, &ys, &weight, input_bias), dense::input_gradient(g, &ys, &weight, input_bias)),
        (whole::weight_gradient(g, &xs, &ys), dense::weight_gradient(g, &xs, &ys)),
    ]
}

/// The terms are the same: they differ by the rounding of sums of at most 2,048 terms below 1.
#[test]
fn agrees_with_columns() {
    for (batch, channels, size, out_channels, stride) in [
        (64, 128, [4, 4], 1, 1),
        (64, 128, [4, 4], 64, 1),
        (3, 5, [3, 7], 6, 2),
        (1, 1, [1, 1], 1, 1),
        (300, 7, [2, 2], 33, 3),
    ] {
        let g = geometry(batch, channels, size, out_channels, stride);
        assert!(whole::serves(&g));
        for (got, expected) in both_ways::<f64>(&g) {
            assert_eq!(got.len(), expected.len());
            assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-11), "f64: {g:?}");
        }
        for (got, expected) in both_ways::<f32>(&g) {
            assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 2e-4), "f32: {g:?}");
        }
    }
}

#[test]
fn empty_batch_gives_zeros() {
    let g = geometry(0, 3, [2, 2], 5, 1);
    let [(output, _), (input, _), (weight, _)] = both_ways::<f32>(&g);
    assert!(output.is_empty() && input.is_empty());
    assert_eq!(weight, vec![0.0; 5 * 3 * 4]);
}

#[test]
fn serves_what_it_computes() {
    let serves = |xs: [usize; 4], weight: [usize; 4], params: Conv2dParams| {
        whole::serves(&Geometry::conv("test", &xs, &weight, &params).unwrap())
    };
    let base = Conv2dParams::default();
    assert!(serves([2, 4, 3, 5], [6, 4, 3, 5], base));
    assert!(!serves([2, 4, 4, 5], [6, 4, 3, 5], base));
    // One output too, but the last row is not met.
    assert!(!serves([2, 4, 4, 5], [6, 4, 3, 5], Conv2dParams { stride: [2, 2], ..base }));
    assert!(!serves([2, 4, 3, 5], [6, 4, 3, 5], Conv2dParams { padding: [[1, 0], [0, 0]], stride: [9, 9], ..base }));
    assert!(!serves([2, 4, 3, 5], [6, 2, 3, 5], Conv2dParams { groups: 2, ..base }));
}

#[test]
fn gradients_of_both_convolutions() {
    let (params, transposed) = (Conv2dParams::default(), ConvTranspose2dParams::default());
    let inputs = [values((3, 4, 2, 3), 1).unwrap(), values((5, 4, 2, 3), 2).unwrap(), values(5, 3).unwrap()];
    check_gradients(&inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), &params)).unwrap();
    let inputs = [values((3, 4, 1, 1), 1).unwrap(), values((4, 5, 2, 3), 2).unwrap(), values(5, 3).unwrap()];
    check_gradients(&inputs, |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), &transposed)).unwrap();
}
