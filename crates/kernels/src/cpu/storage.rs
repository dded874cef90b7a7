//! Between tensors and slices: which tensors the fused kernels serve, their values, and new tensors of results.

use std::borrow::Cow;

use candle_core::{CpuStorage, DType, Device, Layout, Shape, Storage, Tensor, WithDType};

use super::{Element, collect_rows};
use crate::Result;

/// Whether the fused CPU kernels serve `tensor`; anything else is composed of Candle's operations.
pub(crate) fn is_fused(tensor: &Tensor) -> bool {
    #[cfg(any(test, feature = "testkit"))]
    if crate::testkit::is_composing() {
        return false;
    }
    tensor.device().is_cpu() && matches!(tensor.dtype(), DType::F32 | DType::F64)
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

/// The values that `layout` sees of `storage`, in row-major order; copied only where they are not contiguous.
pub(crate) fn values<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [T]>> {
    let all = storage.as_slice::<T>()?;
    if layout.shape().elem_count() == 0 {
        // A view of nothing may begin beyond its storage.
        return Ok(Cow::Borrowed(&[]));
    }
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
    let num_rows = dims.iter().product();
    let start = |row| layout.start_offset() + row_offset(row, dims, strides);
    if step == 1 {
        return collect_rows(num_rows, row_len, |row, range| all[start(row)..][range].iter().copied());
    }
    collect_rows(num_rows, row_len, |row, range| {
        let start = start(row);
        range.map(move |i| all[start + i * step])
    })
}

/// Where row number `row` of a view begins, whose leading dimensions and strides these are.
#[inline(always)]
pub(crate) fn row_offset(mut row: usize, dims: &[usize], strides: &[usize]) -> usize {
    let mut offset = 0;
    for (&dim, &stride) in dims.iter().zip(strides).rev() {
        offset += row % dim * stride;
        row /= dim;
    }
    offset
}

/// Runs `run` on the values of tensors on the CPU, in row-major order whatever their strides.
pub(crate) fn with_values<T: WithDType, R, const N: usize>(
    tensors: [&Tensor; N],
    run: impl FnOnce([&[T]; N]) -> Result<R>,
) -> Result<R> {
    with_all_values(&tensors, |values| run(std::array::from_fn(|i| values[i])))
}

/// [`with_values`] of any number of tensors.
pub(crate) fn with_all_values<T: WithDType, R>(
    tensors: &[&Tensor],
    run: impl FnOnce(&[&[T]]) -> Result<R>,
) -> Result<R> {
    let storages: Vec<_> = tensors.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let values = storages.iter().map(|(storage, layout)| match &**storage {
        Storage::Cpu(storage) => values::<T>(storage, layout),
        other => candle_core::bail!("expected a tensor on the CPU, got one on {:?}", other.device()),
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    run(&values.iter().map(|values| &**values).collect::<Vec<_>>())
}

/// A CPU tensor of `data`.
pub(crate) fn tensor<T: Element>(data: Vec<T>, shape: &Shape) -> Result<Tensor> {
    Tensor::from_vec(data, shape.clone(), &Device::Cpu)
}

/// A tensor without elements on `operands`, whose gradients are then zeros: Candle's convolution fails without samples, and
/// its elementwise operations drop the gradient of their second operand.
pub(crate) fn of_nothing(shape: impl Into<Shape>, operands: &[&Tensor]) -> Result<Tensor> {
    let sums = operands.iter().map(|xs| xs.sum_all()?.reshape(1)).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&sums, 0)?.narrow(0, 0, 0)?.reshape(shape.into())
}

/// What a custom op's `cpu_fwd` returns.
pub(crate) fn output<T: Element>(data: Vec<T>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (T::to_cpu_storage_owned(data), shape.into())
}
