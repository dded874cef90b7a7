//! Elements by index along a dimension, and sums into such places.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{
    CHUNK, Element, Gradients2, apply1, apply2, by_float, check_same_kind, checked_ids, collect_rows, is_fused, output,
    rows, simd, tensor, values, with_values,
};

/// The slices of `xs` along `dim` that `ids` name, as `torch.index_select`; an id may occur several times.
///
/// The gradient of a slice is the sum over its occurrences, in their order.
///
/// # Shapes
/// `ids` (n) of u32 or i64. Returns the shape of `xs` with n in place of dimension `dim`.
///
/// # Errors
/// Where `xs` has no dimension `dim`, `ids` has not one dimension, or an id is not below the size of `dim`.
pub fn index_select(xs: &Tensor, ids: &Tensor, dim: usize) -> Result<Tensor> {
    let num = check_dim("index_select", xs, dim)?;
    let n = match *ids.dims() {
        [n] => n,
        _ => candle_core::bail!("index_select: expected ids (n), got {:?}", ids.dims()),
    };
    let mut dims = xs.dims().to_vec();
    dims[dim] = n;
    let name = "index_select";
    let checked = checked_ids(name, ids, num, "places")?;
    if is_fused(xs) {
        apply1(xs, Select { name, ids: checked, dim, shape: dims.into(), skip: None })
    } else {
        xs.contiguous()?.index_select(&ids.contiguous()?.to_device(xs.device())?, dim)
    }
}

/// One element of `xs` for each of `ids`, as `torch.gather`: with `dim` 1 of three, y\[i, j, k\] = xs\[i, ids\[i, j, k\], k\].
///
/// # Shapes
/// `ids` has as many dimensions as `xs`, and outside `dim` none larger. Returns the shape of `ids` (u32 or i64).
///
/// # Errors
/// Where shapes disagree, or an id is not below the size of `dim`.
pub fn gather(xs: &Tensor, ids: &Tensor, dim: usize) -> Result<Tensor> {
    let num = check_dim("gather", xs, dim)?;
    let fits = |(d, (&ids, &xs)): (usize, (&usize, &usize))| d == dim || ids <= xs;
    if ids.rank() != xs.rank() || !ids.dims().iter().zip(xs.dims()).enumerate().all(fits) {
        let (xs, ids) = (xs.dims(), ids.dims());
        candle_core::bail!("gather: expected ids no larger than xs {xs:?} outside dimension {dim}, got {ids:?}");
    }
    let mut xs = xs.clone();
    for d in (0..ids.rank()).filter(|&d| d != dim) {
        xs = xs.narrow(d, 0, ids.dim(d)?)?;
    }
    let places = Places::new("gather", ids, dim, num)?;
    if is_fused(&xs) { apply1(&xs, Gather(places)) } else { composed_gather(&xs, ids, dim) }
}

/// `xs` plus `src`, each of whose elements is added at one of `ids`, as `torch.scatter_add`: with `dim` 1 of three,
/// xs\[i, ids\[i, j, k\], k\] + the sum of the src\[i, j, k\] that go there, in their order.
///
/// # Shapes
/// `ids` (u32 or i64) and `src` have one shape: that of `xs`, with any size in place of dimension `dim`. PyTorch also takes
/// smaller `ids`. Returns the shape of `xs`.
///
/// # Errors
/// Where shapes or dtypes disagree, or an id is not below the size of `dim`.
pub fn scatter_add(xs: &Tensor, ids: &Tensor, src: &Tensor, dim: usize) -> Result<Tensor> {
    let num = check_dim("scatter_add", xs, dim)?;
    check_same_kind("scatter_add", xs, "src", src)?;
    let fits = |(d, (&src, &xs)): (usize, (&usize, &usize))| d == dim || src == xs;
    let like_xs = src.rank() == xs.rank() && src.dims().iter().zip(xs.dims()).enumerate().all(fits);
    if !like_xs || ids.dims() != src.dims() {
        let (xs, ids, src) = (xs.dims(), ids.dims(), src.dims());
        candle_core::bail!(
            "scatter_add: expected ids and src like xs {xs:?} outside dimension {dim}, got {ids:?} and {src:?}"
        );
    }
    let places = Places::new("scatter_add", ids, dim, num)?;
    if is_fused(xs) { apply2(xs, src, ScatterAdd(places)) } else { composed_scatter_add(xs, ids, src, dim) }
}

