//! Rows of a table, by index.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{Element, by_float, is_fused, output, rows, tensor, values, with_values};

/// The rows of `weight` that `ids` name.
///
/// The gradient of a row is the sum over its occurrences, in their order. The row `padding_idx` gets none, as in PyTorch.
///
/// # Shapes
/// `weight` (num_embeddings, embedding_dim); `ids` any, u32 or i64. Returns the shape of `ids` and then embedding_dim.
///
/// # Errors
/// Where `weight` does not have two dimensions, or an id or `padding_idx` is not below num_embeddings.
pub fn embedding(weight: &Tensor, ids: &Tensor, padding_idx: Option<usize>) -> Result<Tensor> {
    let &[num, dim] = weight.dims() else {
        candle_core::bail!("embedding: expected weight (num_embeddings, embedding_dim), got {:?}", weight.dims());
    };
    if let Some(padding) = padding_idx
        && padding >= num
    {
        candle_core::bail!("embedding: expected padding_idx below {num} embeddings, got {padding}");
    }
    let checked = indices(ids, num)?;
    let mut shape = ids.dims().to_vec();
    shape.push(dim);
    if is_fused(weight) {
        weight.apply_op1(Embedding { ids: checked, shape: shape.into(), padding_idx })
    } else {
        composed(weight, ids, padding_idx)?.reshape(shape)
    }
}

/// The checked ids, in order.
fn indices(ids: &Tensor, num: usize) -> Result<Vec<usize>> {
    if !matches!(ids.dtype(), DType::U32 | DType::I64) {
        candle_core::bail!("embedding: expected ids of u32 or i64, got {:?}", ids.dtype());
    }
    let ids = ids.flatten_all()?.to_device(&Device::Cpu)?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let check = |(position, &id): (usize, &i64)| match usize::try_from(id) {
        Ok(index) if index < num => Ok(index),
        _ => candle_core::bail!("embedding: id {id} at position {position}: expected one of {num} embeddings"),
    };
    ids.iter().enumerate().map(check).collect()
}

/// The rows (ids, embedding_dim) from Candle's operations.
fn composed(weight: &Tensor, ids: &Tensor, padding_idx: Option<usize>) -> Result<Tensor> {
    let ids = ids.flatten_all()?;
    let picked = weight.contiguous()?.index_select(&ids, 0)?;
    match padding_idx {
        None => Ok(picked),
        Some(padding) => {
            let mask = ids.eq(padding as u32)?.unsqueeze(1)?.broadcast_as(picked.shape())?;
            mask.where_cond(&picked.detach(), &picked)
        }
    }
}

struct Embedding {
    ids: Vec<usize>,
    shape: Shape,
    padding_idx: Option<usize>,
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, weight: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, dim) = layout.shape().dims2()?;
        by_float!("embedding", weight.dtype(), T => {
            Ok(output(gather(&values::<T>(weight, layout)?, &self.ids, dim), &self.shape))
        })
    }

    fn bwd(&self, weight: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !weight.track_op() {
            return Ok(None);
        }
        let (num, dim) = weight.dims2()?;
        by_float!("embedding", weight.dtype(), T => {
            with_values::<T, _, 1>([grad], |[g]| tensor(self.scatter(g, num, dim), weight.shape()).map(Some))
        })
    }
}

fn gather<T: Element>(weight: &[T], ids: &[usize], dim: usize) -> Vec<T> {
    let mut out = vec![T::zero(); ids.len() * dim];
    rows(&mut out, dim, |i, out| out.copy_from_slice(&weight[ids[i] * dim..][..dim]));
    out
}

/// The table is cut into so many ranges of rows; each range is one task that looks through all ids.
const RANGES: usize = 16;

impl Embedding {
    fn scatter<T: Element>(&self, grad: &[T], num: usize, dim: usize) -> Vec<T> {
        let mut out = vec![T::zero(); num * dim];
        if out.is_empty() {
            return out;
        }
        let per_range = num.div_ceil(RANGES);
        out.par_chunks_mut(per_range * dim).enumerate().for_each(|(range, out)| {
            let first = range * per_range;
            for (&id, grad) in self.ids.iter().zip(grad.chunks(dim)) {
                if id >= first && (id - first) * dim < out.len() && Some(id) != self.padding_idx {
                    let row = &mut out[(id - first) * dim..][..dim];
                    row.iter_mut().zip(grad).for_each(|(sum, &g)| *sum += g);
                }
            }
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{check_gradients, values as testvalues};

    fn ids() -> Tensor {
        Tensor::new(&[[3u32, 0, 3], [1, 3, 4]], &Device::Cpu).unwrap()
    }

    #[test]
    fn gradients_with_repeated_ids() {
        let weight = [testvalues((5, 3), 1).unwrap()];
        check_gradients(&weight, |t| embedding(&t[0], &ids(), None)).unwrap();
        check_gradients(&weight, |t| composed(&t[0], &ids(), None)).unwrap();
    }

    #[test]
    fn padding_gets_no_gradient() {
        let weight = candle_core::Var::from_tensor(&testvalues((5, 2), 1).unwrap()).unwrap();
        for out in [embedding(&weight, &ids(), Some(3)).unwrap(), composed(&weight, &ids(), Some(3)).unwrap()] {
            let grads = out.backward().unwrap();
            let rows = grads.get(&weight).unwrap().to_vec2::<f64>().unwrap();
            assert_eq!(rows, [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]);
        }
    }

    #[test]
    fn picks_rows_of_strided_tables_and_i64_ids() {
        let weight = testvalues((40, 700), 1).unwrap().t().unwrap();
        let ids = Tensor::new((0..1400).map(|i| i * 13 % 700).collect::<Vec<i64>>(), &Device::Cpu).unwrap();
        let got = embedding(&weight, &ids, None).unwrap().to_vec2::<f64>().unwrap();
        let table = weight.to_vec2::<f64>().unwrap();
        assert!(got.iter().enumerate().all(|(i, row)| *row == table[i * 13 % 700]));
        let none = Tensor::zeros((0, 2), DType::U32, &Device::Cpu).unwrap();
        assert_eq!(embedding(&weight, &none, None).unwrap().dims(), [0, 2, 40]);
    }

    #[test]
    fn errors_are_named() {
        let weight = testvalues((4, 3), 1).unwrap();
        let error = embedding(&weight, &ids(), None).unwrap_err().to_string();
        assert!(error.contains("embedding: id 4 at position 5: expected one of 4 embeddings"), "{error}");
        let ids = Tensor::new(&[0i64, -1], &Device::Cpu).unwrap();
        let error = embedding(&weight, &ids, None).unwrap_err().to_string();
        assert!(error.contains("embedding: id -1 at position 1"), "{error}");
        let error = embedding(&weight, &ids, Some(4)).unwrap_err().to_string();
        assert!(error.contains("expected padding_idx below 4 embeddings, got 4"), "{error}");
    }
}
