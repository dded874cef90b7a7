//! Convolution of stride 2 by minimal filtering on phases.

use super::winograd::{DIRECTIONS, assert_agrees, geometry_of};
use super::*;
use crate::conv::op::Role;
use crate::conv::winograd::{self, Tiles};

#[test]
fn phases_agree_with_columns_on_chosen_sizes() {
    let one = [[1, 1]; 2];
    for (xs, out_channels, padding) in [
        ([64, 32, 16, 16], 64, one),
        ([64, 64, 8, 8], 128, one),
        ([3, 16, 81, 47], 33, one),
        ([1, 24, 120, 101], 16, [[2, 0], [0, 1]]),
        ([2, 5, 4, 7], 6, [[3, 4], [6, 3]]),
        ([2, 5, 1, 1], 6, [[5, 5], [3, 8]]),
        ([1, 1, 1, 1], 1, [[30, 30], [31, 30]]),
    ] {
        assert_agrees(&geometry_of(xs, out_channels, (4, 2), padding));
    }
}

/// The convolution is linear in each of its operands, so that the difference along any direction is exact but for the
/// rounding of sums of some 10,000 terms, 1e-12 of them.
fn assert_gradients_along_a_direction(operands: &[Tensor], run: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let loss = |operands: &[Tensor]| {
        let ys = run(operands).unwrap();
        (&ys * values(ys.shape().clone(), 9).unwrap()).unwrap().sum_all().unwrap()
    };
    let vars: Vec<Var> = operands.iter().map(|operand| Var::from_tensor(operand).unwrap()).collect();
    let leaves: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let grads = loss(&leaves).backward().unwrap();
    for (i, operand) in operands.iter().enumerate() {
        let direction = values(operand.shape().clone(), 10).unwrap();
        let at = |sign: f64| {
            let mut moved = operands.to_vec();
            moved[i] = (operand + (&direction * sign).unwrap()).unwrap();
            loss(&moved).to_scalar::<f64>().unwrap()
        };
        let expected = (at(1.0) - at(-1.0)) / 2.0;
        let grad = grads.get(&leaves[i]).unwrap();
        let got = (grad * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert!((got - expected).abs() <= 1e-9 * (1.0 + expected.abs()), "operand {i}: {got}, not {expected}");
    }
}

/// A shape for each kind of tiles: those of the output, and those of the gradients.
#[test]
fn gradients_of_served_convolutions() {
    for (xs, (kernel, stride), padding, tiles) in [
        ([5, 16, 16, 17], (4, 2), [[1, 1], [0, 1]], [Tiles::F22, Tiles::F42]),
        ([8, 16, 12, 13], (4, 2), [[1, 1], [0, 1]], [Tiles::F32, Tiles::F32]),
        ([16, 16, 8, 8], (2, 1), [[1, 0], [1, 0]], [Tiles::F22, Tiles::F42]),
    ] {
        let weight = [16, 16, kernel, kernel];
        let params = Conv2dParams { padding, stride: [stride; 2], ..Default::default() };
        let g = Geometry::conv("test", &xs, &weight, &params).unwrap();
        for direction in DIRECTIONS {
            let got = [Role::Activation, Role::Gradient].map(|role| winograd::choose(&g, direction, role));
            assert_eq!(got, tiles.map(Some), "{direction:?}: {g:?}");
        }
        let operands = [values(&xs[..], 1).unwrap(), values(&weight[..], 2).unwrap(), values(16, 3).unwrap()];
        assert_gradients_along_a_direction(&operands, |t| conv2d(&t[0], &t[1], Some(&t[2]), &params));
    }
}

#[test]
fn gradients_of_served_transposed_convolutions() {
    let params = ConvTranspose2dParams { stride: [2, 2], padding: [1, 1], ..Default::default() };
    let operands = [values((6, 20, 8, 7), 1).unwrap(), values((20, 17, 4, 4), 2).unwrap(), values(17, 3).unwrap()];
    assert_gradients_along_a_direction(&operands, |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), &params));
}
