//! The transforms for kernels of three taps.

use super::lanes::Lanes;
use super::tile::Tile;
use crate::cpu::Element;

/// F(2, 3) at the points 0, 1 and -1.
pub(in crate::conv) struct F23;

impl Tile<2, 3, 4> for F23 {
    #[inline(always)]
    fn input<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 4] {
        [a - c, b + c, c - b, b - d]
    }

    #[inline(always)]
    fn kernel<T: Element>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 4] {
        let (even, odd) = ((a + c) * 0.5, b * 0.5);
        [a, even + odd, even - odd, c]
    }

    #[inline(always)]
    fn output<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 2] {
        [a + b + c, b - c - d]
    }

    #[inline(always)]
    fn kernel_transposed<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 3] {
        let (sum, difference) = ((b + c) * 0.5, (b - c) * 0.5);
        [a + sum, difference, sum + d]
    }

    #[inline(always)]
    fn output_transposed<T: Element>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 4] {
        [a, a + b, a - b, Lanes::zero() - b]
    }
}

/// F(4, 3) at the points 0, ±P and ±Q.
///
/// With the textbook's points ±1 and ±2 the error in f32 of a sum over 512 channels is 1.5e-5 of the largest output;
/// with these it is 3e-6, where adding up the products one after another gives 2e-6.
pub(in crate::conv) struct F43;

const P: f64 = 0.75;
const Q: f64 = 1.5;
const P2: f64 = P * P;
const Q2: f64 = Q * Q;
/// What the kernel's values at ±P and ±Q are divided by: the differences of the points, multiplied.
const AT_P: f64 = 2.0 * P2 * (P2 - Q2);
const AT_Q: f64 = 2.0 * Q2 * (Q2 - P2);

impl Tile<4, 3, 6> for F43 {
    #[inline(always)]
    fn input<T: Element>([a, b, c, d, e, f]: [Lanes<T>; 6]) -> [Lanes<T>; 6] {
        let (even_p, odd_p) = (e - c * Q2, (d - b * Q2) * P);
        let (even_q, odd_q) = (e - c * P2, (d - b * P2) * Q);
        [
            a * (P2 * Q2) - c * (P2 + Q2) + e,
            even_p + odd_p,
            even_p - odd_p,
            even_q + odd_q,
            even_q - odd_q,
            b * (P2 * Q2) - d * (P2 + Q2) + f,
        ]
    }

    #[inline(always)]
    fn kernel<T: Element>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 6] {
        let (even_p, odd_p) = (a * (1.0 / AT_P) + c * (P2 / AT_P), b * (P / AT_P));
        let (even_q, odd_q) = (a * (1.0 / AT_Q) + c * (Q2 / AT_Q), b * (Q / AT_Q));
        [a * (1.0 / (P2 * Q2)), even_p + odd_p, even_p - odd_p, even_q + odd_q, even_q - odd_q, c]
    }

    #[inline(always)]
    fn output<T: Element>([a, b, c, d, e, f]: [Lanes<T>; 6]) -> [Lanes<T>; 4] {
        let (even_p, odd_p, even_q, odd_q) = (b + c, b - c, d + e, d - e);
        [a + even_p + even_q, odd_p * P + odd_q * Q, even_p * P2 + even_q * Q2, odd_p * (P * P2) + odd_q * (Q * Q2) + f]
    }

    #[inline(always)]
    fn kernel_transposed<T: Element>([a, b, c, d, e, f]: [Lanes<T>; 6]) -> [Lanes<T>; 3] {
        let (even_p, odd_p, even_q, odd_q) = (b + c, b - c, d + e, d - e);
        [
            a * (1.0 / (P2 * Q2)) + even_p * (1.0 / AT_P) + even_q * (1.0 / AT_Q),
            odd_p * (P / AT_P) + odd_q * (Q / AT_Q),
            even_p * (P2 / AT_P) + even_q * (Q2 / AT_Q) + f,
        ]
    }

    #[inline(always)]
    fn output_transposed<T: Element>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 6] {
        let (even_p, odd_p) = (a + c * P2, b * P + d * (P * P2));
        let (even_q, odd_q) = (a + c * Q2, b * Q + d * (Q * Q2));
        [a, even_p + odd_p, even_p - odd_p, even_q + odd_q, even_q - odd_q, d]
    }
}
