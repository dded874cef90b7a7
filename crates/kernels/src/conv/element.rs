//! What the kernels of convolution, pooling, resampling and batch normalisation share: element types and storage.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{CpuStorage, DType, Layout, Storage, Tensor, WithDType};

use crate::Result;

/// An element type that the fused CPU kernels handle: f32 or f64.
pub(crate) trait Element: WithDType {
    /// Runs `run` on `len` elements of this thread's scratch memory, whose content is arbitrary.
    ///
    /// The memory stays with the thread, since a freshly mapped page costs more than most kernels that write to it.
    fn with_scratch<R>(len: usize, run: impl FnOnce(&mut [Self]) -> R) -> R;

    fn is_nan(self) -> bool;
}

macro_rules! element {
    ($type:ty) => {
        impl Element for $type {
            fn with_scratch<R>(len: usize, run: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local! {
                    // A stack, since calls nest: what the outer call uses is taken out of it meanwhile.
                    static SCRATCH: RefCell<Vec<Vec<$type>>> = const { RefCell::new(Vec::new()) };
                }
                let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
                if scratch.len() < len {
                    scratch.resize(len, 0.0);
                }
                let result = run(&mut scratch[..len]);
                SCRATCH.with_borrow_mut(|stack| stack.push(scratch));
                result
            }

            fn is_nan(self) -> bool {
                <$type>::is_nan(self)
            }
        }
    };
}

element!(f32);
element!(f64);

/// Evaluates `$body` with `$float` standing for the element type named by `$dtype`.
macro_rules! per_float {
    ($dtype:expr, $name:expr, $float:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $float = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $float = f64;
                $body
            }
            other => candle_core::bail!("{}: expected f32 or f64, got {other:?}", $name),
        }
    };
}
pub(crate) use per_float;

/// Whether the fused CPU kernel serves `tensor`; anything else is composed of Candle's operations.
pub(crate) fn is_fused(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// The elements of a contiguous tensor's storage.
pub(crate) fn elements<'a, T: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => candle_core::bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Runs `run` on the elements of a tensor on the CPU, in row-major order whatever its strides.
pub(crate) fn with_elements<T: Element, R>(tensor: &Tensor, run: impl FnOnce(&[T]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(run(elements(storage, layout)?)),
        _ => candle_core::bail!("expected a tensor on the CPU, got one on {:?}", tensor.device()),
    }
}

/// Checks that two tensors of one operation have the same element type and device.
pub(crate) fn check_same_kind(name: &str, reference: &Tensor, what: &str, other: &Tensor) -> Result<()> {
    if other.dtype() != reference.dtype() {
        candle_core::bail!("{name}: expected {what} of dtype {:?}, got {:?}", reference.dtype(), other.dtype());
    }
    if !other.device().same_device(reference.device()) {
        candle_core::bail!("{name}: expected {what} on {:?}, got {:?}", reference.device(), other.device());
    }
    Ok(())
}

/// Runs `run` compiled for the best instruction set of this machine.
///
/// Vector width never changes a result here: no kernel lets the compiler reorder a sum.
#[inline(always)]
pub(crate) fn simd<R>(run: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(run)
}

/// The sum of `term(i)` for `i` in `0..len`, in f64 and in a fixed order that vectorises.
#[inline(always)]
pub(crate) fn sum_f64(len: usize, term: impl Fn(usize) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0f64; LANES];
    let whole = len - len % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    let rest: f64 = (whole..len).map(&term).sum();
    lanes.iter().sum::<f64>() + rest
}

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
