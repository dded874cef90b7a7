//! Sums and means, in a fixed order with totals in f64.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Storage, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{CHUNK, Element, apply1, by_float, is_fused, output, simd, sum_f64, values};

/// The sum of all elements.
///
/// # Shapes
/// Any, to a scalar; of no elements it is 0.
///
/// # Errors
/// Where `xs` is not of a float type.
pub fn sum_all(xs: &Tensor) -> Result<Tensor> {
    check("sum_all", xs, 0)?;
    if is_fused(xs) { whole("sum_all", xs, 1.0) } else { xs.sum_all() }
}

/// The mean of all elements.
///
/// # Shapes
/// Any, to a scalar; of no elements it is NaN.
///
/// # Errors
/// Where `xs` is not of a float type.
pub fn mean_all(xs: &Tensor) -> Result<Tensor> {
    check("mean_all", xs, 0)?;
    let scale = 1.0 / xs.elem_count() as f64;
    if is_fused(xs) { whole("mean_all", xs, scale) } else { xs.sum_all()? * scale }
}

/// The sums along dimension `dim`.
///
/// # Shapes
/// That of `xs` without dimension `dim`.
///
/// # Errors
/// Where `xs` has no dimension `dim`, or is not of a float type.
pub fn sum(xs: &Tensor, dim: usize) -> Result<Tensor> {
    check("sum", xs, dim + 1)?;
    if is_fused(xs) { along("sum", xs, dim, 1.0) } else { xs.sum(dim) }
}

/// The means along dimension `dim`; of none they are NaN.
///
/// # Shapes
/// That of `xs` without dimension `dim`.
///
/// # Errors
/// As [`sum`].
pub fn mean(xs: &Tensor, dim: usize) -> Result<Tensor> {
    check("mean", xs, dim + 1)?;
    let scale = 1.0 / xs.dim(dim)? as f64;
    if is_fused(xs) { along("mean", xs, dim, scale) } else { xs.sum(dim)? * scale }
}

/// The first element, in row-major order, that is `wanted`, if there is one. It has no gradient.
///
/// On the CPU it is one parallel reading of `xs`, without a copy.
///
/// # Errors
/// Where `xs` is not of a float type.
pub fn find(xs: &Tensor, wanted: impl Fn(f64) -> bool + Sync) -> Result<Option<f64>> {
    check("find", xs, 0)?;
    let xs = if is_fused(xs) { xs.clone() } else { xs.to_device(&Device::Cpu)?.to_dtype(DType::F32)? };
    by_float!("find", xs.dtype(), T => {
        let (storage, layout) = xs.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { candle_core::bail!("find: expected a tensor on the CPU") };
        Ok(first(&values::<T>(storage, layout)?, wanted))
    })
}

fn first<T: Element>(xs: &[T], wanted: impl Fn(f64) -> bool + Sync) -> Option<f64> {
    // No early end within a chunk, so that the loop vectorises.
    let found = |xs: &&[T]| simd(|| xs.iter().fold(false, |found, &x| found | wanted(x.to_f64())));
    let chunk = match xs.len() {
        0..=CHUNK => Some(xs).filter(found),
        _ => xs.par_chunks(CHUNK).find_first(found),
    };
    chunk?.iter().map(|x| x.to_f64()).find(|&x| wanted(x))
}

fn check(name: &str, xs: &Tensor, dims: usize) -> Result<()> {
    if xs.rank() < dims {
        candle_core::bail!("{name}: expected a dimension below {}, got {} for {:?}", xs.rank(), dims - 1, xs.dims());
    }
    if !xs.dtype().is_float() {
        candle_core::bail!("{name}: expected a float type, got {:?}", xs.dtype());
    }
    Ok(())
}

fn whole(name: &'static str, xs: &Tensor, scale: f64) -> Result<Tensor> {
    let kept = Shape::from(vec![1; xs.rank()]);
    apply1(xs, Sum { name, scale, outer: 1, inner: 1, kept, result: Shape::from(()) })
}

fn along(name: &'static str, xs: &Tensor, dim: usize, scale: f64) -> Result<Tensor> {
    let mut dims = xs.dims().to_vec();
    let (outer, inner) = (dims[..dim].iter().product(), dims[dim + 1..].iter().product());
    dims[dim] = 1;
    let kept = Shape::from(dims.as_slice());
    dims.remove(dim);
    apply1(xs, Sum { name, scale, outer, inner, kept, result: dims.into() })
}

