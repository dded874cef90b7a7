//! The one loop behind every optimizer: several variables changed together, a gradient read.

use std::cell::Cell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, Var};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{CHUNK, Element, is_fused, simd, with_values};

/// Whether [`update`] applies to `vars` and `grad`, after a check that they fit together.
pub(super) fn fits(who: &str, vars: &[&Var], grad: &Tensor) -> Result<bool> {
    let Some(param) = vars.first() else { return Ok(false) };
    for tensor in vars.iter().map(|var| var.as_tensor()).chain([grad]) {
        if tensor.dims() != param.dims() || tensor.dtype() != param.dtype() {
            candle_core::bail!(
                "{who}: expected a gradient and state like the parameter {:?} {:?}, got {:?} {:?}",
                param.dims(),
                param.dtype(),
                tensor.dims(),
                tensor.dtype()
            );
        }
    }
    if vars.iter().any(|var| !var.is_contiguous()) {
        candle_core::bail!("{who}: expected a contiguous parameter and state");
    }
    Ok(is_fused(param))
}

/// Calls `f([parts of vars], part of grad)` on equal parts of all, in parallel when it pays.
pub(super) fn update<T: Element, const N: usize>(
    vars: [&Var; N],
    grad: &Tensor,
    f: impl Fn([&mut [T]; N], &[T]) + Sync,
) -> Result<()> {
    if grad.elem_count() == 0 {
        return Ok(());
    }
    distinct::<T>(&vars, grad)?;
    with_values::<T, _, 1>([grad], |[grad]| nest(&vars, Vec::new(), &|slices| run(slices, grad, &f)))
}

/// The locks below are taken one inside the other: one memory named twice would wait for itself.
fn distinct<T: Element>(vars: &[&Var], grad: &Tensor) -> Result<()> {
    let mut seen = Vec::new();
    for tensor in vars.iter().map(|var| var.as_tensor()).chain([grad]) {
        let (storage, _) = tensor.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            candle_core::bail!("optimizer: expected everything on the CPU, got {:?}", tensor.device());
        };
        let start = storage.as_slice::<T>()?.as_ptr();
        if seen.contains(&start) {
            candle_core::bail!("optimizer: expected parameter, gradient and state with memory of their own");
        }
        seen.push(start);
    }
    Ok(())
}

/// Opens `vars` for writing, one after the other, and calls `f` with all of their slices.
fn nest<'a, T: Element>(vars: &[&Var], open: Vec<&'a mut [T]>, f: &dyn Fn(Vec<&mut [T]>) -> Result<()>) -> Result<()> {
    let Some((first, rest)) = vars.split_first() else { return f(open) };
    let edit = |slice: &mut [T]| {
        let mut open: Vec<&mut [T]> = open;
        open.push(slice);
        nest(rest, open, f)
    };
    first.inplace_op1(&Edit { f: Cell::new(Some(edit)), dtype: std::marker::PhantomData::<T> })
}

/// Hands the memory of a variable to a closure, once.
struct Edit<T, F> {
    f: Cell<Option<F>>,
    dtype: std::marker::PhantomData<T>,
}

impl<T: Element, F: FnOnce(&mut [T]) -> Result<()>> InplaceOp1 for Edit<T, F> {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let all: &mut [T] = T::slice_mut(storage)?;
        match (layout.contiguous_offsets(), self.f.take()) {
            (Some((start, end)), Some(f)) => f(&mut all[start..end]),
            _ => candle_core::bail!("optimizer: expected a contiguous variable"),
        }
    }
}

fn run<T: Element, const N: usize>(
    slices: Vec<&mut [T]>,
    grad: &[T],
    f: &(impl Fn([&mut [T]; N], &[T]) + Sync),
) -> Result<()> {
    let mut parts: Vec<_> = slices.into_iter().map(|slice| slice.chunks_mut(CHUNK)).collect();
    let mut tasks = Vec::with_capacity(grad.len().div_ceil(CHUNK));
    for grad in grad.chunks(CHUNK) {
        let part: Vec<&mut [T]> = parts.iter_mut().filter_map(Iterator::next).collect();
        match <[&mut [T]; N]>::try_from(part) {
            Ok(part) => tasks.push((part, grad)),
            Err(_) => candle_core::bail!("optimizer: expected state of one length"),
        }
    }
    let work = |(part, grad)| {
        simd(
            #[inline(always)]
            || f(part, grad),
        )
    };
    if tasks.len() <= 2 {
        tasks.into_iter().for_each(work)
    } else {
        tasks.into_par_iter().for_each(work)
    }
    Ok(())
}
