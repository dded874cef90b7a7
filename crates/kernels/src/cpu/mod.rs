//! What the fused CPU kernels stand on: element types, storages, fixed chunks, sums, run-time SIMD dispatch.

mod adapter;
mod chunks;
mod collect;
mod element;
mod function;
mod ids;
mod math;
mod product;
mod random;
mod storage;
mod sum;
mod transpose;
mod windows;

pub(crate) use adapter::{apply1, apply2, apply3};
pub(crate) use chunks::{CHUNK, chunks, rows, rows_per_chunk};
pub(crate) use collect::{collect, collect_rows, copy_in_chunks, copy_rows, map3, zero_rows, zeros_in_chunks};
pub(crate) use element::{Element, by_float};
pub(crate) use function::{Function, add_values, record, reshape};
pub(crate) use ids::{checked_ids, map_ids};
pub(crate) use math::Float;
pub(crate) use product::{Matrix, par_product, product, product_of};
pub(crate) use random::{Dropout, Kept};
pub(crate) use storage::{
    check_same_kind, is_fused, of_nothing, output, row_offset, tensor, values, with_all_values, with_values,
};
pub(crate) use sum::{planes_of_channel, sum_by, sum_f64, sum_rows};
pub(crate) use transpose::transpose_into;
pub(crate) use windows::outputs_inside;

/// Runs `run` compiled for the best instruction set of this machine.
///
/// Vector width never changes a result here: no kernel lets the compiler reorder a sum.
#[inline(always)]
pub(crate) fn simd<R>(run: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(run)
}

/// The gradients of a custom op with two operands.
pub(crate) type Gradients2 = (Option<candle_core::Tensor>, Option<candle_core::Tensor>);

/// The gradients of a custom op with three operands.
pub(crate) type Gradients3 = (Option<candle_core::Tensor>, Option<candle_core::Tensor>, Option<candle_core::Tensor>);