/// `scale` times the sums of `xs` (outer, len, inner) over len.
struct Sum {
    name: &'static str,
    scale: f64,
    outer: usize,
    inner: usize,
    /// The result's shape, with 1 for each dimension that was summed over.
    kept: Shape,
    result: Shape,
}

/// Columns whose totals are kept beside each other, in the first-level cache.
const BLOCK: usize = 512;
/// Elements that one total takes in at most before it is added to others; fixed, so that the order is.
const RANGE: usize = 1 << 16;

impl Sum {
    fn forward<T: Element>(&self, xs: &[T]) -> Vec<T> {
        let (outer, inner) = (self.outer, self.inner);
        let count = outer * inner;
        let len = xs.len().checked_div(count).unwrap_or(0);
        let mut out = vec![T::zero(); count];
        if count == 0 {
            return out;
        }
        let typed = |total: f64| T::from_f64(total * self.scale);
        if inner == 1 {
            let row = |(o, out): (usize, &mut T)| *out = typed(sum_of(&xs[o * len..][..len]));
            if xs.len() <= 2 * CHUNK {
                out.iter_mut().enumerate().for_each(row);
            } else {
                out.par_iter_mut().with_min_len(CHUNK.div_ceil(len.max(1))).enumerate().for_each(row);
            }
            return out;
        }
        let block = inner.min(BLOCK);
        let of_block = |o: usize, first: usize, out: &mut [T]| {
            let xs = &xs[o * len * inner..][..len * inner];
            columns(xs, inner, first, out.len(), |totals| {
                out.iter_mut().zip(totals).for_each(|(out, &total)| *out = typed(total));
            });
        };
        let of_row = |o: usize, out: &mut [T]| {
            out.chunks_mut(block).enumerate().for_each(|(i, out)| of_block(o, i * block, out));
        };
        let rows_each = RANGE / (len * inner).max(1);
        if xs.len() <= 2 * CHUNK {
            out.chunks_mut(inner).enumerate().for_each(|(o, out)| of_row(o, out));
        } else if rows_each > 0 {
            out.par_chunks_mut(inner).with_min_len(rows_each).enumerate().for_each(|(o, out)| of_row(o, out));
        } else {
            out.par_chunks_mut(inner).enumerate().for_each(|(o, out)| {
                out.par_chunks_mut(block).enumerate().for_each(|(i, out)| of_block(o, i * block, out));
            });
        }
        out
    }
}

/// The sum of the elements.
pub(crate) fn sum_of<T: Element>(xs: &[T]) -> f64 {
    let range = |xs: &[T]| simd(|| sum_f64(xs.len(), |i| xs[i].to_f64()));
    if xs.len() <= RANGE {
        return range(xs);
    }
    let sums: Vec<f64> = xs.par_chunks(RANGE).map(range).collect();
    sums.iter().sum()
}

/// Hands the sums of columns `first..first + count` of rows of `inner` elements to `use_totals`.
fn columns<T: Element>(xs: &[T], inner: usize, first: usize, count: usize, use_totals: impl FnOnce(&[f64])) {
    let add = |rows: &[T], totals: &mut [f64]| {
        simd(|| {
            for row in rows.chunks(inner) {
                let row = &row[first..][..totals.len()];
                totals.iter_mut().zip(row).for_each(|(total, x)| *total += x.to_f64());
            }
        });
    };
    let rows_each = (RANGE / count).max(1) * inner;
    if xs.len() <= rows_each {
        return f64::with_scratch(count, |totals| {
            totals.fill(0.0);
            add(xs, totals);
            use_totals(totals);
        });
    }
    let partial = |rows: &[T]| {
        let mut totals = vec![0.0; count];
        add(rows, &mut totals);
        totals
    };
    let partials: Vec<Vec<f64>> = xs.par_chunks(rows_each).map(partial).collect();
    let mut totals = vec![0.0; count];
    partials.iter().for_each(|sums| totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum));
    use_totals(&totals);
}

