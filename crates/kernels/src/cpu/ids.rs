//! Whole numbers in tensors: classes, rows of a table, places along a dimension.

use candle_core::{DType, Device, Storage, Tensor, WithDType};

use super::values;
use crate::Result;

/// `read(place, id)` of every element of `ids` (u32 or i64), in row-major order; read where it lies if that is on the CPU.
pub(crate) fn map_ids<R>(who: &str, ids: &Tensor, read: impl Fn(usize, i64) -> Result<R>) -> Result<Vec<R>> {
    let ids = ids.to_device(&Device::Cpu)?;
    let (storage, layout) = ids.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        candle_core::bail!("{who}: expected ids on the CPU");
    };
    match ids.dtype() {
        DType::U32 => convert(&values::<u32>(storage, layout)?, i64::from, read),
        DType::I64 => convert(&values::<i64>(storage, layout)?, |id| id, read),
        other => candle_core::bail!("{who}: expected ids of u32 or i64, got {other:?}"),
    }
}

fn convert<T: WithDType, R>(
    ids: &[T],
    whole: impl Fn(T) -> i64,
    read: impl Fn(usize, i64) -> Result<R>,
) -> Result<Vec<R>> {
    ids.iter().enumerate().map(|(place, &id)| read(place, whole(id))).collect()
}

/// The elements of `ids`, each checked to be one of `num` `things`.
pub(crate) fn checked_ids(who: &str, ids: &Tensor, num: usize, things: &str) -> Result<Vec<u32>> {
    map_ids(who, ids, |place, id| match u32::try_from(id) {
        Ok(index) if (index as usize) < num => Ok(index),
        _ => candle_core::bail!("{who}: id {id} at position {place}: expected one of {num} {things}"),
    })
}
