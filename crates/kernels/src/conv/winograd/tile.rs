//! The one-dimensional transforms of minimal filtering F(m, r): `y = Aᵀ [(G g) ⊙ (Bᵀ d)]` for `m` outputs `y`, `m + r - 1`
//! inputs `d` and a kernel `g` of `r` taps, exact as polynomials evaluated at `m + r - 2` points and infinity.

use super::lanes::Lanes;
use crate::cpu::Element;

/// The transforms for `M` outputs from `A` inputs by kernels of `R` taps, and the transposed ones that a weight gradient
/// takes.
pub(in crate::conv) trait Tile<const M: usize, const R: usize, const A: usize> {
    /// Bᵀ d
    fn input<T: Element>(d: [Lanes<T>; A]) -> [Lanes<T>; A];
    /// G g
    fn kernel<T: Element>(g: [Lanes<T>; R]) -> [Lanes<T>; A];
    /// Aᵀ m
    fn output<T: Element>(m: [Lanes<T>; A]) -> [Lanes<T>; M];
    /// Gᵀ m
    fn kernel_transposed<T: Element>(m: [Lanes<T>; A]) -> [Lanes<T>; R];
    /// A y
    fn output_transposed<T: Element>(y: [Lanes<T>; M]) -> [Lanes<T>; A];
}

/// A tile whose input gradient is computed by the transposed algorithm, `d = B [(G g) ⊙ (A y)]`.
pub(in crate::conv) trait TransposedTile<const M: usize, const R: usize, const A: usize>:
    Tile<M, R, A>
{
    /// B m
    fn input_transposed<T: Element>(m: [Lanes<T>; A]) -> [Lanes<T>; A];
}
