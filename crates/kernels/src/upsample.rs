//! Resampling of images to another size, with PyTorch's index rules.

use candle_core::Tensor;

use crate::Result;
use crate::pool::separable::{Axis, Taps, separable};

/// Resizes by repeating the nearest element, as PyTorch's `interpolate(mode="nearest")`.
///
/// `ys[n, c, y, x] = xs[n, c, floor(y · H / H'), floor(x · W / W')]`, with the ratio rounded to f32 as PyTorch does.
///
/// # Shapes
/// `xs` (N, C, H, W) to (N, C, `out_h`, `out_w`), larger or smaller.
///
/// # Errors
/// Where `xs` has not four dimensions, or a size is 0.
pub fn upsample_nearest2d(xs: &Tensor, out_h: usize, out_w: usize) -> Result<Tensor> {
    let (height, width) = sizes("upsample_nearest2d", xs, out_h, out_w)?;
    separable(xs, nearest_axis(height, out_h), nearest_axis(width, out_w))
}

/// Resizes by linear interpolation along both axes, as PyTorch's `interpolate(mode="bilinear")`.
///
/// Output row y looks at the input at `y · (H - 1) / (H' - 1)` where `align_corners`, else at
/// `max(0, (y + 0.5) · H / H' - 0.5)`, and weighs the two rows around it by their closeness; likewise columns.
///
/// # Shapes
/// `xs` (N, C, H, W) to (N, C, `out_h`, `out_w`), larger or smaller (there is no smoothing when shrinking).
///
/// # Errors
/// Where `xs` has not four dimensions, or a size is 0.
pub fn upsample_bilinear2d(xs: &Tensor, out_h: usize, out_w: usize, align_corners: bool) -> Result<Tensor> {
    let (height, width) = sizes("upsample_bilinear2d", xs, out_h, out_w)?;
    separable(xs, linear_axis(height, out_h, align_corners), linear_axis(width, out_w, align_corners))
}

fn sizes(name: &str, xs: &Tensor, out_h: usize, out_w: usize) -> Result<(usize, usize)> {
    if out_h == 0 || out_w == 0 {
        candle_core::bail!("{name}: expected an output size of at least 1 x 1, got {out_h} x {out_w}");
    }
    match *xs.dims() {
        [_, _, height, width] if height > 0 && width > 0 => Ok((height, width)),
        _ => candle_core::bail!("{name}: expected xs (N, C, H, W) without empty rows or columns, got {:?}", xs.dims()),
    }
}

fn nearest_axis(input: usize, output: usize) -> Axis {
    let scale = input as f32 / output as f32;
    let tap = |i: usize| Taps { start: ((i as f32 * scale) as usize).min(input - 1), weights: vec![1.0] };
    Axis { input, taps: (0..output).map(tap).collect() }
}

fn linear_axis(input: usize, output: usize, align_corners: bool) -> Axis {
    let position = |i: usize| {
        if align_corners {
            i as f64 * ((input - 1) as f64 / (output.max(2) - 1) as f64)
        } else {
            ((i as f64 + 0.5) * (input as f64 / output as f64) - 0.5).max(0.0)
        }
    };
    let taps = |i: usize| {
        let at = position(i);
        let start = (at as usize).min(input - 1);
        let far = at - start as f64;
        let weights = if start + 1 < input { vec![1.0 - far, far] } else { vec![1.0] };
        Taps { start, weights }
    };
    Axis { input, taps: (0..output).map(taps).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{check_gradients, values};

    #[test]
    fn gradients() {
        for (height, width) in [(6, 8), (3, 4), (2, 7), (5, 1)] {
            let xs = [values((2, 2, 3, 4), 1).unwrap()];
            check_gradients(&xs, |t| upsample_nearest2d(&t[0], height, width)).unwrap();
            for align_corners in [false, true] {
                check_gradients(&xs, |t| upsample_bilinear2d(&t[0], height, width, align_corners)).unwrap();
            }
        }
    }

    /// A skip connection: the gradient of the second use adds to that of the first.
    #[test]
    fn gradients_add_up_over_two_uses() {
        let xs = [values((1, 2, 3, 4), 1).unwrap()];
        check_gradients(&xs, |t| upsample_nearest2d(&t[0], 6, 8)? + upsample_nearest2d(&t[0].sqr()?, 6, 8)?).unwrap();
    }

    #[test]
    fn bilinear_values_of_a_ramp() {
        let xs = Tensor::new(&[[[[0f64, 4.0]]]], &candle_core::Device::Cpu).unwrap();
        let row = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        // At (x + 0.5) / 2 - 0.5 = -0.25 (cut to 0), 0.25, 0.75, 1.25 (beyond the last).
        assert_eq!(row(upsample_bilinear2d(&xs, 1, 4, false).unwrap()), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(row(upsample_bilinear2d(&xs, 1, 5, true).unwrap()), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(row(upsample_nearest2d(&xs, 1, 3).unwrap()), [0.0, 0.0, 4.0]);
    }

    #[test]
    fn errors_say_what_was_expected_and_what_came() {
        let xs = values((1, 1, 2, 2), 1).unwrap();
        let zero = upsample_nearest2d(&xs, 0, 2).unwrap_err().to_string();
        assert!(zero.contains("expected an output size of at least 1 x 1, got 0 x 2"), "{zero}");
        let rank = upsample_bilinear2d(&xs.get(0).unwrap(), 2, 2, false).unwrap_err().to_string();
        assert!(rank.contains("expected xs (N, C, H, W)") && rank.contains("[1, 2, 2]"), "{rank}");
    }
}
