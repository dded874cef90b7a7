//! What the elementwise and row-wise CPU kernels share: reading storages, fixed chunking, run-time SIMD dispatch.

use std::borrow::Cow;

use candle_core::{CpuStorage, DType, Device, Layout, Shape, Storage, Tensor, WithDType};
use rayon::prelude::*;

use crate::Result;

/// Elements a task works on. It depends on nothing, so results do not depend on the number of threads.
pub(crate) const CHUNK: usize = 1 << 14;

/// Runs `$body` with `$T` as the float type of `$dtype`, or fails naming `$op`.
macro_rules! by_float {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("{}: expected f32 or f64, got {other:?}", $op),
        }
    };
}
pub(crate) use by_float;

/// Whether the fused kernels apply: a CPU tensor of f32 or f64.
pub(crate) fn is_fused(tensor: &Tensor) -> bool {
    matches!(tensor.device(), Device::Cpu) && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// The values that `layout` sees of `storage`, in order; copied only where they are not contiguous.
pub(crate) fn values<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [T]>> {
    let all = storage.as_slice::<T>()?;
    Ok(match layout.contiguous_offsets() {
        Some((start, end)) => Cow::Borrowed(&all[start..end]),
        None => Cow::Owned(gather(all, layout)),
    })
}

/// The values of a strided view, row by row of its last dimension.
fn gather<T: WithDType>(all: &[T], layout: &Layout) -> Vec<T> {
    let (Some((&row_len, dims)), Some((&step, strides))) = (layout.dims().split_last(), layout.stride().split_last())
    else {
        return vec![all[layout.start_offset()]];
    };
    let mut out = vec![T::zero(); layout.shape().elem_count()];
    rows(&mut out, row_len, |mut row, out| {
        let mut offset = layout.start_offset();
        for (&dim, &stride) in dims.iter().zip(strides).rev() {
            offset += row % dim * stride;
            row /= dim;
        }
        out.iter_mut().enumerate().for_each(|(i, out)| *out = all[offset + i * step]);
    });
    out
}

/// Runs `f` on the values of a CPU tensor.
pub(crate) fn with_values<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(&values(storage, layout)?),
        _ => candle_core::bail!("expected a tensor on the CPU, got one on {:?}", tensor.device()),
    }
}

/// A CPU tensor of `data`.
pub(crate) fn tensor<T: WithDType>(data: Vec<T>, shape: &Shape) -> Result<Tensor> {
    Tensor::from_vec(data, shape.clone(), &Device::Cpu)
}

/// What a custom op's `cpu_fwd` returns.
pub(crate) fn output<T: WithDType>(data: Vec<T>, shape: &Shape) -> (CpuStorage, Shape) {
    (T::to_cpu_storage_owned(data), shape.clone())
}

/// Runs `f` compiled for the widest instruction set of this machine.
pub(crate) fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Splits `out` into chunks of `len` elements and calls `f(chunk number, chunk)` for each, in parallel when it pays.
pub(crate) fn chunks<T: Send>(out: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= 2 * CHUNK {
        out.chunks_mut(len).enumerate().for_each(|(i, chunk)| f(i, chunk));
    } else {
        out.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| f(i, chunk));
    }
}

/// `f` of every element.
pub(crate) fn map<T: WithDType>(xs: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    let mut out = vec![T::zero(); xs.len()];
    chunks(&mut out, CHUNK, |i, out| {
        let xs = &xs[i * CHUNK..][..out.len()];
        simd(|| out.iter_mut().zip(xs).for_each(|(out, &x)| *out = f(x)));
    });
    out
}

/// `f` of every triple of elements; the slices have one length.
pub(crate) fn map3<T: WithDType>(xs: &[T], ys: &[T], zs: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Vec<T> {
    let mut out = vec![T::zero(); xs.len()];
    chunks(&mut out, CHUNK, |i, out| {
        let part = i * CHUNK..i * CHUNK + out.len();
        let (xs, ys, zs) = (&xs[part.clone()], &ys[part.clone()], &zs[part]);
        simd(|| out.iter_mut().zip(xs).zip(ys).zip(zs).for_each(|(((out, &x), &y), &z)| *out = f(x, y, z)));
    });
    out
}

/// How many rows of `row_len` elements make a chunk of about [`CHUNK`] elements.
pub(crate) fn rows_per_chunk(row_len: usize) -> usize {
    (CHUNK / row_len.max(1)).max(1)
}

/// Calls `f(row number, row)` for every row of `row_len` elements of `out`, in parallel when it pays.
pub(crate) fn rows<T: Send>(out: &mut [T], row_len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let (row_len, per_chunk) = (row_len.max(1), rows_per_chunk(row_len));
    chunks(out, per_chunk * row_len, |i, chunk| {
        simd(|| chunk.chunks_mut(row_len).enumerate().for_each(|(j, row)| f(i * per_chunk + j, row)));
    });
}

/// Accumulators of [`sum_by`]: independent, so that the compiler can keep them in vector registers.
const LANES: usize = 16;
/// Elements summed in the type itself before they are added to the f64 total.
const BLOCK: usize = 4096;

/// The sum of `f(i)` for `i < len`, in a fixed order: lanes within blocks, blocks in f64.
#[inline(always)]
pub(crate) fn sum_by<T: WithDType>(len: usize, f: impl Fn(usize) -> T) -> f64 {
    let mut total = 0.0;
    let mut start = 0;
    while start < len {
        let end = (start + BLOCK).min(len);
        let mut lanes = [T::zero(); LANES];
        let mut i = start;
        while i + LANES <= end {
            for (k, lane) in lanes.iter_mut().enumerate() {
                *lane += f(i + k);
            }
            i += LANES;
        }
        let rest = (i..end).fold(T::zero(), |sum, i| sum + f(i));
        total += lanes.iter().fold(rest, |sum, &lane| sum + lane).to_f64();
        start = end;
    }
    total
}