fn check_dim(name: &str, xs: &Tensor, dim: usize) -> Result<usize> {
    match xs.dims().get(dim) {
        Some(&num) => Ok(num),
        None => candle_core::bail!("{name}: expected a dimension below {}, got {dim} for {:?}", xs.rank(), xs.dims()),
    }
}

fn composed_gather(xs: &Tensor, ids: &Tensor, dim: usize) -> Result<Tensor> {
    xs.contiguous()?.gather(&ids.contiguous()?.to_device(xs.device())?, dim)
}

/// Onto zeros, since Candle's gradient of what is added to is wrong; and all of one size along `dim`, where it fails.
fn composed_scatter_add(xs: &Tensor, ids: &Tensor, src: &Tensor, dim: usize) -> Result<Tensor> {
    let (len, n) = (xs.dim(dim)?, ids.dim(dim)?);
    let size = len.max(n);
    let padded = |t: &Tensor| t.contiguous()?.pad_with_zeros(dim, 0, size - n);
    let mut shape = xs.dims().to_vec();
    shape[dim] = size;
    let zeros = Tensor::zeros(shape, xs.dtype(), xs.device())?;
    let sums = zeros.scatter_add(&padded(ids)?.to_device(xs.device())?, &padded(src)?, dim)?;
    xs + sums.narrow(dim, 0, len)?
}

/// A tensor seen as (outer, len, inner), where `len` is the dimension of the ids.
#[derive(Clone, Copy)]
struct Split {
    outer: usize,
    len: usize,
    inner: usize,
}

impl Split {
    fn new(shape: &Shape, dim: usize) -> Self {
        let dims = shape.dims();
        Self { outer: dims[..dim].iter().product(), len: dims[dim], inner: dims[dim + 1..].iter().product() }
    }

    fn block(&self) -> usize {
        self.len * self.inner
    }
}

/// The same ids for every outer index: whole slices are picked.
pub(crate) struct Select {
    pub name: &'static str,
    pub ids: Vec<u32>,
    pub dim: usize,
    /// Of the result; as many elements as the picked slices have.
    pub shape: Shape,
    /// An id whose slice gets no gradient.
    pub skip: Option<u32>,
}

impl Select {
    fn forward<T: Element>(&self, xs: &[T], of: Split) -> Vec<T> {
        let (ids, n) = (&self.ids, self.ids.len());
        if of.inner == 1 {
            return collect_rows(of.outer, n, |o, range| {
                ids[range].iter().map(move |&id| xs[o * of.len + id as usize])
            });
        }
        collect_rows(of.outer * n, of.inner, |row, range| {
            let slice = row / n * of.len + ids[row % n] as usize;
            xs[slice * of.inner..][range].iter().copied()
        })
    }

    fn backward<T: Element>(&self, grad: &[T], of: Split) -> Vec<T> {
        let (n, inner) = (self.ids.len(), of.inner);
        let mut out = vec![T::zero(); of.outer * of.block()];
        scatter(
            &mut out,
            of,
            n * inner,
            |_| &self.ids,
            |rows, o, item, row| {
                if self.skip != Some(self.ids[item]) {
                    let sums = &mut rows[row * inner..][..inner];
                    sums.iter_mut().zip(&grad[(o * n + item) * inner..]).for_each(|(sum, &g)| *sum += g);
                }
            },
        );
        out
    }
}

