//! Where the windows of an axis lie.

use std::ops::Range;

/// The outputs `i` of an axis for which `i · stride + shift - padding` lies inside `0..input`, and that position for the
/// first of them.
#[inline(always)]
pub(crate) fn outputs_inside(
    output: usize,
    stride: usize,
    shift: usize,
    padding: usize,
    input: usize,
) -> (Range<usize>, usize) {
    let start = padding.saturating_sub(shift).div_ceil(stride).min(output);
    let end = (input + padding).saturating_sub(shift).div_ceil(stride).clamp(start, output);
    (start..end, (start * stride + shift).saturating_sub(padding))
}
