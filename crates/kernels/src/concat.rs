//! Tensors joined along a dimension.

use candle_core::{CpuStorage, Shape, Storage, Tensor};

use crate::Result;
use crate::cpu::{CHUNK, Element, Function, by_float, check_same_kind, collect, is_fused, output, record, values};

/// `tensors` one after another along dimension `dim`, as `torch.cat`.
///
/// The gradient of each is a view of the result's: nothing is copied for it.
///
/// # Shapes
/// All alike but for dimension `dim`, whose sizes add up.
///
/// # Errors
/// For no tensors, or where shapes or dtypes disagree.
pub fn concat<T: AsRef<Tensor>>(tensors: &[T], dim: usize) -> Result<Tensor> {
    let tensors: Vec<&Tensor> = tensors.iter().map(AsRef::as_ref).collect();
    let shape = joined_shape(&tensors, dim)?;
    match tensors.as_slice() {
        [only] => Ok((*only).clone()),
        [first, ..] if is_fused(first) => {
            let out = by_float!("concat", first.dtype(), T => forward::<T>(&tensors, &shape, dim))?;
            let sizes = tensors.iter().map(|t| t.dims()[dim]).collect();
            Ok(record(Concat { dim, sizes }, &tensors, vec![out])?.swap_remove(0))
        }
        _ => Tensor::cat(&tensors, dim),
    }
}

fn joined_shape(tensors: &[&Tensor], dim: usize) -> Result<Shape> {
    let Some(first) = tensors.first() else { candle_core::bail!("concat: expected at least one tensor, got none") };
    let mut dims = first.dims().to_vec();
    if dim >= dims.len() {
        candle_core::bail!("concat: expected a dimension below {}, got {dim} for {dims:?}", dims.len());
    }
    for (i, tensor) in tensors.iter().enumerate().skip(1) {
        check_same_kind("concat", first, &format!("tensor {i}"), tensor)?;
        let fits = |(d, (a, b)): (usize, (&usize, &usize))| d == dim || a == b;
        if tensor.rank() != dims.len() || !tensor.dims().iter().zip(&dims).enumerate().all(fits) {
            let (first, got) = (first.dims(), tensor.dims());
            candle_core::bail!("concat: expected tensor {i} like {first:?} outside dimension {dim}, got {got:?}");
        }
        dims[dim] += tensor.dims()[dim];
    }
    Ok(dims.into())
}

fn forward<T: Element>(tensors: &[&Tensor], shape: &Shape, dim: usize) -> Result<(CpuStorage, Shape)> {
    let inner: usize = shape.dims()[dim + 1..].iter().product();
    let row_len = shape.dims()[dim] * inner;
    let storages: Vec<_> = tensors.iter().map(|t| t.storage_and_layout()).collect();
    let parts = storages.iter().map(|(storage, layout)| match &**storage {
        Storage::Cpu(storage) => Ok((values::<T>(storage, layout)?, layout.dims()[dim] * inner)),
        _ => candle_core::bail!("concat: expected tensors on the CPU"),
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let data = collect(shape.elem_count(), CHUNK, |start, out| {
        let (mut row, mut skip) = (start / row_len, start % row_len);
        while out.room() > 0 {
            for (part, width) in &parts {
                let from = skip.min(*width);
                out.extend(part[row * width + from..(row + 1) * width].iter().copied());
                skip -= from;
            }
            row += 1;
        }
    });
    Ok(output(data, shape))
}

struct Concat {
    dim: usize,
    /// Of each tensor along `dim`.
    sizes: Vec<usize>,
}

impl Function for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn backward(
        &self,
        _: &[Tensor],
        _: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Some(Some(grad)) = grads.first() else { candle_core::bail!("concat: no gradient of the output") };
        let mut start = 0;
        let part = |(&size, &wanted): (&usize, &bool)| {
            let part = wanted.then(|| grad.narrow(self.dim, start, size)).transpose();
            start += size;
            part
        };
        self.sizes.iter().zip(wanted).map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::{flat, run};
    use crate::testkit::{check_gradients, values as random};

    #[test]
    fn gradients_along_every_dimension() {
        for dim in 0..3 {
            let parts: Vec<_> = (1..=5)
                .map(|size| {
                    let mut dims = [2, 3, 4];
                    dims[dim] = size;
                    random(&dims, size as u64).unwrap().flatten_all().unwrap()
                })
                .collect();
            check_gradients(&parts, |t| {
                let mut size = 0;
                let shaped = t.iter().map(|t| {
                    size += 1;
                    let mut dims = [2, 3, 4];
                    dims[dim] = size;
                    t.reshape(&dims)
                });
                concat(&shaped.collect::<Result<Vec<_>>>()?, dim)
            })
            .unwrap();
        }
        check_gradients(&[random((3, 3), 1).unwrap(), random((3, 3), 2).unwrap()], |t| concat(t, 1)).unwrap();
    }

    /// Rows shorter and longer than a chunk, an empty part, strided parts: the bits are Candle's.
    #[test]
    fn equals_candle() {
        for (dims, dim) in [([4, 5, 6], 1), ([2, 30, 3000], 1), ([2, 3, 5], 2), ([5, 300, 70], 0), ([40_000, 1, 2], 2)]
        {
            let mut wide = dims;
            wide[dim] += 3;
            let mut empty = dims;
            empty[dim] = 0;
            let inputs = [random(&dims, 1).unwrap(), random(&empty, 2).unwrap(), random(&wide, 3).unwrap()];
            let fused = run(&inputs, |t| concat(t, dim));
            let candle = run(&inputs, |t| Tensor::cat(t, dim));
            assert!(fused.iter().zip(&candle).all(|(a, b)| a.dims() == b.dims() && flat(a) == flat(b)));
            let strided = inputs[0].transpose(0, 1).unwrap();
            let joined = concat(&[&strided, &strided], 0).unwrap();
            assert_eq!(flat(&joined), flat(&Tensor::cat(&[&strided, &strided], 0).unwrap()));
        }
        let whole = Tensor::new(&[1u32, 2], &Device::Cpu).unwrap();
        assert_eq!(concat(&[&whole, &whole], 0).unwrap().to_vec1::<u32>().unwrap(), [1, 2, 1, 2]);
    }

    #[test]
    fn constants_get_no_gradient() {
        let var = Var::from_tensor(&random((2, 2), 1).unwrap()).unwrap();
        let constant = random((2, 3), 2).unwrap();
        let grads = concat(&[&constant, var.as_tensor(), &constant], 1).unwrap().backward().unwrap();
        assert_eq!(flat(grads.get(&var).unwrap()), [1.0; 4]);
        assert_eq!(grads.get_ids().count(), 1);
        assert!(!concat(&[&constant, &constant], 1).unwrap().track_op());
    }

    #[test]
    fn errors_are_named() {
        let message = |tensors: &[Tensor], dim| concat(tensors, dim).unwrap_err().to_string();
        let (a, b) = (random((2, 3), 1).unwrap(), random((3, 3), 1).unwrap());
        assert!(message(&[], 0).contains("concat: expected at least one tensor, got none"));
        assert!(
            message(&[a.clone(), b.clone()], 1)
                .contains("expected tensor 1 like [2, 3] outside dimension 1, got [3, 3]")
        );
        assert!(message(&[a.clone(), b], 2).contains("expected a dimension below 2, got 2 for [2, 3]"));
        let single = a.to_dtype(DType::F32).unwrap();
        assert!(message(&[a, single], 0).contains("concat: expected tensor 1 of dtype F64, got F32"));
    }
}
