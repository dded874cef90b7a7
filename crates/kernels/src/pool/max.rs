//! Max pooling, which remembers where each maximum came from.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::{Pool1dParams, Pool2dParams, Windows, as_image, dims4};
use crate::Result;
use crate::cpu::{
    Element, apply1, by_float, is_fused, of_nothing, output, outputs_inside, simd, tensor, values, with_values,
    zeros_in_chunks,
};

/// The largest element of each window, as PyTorch's `max_pool2d`.
///
/// The gradient goes to the first of equal maxima, in row-major order. Padding never wins. On the CPU a NaN in a window
/// is its maximum; among several the last.
///
/// # Shapes
/// `xs` (N, C, H, W) to (N, C, H', W') with `H' = (H + 2 · padding - kernel) / stride + 1`, rounded down, or up with
/// `ceil_mode` unless the last window would begin in the padding after the input; likewise W'.
///
/// # Errors
/// Where `xs` has not four dimensions, kernel or stride is 0, the padding exceeds half the kernel, or the kernel is
/// larger than the padded input.
pub fn max_pool2d(xs: &Tensor, params: &Pool2dParams) -> Result<Tensor> {
    let windows = max_windows("max_pool2d", xs, params)?;
    if is_fused(xs) {
        apply1(&xs.contiguous()?, MaxPool { windows, sources: OnceLock::new() })
    } else {
        max_pool2d_composed(xs, &windows)
    }
}

/// The largest element of each window of a sequence, as PyTorch's `max_pool1d`; see [`max_pool2d`].
///
/// # Shapes
/// `xs` (N, C, L) to (N, C, L').
///
/// # Errors
/// As [`max_pool2d`], for three dimensions.
pub fn max_pool1d(xs: &Tensor, params: &Pool1dParams) -> Result<Tensor> {
    as_image("max_pool1d", xs, |xs| max_pool2d(xs, &params.as_2d()))
}

fn max_windows(name: &str, xs: &Tensor, params: &Pool2dParams) -> Result<[Windows; 2]> {
    let [_, _, height, width] = dims4(name, xs)?;
    max_windows_of(name, [height, width], params)
}

/// The windows over planes of `size`.
pub(crate) fn max_windows_of(name: &str, size: [usize; 2], params: &Pool2dParams) -> Result<[Windows; 2]> {
    let [height, width] = size;
    // Sources are kept as u32.
    if height.checked_mul(width).is_none_or(|plane| plane > u32::MAX as usize) {
        candle_core::bail!("{name}: expected planes of at most {} elements, got {height} x {width}", u32::MAX);
    }
    Ok([Windows::new(name, height, params, 0)?, Windows::new(name, width, params, 1)?])
}

struct MaxPool {
    windows: [Windows; 2],
    /// Where in its plane each maximum was found.
    sources: OnceLock<Vec<u32>>,
}

/// The maxima of all planes, and where in its plane each was found.
pub(crate) fn max_forward<T: Element>(windows: &[Windows; 2], xs: &[T]) -> (Vec<T>, Vec<u32>) {
    let [rows, columns] = windows;
    let (input, output) = (rows.input * columns.input, rows.output * columns.output);
    let mut ys = vec![T::zero(); xs.len() / input * output];
    let mut sources = vec![0u32; ys.len()];
    let results = ys.par_chunks_mut(output).zip(sources.par_chunks_mut(output));
    results.zip(xs.par_chunks(input)).for_each(|((ys, sources), xs)| {
        simd(
            #[inline(always)]
            || max_plane(rows, columns, xs, ys, sources),
        );
    });
    (ys, sources)
}

/// Adds each gradient to the element of the plane `dx` that it came from.
pub(crate) fn max_backward_plane<T: Element>(grad: &[T], sources: &[u32], dx: &mut [T]) {
    for (&grad, &source) in grad.iter().zip(sources) {
        dx[source as usize] += grad;
    }
}

impl MaxPool {
    fn backward<T: Element>(&self, grad: &[T], sources: &[u32]) -> Vec<T> {
        let [rows, columns] = &self.windows;
        let (input, output) = (rows.input * columns.input, rows.output * columns.output);
        zeros_in_chunks(grad.len() / output * input, input, |i, dx| {
            max_backward_plane(&grad[i * output..][..output], &sources[i * output..][..output], dx);
        })
    }
}

/// The maxima of one plane and where they are: each tap of the window is compared for a whole output row at once, with
/// selects rather than branches, since which element wins is unpredictable.
#[inline(always)]
fn max_plane<T: Element>(rows: &Windows, columns: &Windows, xs: &[T], ys: &mut [T], sources: &mut [u32]) {
    if rows.are_pairs() && columns.are_pairs() {
        return max_pairs(columns, xs, ys, sources);
    }
    let (width, stride) = (columns.input, columns.stride);
    let lines = ys.chunks_exact_mut(columns.output).zip(sources.chunks_exact_mut(columns.output));
    for (oy, (ys, sources)) in lines.enumerate() {
        let window = rows.range(oy);
        // Where all of a window is -inf, its first element is the source.
        ys.fill(T::from_f64(f64::NEG_INFINITY));
        for (ox, source) in sources.iter_mut().enumerate() {
            *source = (window.start * width + columns.range(ox).start) as u32;
        }
        for row in window {
            for kx in 0..columns.kernel {
                let (inside, x) = outputs_inside(columns.output, stride, kx, columns.padding, width);
                let at = row * width + x;
                let (ys, sources) = (&mut ys[inside.clone()], &mut sources[inside]);
                match stride {
                    _ if ys.is_empty() => {}
                    1 => keep_larger(ys, sources, xs[at..].iter(), at, 1),
                    _ => keep_larger(ys, sources, xs[at..].iter().step_by(stride), at, stride),
                }
            }
        }
    }
}

