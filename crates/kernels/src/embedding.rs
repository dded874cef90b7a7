//! Rows of a table, by index.

use candle_core::{DType, Tensor};

use crate::Result;
use crate::cpu::{apply1, checked_ids, is_fused};
use crate::index::Select;

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
    let checked = checked_ids("embedding", ids, num, "embeddings")?;
    let mut shape = ids.dims().to_vec();
    shape.push(dim);
    if is_fused(weight) {
        // A padding_idx that is no u32 is no id either.
        let skip = padding_idx.and_then(|padding| u32::try_from(padding).ok());
        apply1(weight, Select { name: "embedding", ids: checked, dim: 0, shape: shape.into(), skip })
    } else {
        composed(weight, ids, padding_idx)?.reshape(shape)
    }
}

/// The rows (ids, embedding_dim) from Candle's operations.
fn composed(weight: &Tensor, ids: &Tensor, padding_idx: Option<usize>) -> Result<Tensor> {
    let ids = ids.flatten_all()?.to_device(weight.device())?;
    let picked = weight.contiguous()?.index_select(&ids, 0)?;
    match padding_idx {
        None => Ok(picked),
        Some(padding) => {
            let mask = ids.to_dtype(DType::I64)?.eq(padding as i64)?.unsqueeze(1)?.broadcast_as(picked.shape())?;
            mask.where_cond(&picked.detach(), &picked)
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

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