impl CustomOp1 for Select {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!(self.name, xs.dtype(), T => {
            let out = self.forward(&values::<T>(xs, layout)?, Split::new(layout.shape(), self.dim));
            Ok(output(out, &self.shape))
        })
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !xs.track_op() {
            return Ok(None);
        }
        let sums = by_float!(self.name, xs.dtype(), T => {
            with_values::<T, _, 1>([grad], |[g]| {
                tensor(self.backward(g, Split::new(xs.shape(), self.dim)), xs.shape())
            })
        })?;
        Ok(Some(sums))
    }
}

/// An id for each element.
#[derive(Clone)]
struct Places {
    ids: Arc<[u32]>,
    shape: Shape,
    dim: usize,
}

impl Places {
    fn new(name: &str, ids: &Tensor, dim: usize, num: usize) -> Result<Self> {
        let checked = checked_ids(name, ids, num, "places")?;
        Ok(Self { ids: checked.into(), shape: ids.shape().clone(), dim })
    }

    fn gather<T: Element>(&self, xs: &[T], of: Split) -> Vec<T> {
        let (n, inner) = (self.shape.dims()[self.dim], of.inner);
        collect_rows(of.outer * n, inner, |row, range| {
            let (block, ids) = (row / n * of.len, &self.ids[row * inner..][range.clone()]);
            ids.iter().zip(range).map(move |(&id, k)| xs[(block + id as usize) * inner + k])
        })
    }

    /// The sums of `src` at its places.
    fn sums<T: Element>(&self, src: &[T], of: Split) -> Vec<T> {
        let mut out = vec![T::zero(); of.outer * of.block()];
        self.scatter(&mut out, src, of);
        out
    }

    /// Adds `src` to `out`, whose shape is `of`.
    fn scatter<T: Element>(&self, out: &mut [T], src: &[T], of: Split) {
        let per_block = self.shape.dims()[self.dim] * of.inner;
        let ids_of = |o: usize| &self.ids[o * per_block..][..per_block];
        scatter(out, of, per_block, ids_of, |rows, o, item, row| {
            rows[row * of.inner + item % of.inner] += src[o * per_block + item];
        });
    }
}

struct Gather(Places);

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("gather", xs.dtype(), T => {
            let out = self.0.gather(&values::<T>(xs, layout)?, Split::new(layout.shape(), self.0.dim));
            Ok(output(out, &self.0.shape))
        })
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !xs.track_op() {
            return Ok(None);
        }
        let sums = by_float!("gather", xs.dtype(), T => {
            with_values::<T, _, 1>([grad], |[g]| {
                tensor(self.0.sums(g, Split::new(xs.shape(), self.0.dim)), xs.shape())
            })
        })?;
        Ok(Some(sums))
    }
}

struct ScatterAdd(Places);

impl CustomOp2 for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("scatter_add", s1.dtype(), T => {
            let mut out = values::<T>(s1, l1)?.into_owned();
            self.0.scatter(&mut out, &values::<T>(s2, l2)?, Split::new(l1.shape(), self.0.dim));
            Ok(output(out, l1.shape()))
        })
    }

    fn bwd(&self, xs: &Tensor, src: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Gradients2> {
        let of_src = || grad.apply_op1(Gather(self.0.clone()));
        Ok((xs.track_op().then(|| grad.clone()), src.track_op().then(of_src).transpose()?))
    }
}

/// A slice's elements are cut into so many ranges at most, each of which one task adds to.
const MAX_RANGES: usize = 256;
/// With so many outer indices, these alone are work enough for every core.
const MANY: usize = 64;