/// [`max_plane`] for windows of 2 x 2 side by side, the usual ones: one pass over the plane.
#[inline(always)]
fn max_pairs<T: Element>(columns: &Windows, xs: &[T], ys: &mut [T], sources: &mut [u32]) {
    let (width, output) = (columns.input, columns.output);
    let lines = ys.chunks_exact_mut(output).zip(sources.chunks_exact_mut(output));
    for ((ys, sources), xs) in lines.zip(xs.chunks(2 * width)) {
        let (top, bottom) = (xs[..width].as_chunks::<2>().0, xs[width..2 * width].as_chunks::<2>().0);
        let pairs = top.iter().zip(bottom);
        for ((y, source), (&[a, b], &[c, d])) in ys.iter_mut().zip(sources.iter_mut()).zip(pairs) {
            let (mut largest, mut place) = (a, 0);
            for (x, at) in [(b, 1), (c, width as u32), (d, width as u32 + 1)] {
                let wins = (x > largest) | x.is_nan();
                largest = if wins { x } else { largest };
                place = if wins { at } else { place };
            }
            (*y, *source) = (largest, place);
        }
    }
    // The windows' own places, apart from the loop above, which then has elements of one size alone.
    for (oy, sources) in sources.chunks_exact_mut(output).enumerate() {
        let start = (2 * oy * width) as u32;
        sources.iter_mut().enumerate().for_each(|(ox, source)| *source += start + 2 * ox as u32);
    }
}

/// Replaces each maximum that its element of `xs` exceeds; `at` is the first element's position, `stride` the step.
#[inline(always)]
fn keep_larger<'a, T: Element>(
    maxima: &mut [T],
    sources: &mut [u32],
    xs: impl Iterator<Item = &'a T>,
    at: usize,
    stride: usize,
) {
    for (i, ((largest, source), &x)) in maxima.iter_mut().zip(sources).zip(xs).enumerate() {
        let wins = (x > *largest) | x.is_nan();
        *largest = if wins { x } else { *largest };
        *source = if wins { (at + i * stride) as u32 } else { *source };
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, _, _) = layout.shape().dims4()?;
        by_float!("max_pool2d", storage.dtype(), T => {
            let (ys, sources) = max_forward::<T>(&self.windows, &values(storage, layout)?);
            // An op runs forward once; were it run again, it would find the same.
            self.sources.get_or_init(|| sources);
            Ok(output(ys, (n, c, self.windows[0].output, self.windows[1].output)))
        })
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(sources) = self.sources.get() else {
            candle_core::bail!("max_pool2d: backward before forward");
        };
        by_float!("max_pool2d", grad.dtype(), T => {
            with_values([grad], |[grad]| tensor(self.backward::<T>(grad, sources), xs.shape()).map(Some))
        })
    }
}

/// The same from Candle's operations: find each maximum without a gradient, then gather it with one.
fn max_pool2d_composed(xs: &Tensor, windows: &[Windows; 2]) -> Result<Tensor> {
    let [rows, columns] = windows;
    let (n, c, _, _) = xs.dims4()?;
    if n * c == 0 {
        return of_nothing((n, c, rows.output, columns.output), &[xs]);
    }
    let (taps, outputs) = (rows.kernel * columns.kernel, rows.output * columns.output);
    let table = window_table(rows, columns);
    let table = Tensor::from_vec(table, (taps, outputs), xs.device())?;
    let xs = xs.reshape((n * c, rows.input * columns.input))?;
    let seen = xs.detach().index_select(&table.flatten_all()?, 1)?;
    let infinity = seen.ones_like()?.affine(f64::INFINITY, 0.0)?;
    let seen = seen.ne(&seen)?.where_cond(&infinity, &seen)?; // NaN wins
    let winner = seen.reshape((n * c, taps, outputs))?.argmax(1)?;
    let sources = table.gather(&winner.contiguous()?, 0)?;
    xs.contiguous()?.gather(&sources, 1)?.reshape((n, c, rows.output, columns.output))
}

/// The element under each tap of each window, (taps, outputs). A tap in the padding repeats the window's nearest
/// element, which changes no maximum.
fn window_table(rows: &Windows, columns: &Windows) -> Vec<u32> {
    let position = |windows: &Windows, index: usize, tap: usize| {
        let range = windows.range(index);
        (index * windows.stride + tap).saturating_sub(windows.padding).clamp(range.start, range.end - 1)
    };
    let mut table = Vec::with_capacity(rows.kernel * columns.kernel * rows.output * columns.output);
    for ky in 0..rows.kernel {
        for kx in 0..columns.kernel {
            for oy in 0..rows.output {
                let row = position(rows, oy, ky) * columns.input;
                table.extend((0..columns.output).map(|ox| (row + position(columns, ox, kx)) as u32));
            }
        }
    }
    table
}

#[cfg(test)]
pub(super) fn composed_for_test(xs: &Tensor, params: &Pool2dParams) -> Result<Tensor> {
    max_pool2d_composed(xs, &max_windows("test", xs, params)?)
}
