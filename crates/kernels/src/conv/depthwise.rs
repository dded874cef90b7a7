//! The three directions where every channel is convolved by itself: sums of shifted planes, without column matrices.

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::cpu::{Element, simd};

/// `ys[n, c] = bias[c] + Σ_taps weight[c, tap] · shifted xs[n, c]`.
pub(super) fn output<T: Element>(g: &Geometry, xs: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let mut ys = vec![T::zero(); g.batch * g.out_channels * g.output_plane()];
    let planes = ys.par_chunks_mut(g.output_plane()).zip(xs.par_chunks(g.input_plane()));
    planes.enumerate().for_each(|(plane, (ys, xs))| {
        let channel = plane % g.in_channels;
        if let Some(bias) = bias {
            ys.fill(bias[channel]);
        }
        let weight = &weight[channel * g.taps()..][..g.taps()];
        simd(
            #[inline(always)]
            || {
                for_each_row(g, |tap, y, x, len| {
                    let (to, from) = (&mut ys[y..y + len], &xs[x..]);
                    add_scaled(to.iter_mut(), from, g.stride[1], weight[tap]);
                });
            },
        );
    });
    ys
}

/// `xs[n, c] = bias[c] + Σ_taps weight[c, tap] · ys[n, c]` shifted back.
pub(super) fn input_gradient<T: Element>(g: &Geometry, ys: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let mut xs = vec![T::zero(); g.batch * g.in_channels * g.input_plane()];
    let planes = xs.par_chunks_mut(g.input_plane()).zip(ys.par_chunks(g.output_plane()));
    planes.enumerate().for_each(|(plane, (xs, ys))| {
        let channel = plane % g.in_channels;
        if let Some(bias) = bias {
            xs.fill(bias[channel]);
        }
        let weight = &weight[channel * g.taps()..][..g.taps()];
        simd(
            #[inline(always)]
            || {
                for_each_row(g, |tap, y, x, len| {
                    let (to, from) = (&mut xs[x..], &ys[y..y + len]);
                    if g.stride[1] == 1 {
                        add_scaled(to[..len].iter_mut(), from, 1, weight[tap]);
                    } else {
                        add_scaled(to.iter_mut().step_by(g.stride[1]), from, 1, weight[tap]);
                    }
                });
            },
        );
    });
    xs
}

/// `weight[c, tap] = Σ_{n, p} ys[n, c, p] · shifted xs[n, c, p]`: a job is a channel.
pub(super) fn weight_gradient<T: Element>(g: &Geometry, xs: &[T], ys: &[T]) -> Vec<T> {
    let mut weight = vec![T::zero(); g.out_channels * g.taps()];
    weight.par_chunks_mut(g.taps()).enumerate().for_each(|(channel, weight)| {
        for image in 0..g.batch {
            let plane = image * g.in_channels + channel;
            let xs = &xs[plane * g.input_plane()..][..g.input_plane()];
            let ys = &ys[plane * g.output_plane()..][..g.output_plane()];
            simd(
                #[inline(always)]
                || {
                    for_each_row(g, |tap, y, x, len| weight[tap] += dot(&ys[y..y + len], &xs[x..], g.stride[1]));
                },
            );
        }
    });
    weight
}

/// Calls `run` with each tap and each row that it contributes to: the tap, the offset of the first output element, the
/// offset of the input element that it meets, and the number of output elements.
#[inline(always)]
fn for_each_row(g: &Geometry, mut run: impl FnMut(usize, usize, usize, usize)) {
    for ky in 0..g.kernel[0] {
        for kx in 0..g.kernel[1] {
            let (inside, x) = g.output_columns(kx);
            if inside.is_empty() {
                continue;
            }
            for oy in 0..g.output[0] {
                if let Some(row) = g.input_row(oy, ky) {
                    let output = oy * g.output[1] + inside.start;
                    run(ky * g.kernel[1] + kx, output, row * g.input[1] + x, inside.len());
                }
            }
        }
    }
}

#[inline(always)]
fn add_scaled<'a, T: Element>(to: impl Iterator<Item = &'a mut T>, from: &[T], stride: usize, scale: T) {
    if stride == 1 {
        for (to, &from) in to.zip(from) {
            *to += scale * from;
        }
    } else {
        for (to, &from) in to.zip(from.iter().step_by(stride)) {
            *to += scale * from;
        }
    }
}

/// `Σ_i ys[i] · xs[i · stride]`, in eight interleaved sums that the compiler turns into vectors.
#[inline(always)]
fn dot<T: Element>(ys: &[T], xs: &[T], stride: usize) -> T {
    const LANES: usize = 8;
    let mut lanes = [T::zero(); LANES];
    let whole = ys.len() - ys.len() % LANES;
    if stride == 1 {
        for (ys, xs) in ys[..whole].chunks_exact(LANES).zip(xs.chunks_exact(LANES)) {
            for lane in 0..LANES {
                lanes[lane] += ys[lane] * xs[lane];
            }
        }
    } else {
        for i in 0..whole {
            lanes[i % LANES] += ys[i] * xs[i * stride];
        }
    }
    let mut sum = T::zero();
    for lane in lanes {
        sum += lane;
    }
    for i in whole..ys.len() {
        sum += ys[i] * xs[i * stride];
    }
    sum
}