impl CustomOp1 for Sum {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!(self.name, xs.dtype(), T => {
            Ok(output(self.forward(&values::<T>(xs, layout)?), &self.result))
        })
    }

    /// A view: every element of a row has the row's gradient.
    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !xs.track_op() {
            return Ok(None);
        }
        let grad = if self.scale == 1.0 { grad.clone() } else { (grad * self.scale)? };
        grad.reshape(&self.kept)?.broadcast_as(xs.shape()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testing::{assert_close, flat, run};
    use crate::testkit::{check_gradients, values as random};

    #[test]
    fn gradients() {
        let xs = [random((3, 4, 5), 1).unwrap()];
        check_gradients(&xs, |t| sum_all(&t[0])).unwrap();
        check_gradients(&xs, |t| mean_all(&t[0])).unwrap();
        for dim in 0..3 {
            check_gradients(&xs, |t| sum(&t[0], dim)).unwrap();
            check_gradients(&xs, |t| mean(&t[0], dim)).unwrap();
        }
    }

    /// Sizes on both sides of every threshold, values and gradients against Candle's.
    #[test]
    fn equal_candle() {
        for dims in
            [[2, 3, 4], [300, 70, 9], [3, 40_000, 2], [1, 1, 200_000], [150_000, 1, 1], [90, 3, 1200], [2000, 5, 7]]
        {
            let xs = random(&dims, 1).unwrap();
            let single = xs.to_dtype(DType::F32).unwrap();
            let compare = |fused: &dyn Fn(&Tensor) -> Result<Tensor>, candle: &dyn Fn(&Tensor) -> Result<Tensor>| {
                let fused_run = run(std::slice::from_ref(&xs), |t| fused(&t[0]));
                let candle_run = run(std::slice::from_ref(&xs), |t| candle(&t[0]));
                // Sums of up to 2e5 numbers below 1, rounded in another order.
                fused_run.iter().zip(&candle_run).for_each(|(a, b)| assert_close(&flat(a), &flat(b), 1e-10));
                // In f32 the inputs are rounded by 6e-8, in random directions; the sums hardly.
                assert_close(&flat(&fused(&single).unwrap()), &flat(&fused_run[0]), 1e-5);
            };
            compare(&sum_all, &|t| t.sum_all());
            compare(&mean_all, &|t| t.mean_all());
            for dim in 0..3 {
                compare(&|t| sum(t, dim), &|t| t.sum(dim));
                compare(&|t| mean(t, dim), &|t| t.mean(dim));
            }
            let strided = xs.transpose(0, 2).unwrap();
            assert_close(&flat(&sum(&strided, 0).unwrap()), &flat(&strided.sum(0).unwrap()), 1e-10);
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let xs = random((300, 700), 1).unwrap().to_dtype(DType::F32).unwrap();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let sums = || [sum_all(&xs), sum(&xs, 0), sum(&xs, 1)].map(|t| flat(&t.unwrap()));
            pool.install(sums).into_iter().flatten().map(f64::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn empty_tensors() {
        let xs = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(flat(&sum_all(&xs).unwrap()), [0.0]);
        assert!(flat(&mean_all(&xs).unwrap())[0].is_nan());
        assert_eq!(flat(&sum(&xs, 0).unwrap()), [0.0; 3]);
        assert_eq!(sum(&xs, 1).unwrap().dims(), [0]);
    }

    #[test]
    fn finds_the_first() {
        let mut data = vec![0.5f32; 100_000];
        data[70_000] = 2.0;
        data[90_000] = f32::NAN;
        let xs = Tensor::new(data, &Device::Cpu).unwrap();
        let outside = |x: f64| !(0.0..=1.0).contains(&x);
        assert_eq!(find(&xs, outside).unwrap(), Some(2.0));
        assert!(find(&xs, f64::is_nan).unwrap().unwrap().is_nan());
        assert_eq!(find(&xs, |x| x < 0.0).unwrap(), None);
        assert_eq!(find(&xs.narrow(0, 0, 0).unwrap(), |_| true).unwrap(), None);
    }

    #[test]
    fn errors_are_named_and_constants_get_no_gradient() {
        let xs = random((3, 4), 1).unwrap();
        let error = sum(&xs, 2).unwrap_err().to_string();
        assert!(error.contains("sum: expected a dimension below 2, got 2 for [3, 4]"), "{error}");
        let whole = xs.to_dtype(DType::U32).unwrap();
        assert!(mean_all(&whole).unwrap_err().to_string().contains("mean_all: expected a float type, got U32"));
        assert!(!sum_all(&xs).unwrap().track_op());
    }
}
