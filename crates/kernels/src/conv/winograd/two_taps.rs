//! The transforms for kernels of two taps.

use super::lanes::Lanes;
use super::tile::{Tile, TransposedTile};
use crate::cpu::Element;

/// F(2, 2) at the points 0 and 1.
///
/// The root mean square error in f32 of a sum over 256 channels is 6e-7 of the outputs' or less in every direction, as that
/// of adding up the products one after another.
pub(in crate::conv) struct F22;

impl Tile<2, 2, 3> for F22 {
    #[inline(always)]
    fn input<T: Element>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 3] {
        [a - b, b, c - b]
    }

    #[inline(always)]
    fn kernel<T: Element>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 3] {
        [a, a + b, b]
    }

    #[inline(always)]
    fn output<T: Element>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 2] {
        [a + b, b + c]
    }

    #[inline(always)]
    fn kernel_transposed<T: Element>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 2] {
        [a + b, b + c]
    }

    #[inline(always)]
    fn output_transposed<T: Element>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 3] {
        [a, a + b, b]
    }
}

impl TransposedTile<2, 2, 3> for F22 {
    #[inline(always)]
    fn input_transposed<T: Element>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 3] {
        [a, b - a - c, c]
    }
}

/// F(3, 2) at the points 0, 1 and -1.
///
/// The root mean square error in f32 of a sum over 256 channels is 5e-7 of the outputs' or less in every direction, that
/// of adding up the products one after another 6e-7.
pub(in crate::conv) struct F32;

impl Tile<3, 2, 4> for F32 {
    #[inline(always)]
    fn input<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 4] {
        [a - c, c + b, c - b, d - b]
    }

    #[inline(always)]
    fn kernel<T: Element>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 4] {
        [a, (a + b) * 0.5, (a - b) * 0.5, b]
    }

    #[inline(always)]
    fn output<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 3] {
        [a + b + c, b - c, b + c + d]
    }

    #[inline(always)]
    fn kernel_transposed<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 2] {
        [a + (b + c) * 0.5, (b - c) * 0.5 + d]
    }

    #[inline(always)]
    fn output_transposed<T: Element>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 4] {
        [a, a + c + b, a + c - b, c]
    }
}

impl TransposedTile<3, 2, 4> for F32 {
    #[inline(always)]
    fn input_transposed<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 4] {
        [a, b - c - d, b + c - a, d]
    }
}

/// F(4, 2) at the points 0, -1, 1/2 and 2.
///
/// The root mean square error in f32 of a sum over 256 channels is 1.2e-6 of the outputs' or less in every direction; with
/// the textbook's points 0, ±1 and 2 it is 1.9e-6.
pub(in crate::conv) struct F42;

impl Tile<4, 2, 5> for F42 {
    #[inline(always)]
    fn input<T: Element>([a, b, c, d, e]: [Lanes<T>; 5]) -> [Lanes<T>; 5] {
        [a - (b + c) * 1.5 + d, b - c * 2.5 + d, d - c - b * 2.0, d + (c - b) * 0.5, b - (c + d) * 1.5 + e]
    }

    #[inline(always)]
    fn kernel<T: Element>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 5] {
        [a, (b - a) * (2.0 / 9.0), (a * 2.0 + b) * (-4.0 / 9.0), (a + b * 2.0) * (1.0 / 9.0), b]
    }

    #[inline(always)]
    fn output<T: Element>([a, b, c, d, e]: [Lanes<T>; 5]) -> [Lanes<T>; 4] {
        [a + b + c + d, c * 0.5 + d * 2.0 - b, b + c * 0.25 + d * 4.0, c * 0.125 + d * 8.0 - b + e]
    }

    #[inline(always)]
    fn kernel_transposed<T: Element>([a, b, c, d, e]: [Lanes<T>; 5]) -> [Lanes<T>; 2] {
        [
            a - b * (2.0 / 9.0) - c * (8.0 / 9.0) + d * (1.0 / 9.0),
            b * (2.0 / 9.0) - c * (4.0 / 9.0) + d * (2.0 / 9.0) + e,
        ]
    }

    #[inline(always)]
    fn output_transposed<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 5] {
        [a, a - b + c - d, a + b * 0.5 + c * 0.25 + d * 0.125, a + b * 2.0 + c * 4.0 + d * 8.0, d]
    }
}

impl TransposedTile<4, 2, 5> for F42 {
    #[inline(always)]
    fn input_transposed<T: Element>([a, b, c, d, e]: [Lanes<T>; 5]) -> [Lanes<T>; 5] {
        [a, b - a * 1.5 - c * 2.0 - d * 0.5 + e, d * 0.5 - a * 1.5 - b * 2.5 - c - e * 1.5, a + b + c + d - e * 1.5, e]
    }
}