/// For every outer index o, and every item of `ids_of(o)` in order, calls `add(rows, o, item, row)`, which adds the item to
/// row `row` of `rows`, part of the `of.len` rows of `out`'s block o. A block takes in `per_block` elements.
///
/// Each row is added to by one task, in the order of the items, so the bits are those of the plain loop.
fn scatter<'a, T: Element>(
    out: &mut [T],
    of: Split,
    per_block: usize,
    ids_of: impl Fn(usize) -> &'a [u32] + Sync,
    add: impl Fn(&mut [T], usize, usize, usize) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let plain = |o: usize, block: &mut [T]| {
        ids_of(o).iter().enumerate().for_each(|(item, &id)| add(block, o, item, id as usize));
    };
    if of.outer >= MANY {
        return rows(out, of.block(), plain);
    }
    for (o, block) in out.chunks_mut(of.block()).enumerate() {
        if of.block() + per_block <= 2 * CHUNK {
            simd(
                #[inline(always)]
                || plain(o, block),
            );
            continue;
        }
        let ids = ids_of(o);
        let rows_each = of.len.div_ceil(MAX_RANGES);
        let buckets = Buckets::new(ids, rows_each, of.len.div_ceil(rows_each));
        block.par_chunks_mut(rows_each * of.inner).enumerate().for_each(|(range, rows)| {
            let first = range * rows_each;
            let items = buckets.of(range);
            simd(
                #[inline(always)]
                || items.iter().for_each(|&item| add(rows, o, item, ids[item] as usize - first)),
            );
        });
    }
}

/// Items by the range of rows that their id lies in, each range's in their order: a counting sort.
struct Buckets {
    items: Vec<usize>,
    ends: Vec<usize>,
}

impl Buckets {
    fn new(ids: &[u32], rows_each: usize, ranges: usize) -> Self {
        let bucket = |id: u32| id as usize / rows_each;
        let mut ends = vec![0; ranges + 1];
        ids.iter().for_each(|&id| ends[bucket(id) + 1] += 1);
        // Now the numbers of items, shifted by one; then where each range begins; after the last loop, where it ends.
        (1..=ranges).for_each(|range| ends[range] += ends[range - 1]);
        let mut items = vec![0; ids.len()];
        for (item, &id) in ids.iter().enumerate() {
            let place = &mut ends[bucket(id)];
            items[*place] = item;
            *place += 1;
        }
        Self { items, ends }
    }

    fn of(&self, range: usize) -> &[usize] {
        let start = if range == 0 { 0 } else { self.ends[range - 1] };
        &self.items[start..self.ends[range]]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::testing::{assert_close, flat, run};
    use crate::testkit::{check_gradients, values as random};

    fn ids(shape: impl Into<Shape>, num: usize, seed: u64) -> Tensor {
        let unit = (random(shape, seed).unwrap() * 0.5).unwrap() + 0.5;
        (unit.unwrap() * num as f64).unwrap().floor().unwrap().to_dtype(DType::U32).unwrap()
    }

    #[test]
    fn gradients_along_every_dimension() {
        let xs = random((3, 4, 2), 1).unwrap();
        for dim in 0..3 {
            let size = xs.dim(dim).unwrap();
            let some = ids(7, size, 2);
            check_gradients(std::slice::from_ref(&xs), |t| index_select(&t[0], &some, dim)).unwrap();
            let mut dims = [3, 4, 2];
            dims[dim] = 5;
            let places = ids(&dims, size, 3);
            let src = random(&dims, 4).unwrap();
            check_gradients(std::slice::from_ref(&xs), |t| gather(&t[0], &places, dim)).unwrap();
            // Transposed, the shapes of the two differ from the ids'.
            let check = |t: &[Tensor]| scatter_add(&t[0].reshape((3, 4, 2))?, &places, &t[1].reshape(&dims)?, dim);
            check_gradients(&[xs.flatten_all().unwrap(), src.flatten_all().unwrap()], check).unwrap();
        }
        let smaller = ids((2, 6, 1), 4, 5);
        check_gradients(&[xs], |t| gather(&t[0].reshape((3, 4, 2))?, &smaller, 1)).unwrap();
    }

    /// Sizes on both sides of every threshold: few and many outer indices, one and many elements a slice, more rows than
    /// ranges. The values against Candle's, the gradients against Candle's backward.
    #[test]
    fn equal_candle() {
        for (dims, dim, n) in
            [([1, 700, 90], 1, 2000), ([100, 30, 20], 1, 50), ([3, 400, 40], 1, 300), ([50_000, 1, 1], 0, 40_000)]
        {
            let xs = random(&dims, 1).unwrap();
            let some = ids(n, dims[dim], 2).to_dtype(DType::I64).unwrap();
            let fused = run(std::slice::from_ref(&xs), |t| index_select(&t[0], &some, dim));
            let candle = run(std::slice::from_ref(&xs), |t| t[0].index_select(&some, dim));
            fused.iter().zip(&candle).for_each(|(a, b)| assert_close(&flat(a), &flat(b), 1e-13));

            let mut shape = dims;
            shape[dim] = n;
            let places = ids(&shape, dims[dim], 3);
            let fused = run(std::slice::from_ref(&xs), |t| gather(&t[0], &places, dim));
            let candle = run(std::slice::from_ref(&xs), |t| composed_gather(&t[0], &places, dim));
            fused.iter().zip(&candle).for_each(|(a, b)| assert_close(&flat(a), &flat(b), 1e-13));

            let src = random(&shape, 4).unwrap();
            let sums = scatter_add(&xs, &places, &src, dim).unwrap();
            assert_close(&flat(&sums), &flat(&xs.scatter_add(&places, &src, dim).unwrap()), 1e-13);
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let xs = random((600, 70), 1).unwrap().to_dtype(DType::F32).unwrap();
        let (some, places) = (ids(3000, 600, 2), ids((900, 70), 600, 3));
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut all = run(std::slice::from_ref(&xs), |t| index_select(&t[0], &some, 0));
                all.extend(run(std::slice::from_ref(&xs), |t| gather(&t[0], &places, 0)));
                all.iter().flat_map(flat).map(f64::to_bits).collect::<Vec<_>>()
            })
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn empty_tensors() {
        let xs = random((3, 4), 1).unwrap();
        let none = Tensor::zeros(0, DType::U32, &Device::Cpu).unwrap();
        assert_eq!(index_select(&xs, &none, 1).unwrap().dims(), [3, 0]);
        let empty = Tensor::zeros((0, 4), DType::F64, &Device::Cpu).unwrap();
        assert_eq!(index_select(&empty, &ids(2, 4, 1), 1).unwrap().dims(), [0, 2]);
        let nowhere = Tensor::zeros((3, 0), DType::U32, &Device::Cpu).unwrap();
        assert_eq!(gather(&xs, &nowhere, 1).unwrap().dims(), [3, 0]);
        let nothing = Tensor::zeros((3, 0), DType::F64, &Device::Cpu).unwrap();
        assert_eq!(flat(&scatter_add(&xs, &nowhere, &nothing, 1).unwrap()), flat(&xs));
    }

    #[test]
    fn errors_are_named_and_constants_get_no_gradient() {
        let xs = random((3, 4), 1).unwrap();
        let some = Tensor::new(&[0i64, 3], &Device::Cpu).unwrap();
        let message = |result: Result<Tensor>| result.unwrap_err().to_string();
        let wrong = message(index_select(&xs, &some, 0));
        assert!(wrong.contains("index_select: id 3 at position 1: expected one of 3 places"), "{wrong}");
        assert!(message(index_select(&xs, &some, 2)).contains("expected a dimension below 2, got 2 for [3, 4]"));
        assert!(message(index_select(&xs, &xs, 0)).contains("index_select: expected ids (n), got [3, 4]"));
        let floats = xs.get(0).unwrap();
        assert!(message(index_select(&xs, &floats, 0)).contains("expected ids of u32 or i64, got F64"));
        let wide = ids((4, 2), 2, 1);
        assert!(message(gather(&xs, &wide, 1)).contains("expected ids no larger than xs [3, 4] outside dimension 1"));
        assert!(message(scatter_add(&xs, &wide, &xs, 1)).contains("got [4, 2] and [3, 4]"));
        assert!(!index_select(&xs, &some, 1).unwrap().track_op());
    }
}
