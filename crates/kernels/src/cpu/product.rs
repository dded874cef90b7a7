//! Matrix products on slices.

use rayon::prelude::*;

use super::{Element, simd};

/// Multiply-adds that a parallel job makes at least; less is not worth handing over.
const JOB: usize = 1 << 18;
/// Jobs that a product is cut into at most: enough for a dozen cores, few enough that packing stays cheap.
const MAX_JOBS: usize = 16;
/// Rows or columns that a job has at least, so that what it packs of the other operand is used often.
const MIN_EXTENT: usize = 64;

/// A matrix inside a slice: element (i, j) is at `i · row_stride + j · column_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub data: &'a [T],
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix whose rows lie `row_stride` apart.
    pub fn rows(data: &'a [T], row_stride: usize) -> Self {
        Self { data, row_stride, column_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { data: self.data, row_stride: self.column_stride, column_stride: self.row_stride }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }

    /// The matrix from row `row` and column `column` on.
    fn at(&self, row: usize, column: usize) -> *const T {
        let offset = row * self.row_stride + column * self.column_stride;
        self.data[offset.min(self.data.len())..].as_ptr()
    }
}

/// `dst = lhs · rhs`, or `dst += lhs · rhs` where `accumulate`, for `dst` of `m` rows that lie `row_stride` apart.
///
/// `size` is (m, k, n): rows of `lhs`, columns of `lhs`, columns of `rhs`. Runs on this thread.
pub(crate) fn product<T: Element>(
    size: (usize, usize, usize),
    dst: &mut [T],
    row_stride: usize,
    accumulate: bool,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
) {
    check(size, dst, row_stride, lhs, rhs);
    #[allow(unsafe_code)]
    // SAFETY: `check` keeps every access inside its slice; `dst` is borrowed exclusively.
    unsafe {
        block(size, dst.as_mut_ptr(), row_stride, accumulate, lhs, rhs, (0, size.0), (0, size.2));
    }
}

/// What is done to a stretch of a product's row that begins at the column given.
pub(crate) type Finish<'a, T> = &'a (dyn Fn(usize, &mut [T]) + Sync);

/// `lhs · rhs` of size (m, k, n) in parallel, cut into bands of columns or of rows, where `finish(column, values)` then
/// changes each stretch of a row, which begins at that column, while it is in the cache.
///
/// How it is cut depends on the size alone, and no sum is cut, so the bits are those of [`product`].
pub(crate) fn product_of<T: Element>(
    size: (usize, usize, usize),
    lhs: Matrix<T>,
    rhs: Matrix<T>,
    finish: Option<Finish<T>>,
) -> Vec<T> {
    let (m, k, n) = size;
    assert!(lhs.holds(m, k) && rhs.holds(k, n), "product outside its operands");
    let mut out = Vec::with_capacity(m * n);
    #[allow(unsafe_code)]
    // SAFETY: the operands hold the product and `out` has room for it; the bands cover it all, and `gemm` writes every
    // element of its destination, zeros where k is 0.
    unsafe {
        bands(size, out.as_mut_ptr(), n, false, lhs, rhs, finish);
        out.set_len(m * n);
    }
    out
}

/// [`product`] in parallel, with the same bits.
pub(crate) fn par_product<T: Element>(
    size: (usize, usize, usize),
    dst: &mut [T],
    row_stride: usize,
    accumulate: bool,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
) {
    check(size, dst, row_stride, lhs, rhs);
    #[allow(unsafe_code)]
    // SAFETY: `check` keeps every access inside its slice; `dst` is borrowed exclusively.
    unsafe {
        bands(size, dst.as_mut_ptr(), row_stride, accumulate, lhs, rhs, None);
    }
}

/// The product in bands of columns or of rows, each a job.
///
/// # Safety
/// As [`block`], for all rows and columns; `finish` sees only what has been written.
#[allow(unsafe_code)]
unsafe fn bands<T: Element>(
    size: (usize, usize, usize),
    dst: *mut T,
    row_stride: usize,
    accumulate: bool,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
    finish: Option<Finish<T>>,
) {
    let (m, k, n) = size;
    let jobs = (m * k * n / JOB).min(MAX_JOBS);
    // Each job packs the operand that it does not cut: the smaller one, unless the bands would be too thin.
    let by_columns = n >= m || n >= 4 * MIN_EXTENT;
    let extent = if by_columns { n } else { m };
    let jobs = jobs.min(extent / MIN_EXTENT).max(1);
    // A multiple of the vectors of every instruction set, so that only the last job has an edge.
    let band = extent.div_ceil(jobs).next_multiple_of(16).max(16);
    let dst = Destination(dst);
    let run = |job: usize| {
        let dst = &dst;
        let part = (job * band, ((job + 1) * band).min(extent));
        let (rows, columns) = if by_columns { ((0, m), part) } else { (part, (0, n)) };
        // SAFETY: the caller's promise; the jobs write to bands that do not overlap.
        unsafe { block(size, dst.0, row_stride, accumulate, lhs, rhs, rows, columns) };
        let Some(finish) = finish else { return };
        for row in rows.0..rows.1 {
            // SAFETY: this stretch was written above, and belongs to this job alone.
            let values = unsafe {
                std::slice::from_raw_parts_mut(dst.0.add(row * row_stride + columns.0), columns.1 - columns.0)
            };
            simd(|| finish(columns.0, values));
        }
    };
    match extent.div_ceil(band) {
        0 => {}
        1 => run(0),
        jobs => (0..jobs).into_par_iter().for_each(run),
    }
}

/// A pointer that several jobs write through, each to elements of its own.
struct Destination<T>(*mut T);

#[allow(unsafe_code)]
// SAFETY: the jobs of `bands` share it while nobody else uses the memory behind it, and write disjoint parts.
unsafe impl<T: Send> Sync for Destination<T> {}

fn check<T>(size: (usize, usize, usize), dst: &[T], row_stride: usize, lhs: Matrix<T>, rhs: Matrix<T>) {
    let (m, k, n) = size;
    assert!(n <= row_stride || m <= 1, "product of {m} x {k} x {n}, row stride {row_stride}");
    let inside = m == 0 || n == 0 || (m - 1) * row_stride + n <= dst.len();
    assert!(inside && lhs.holds(m, k) && rhs.holds(k, n), "product outside its operands");
}

/// Rows `rows` and columns `columns` of the product, written to their place in `dst`.
///
/// # Safety
/// `size`, `row_stride` and the operands passed [`check`] with the slice that `dst` points to, the ranges lie within m and
/// n, and nobody else accesses that part of `dst` meanwhile.
#[allow(unsafe_code, clippy::too_many_arguments)]
unsafe fn block<T: Element>(
    size: (usize, usize, usize),
    dst: *mut T,
    row_stride: usize,
    accumulate: bool,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
    rows: (usize, usize),
    columns: (usize, usize),
) {
    let k = size.1;
    let (m, n) = (rows.1 - rows.0, columns.1 - columns.0);
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the caller's promise; T is f32 or f64, both known to `gemm`, which reads no `dst` unless it accumulates.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.add(rows.0 * row_stride + columns.0),
            1,
            row_stride as isize,
            accumulate,
            lhs.at(rows.0, 0),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.at(0, columns.0),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// Sizes that are cut by columns, by rows, and not at all, with edges; every layout of the operands.
    #[test]
    fn parallel_equals_serial_to_the_bit_and_the_plain_sum() {
        for (m, k, n) in [(70, 90, 700), (1000, 33, 100), (3, 5, 7), (1, 300, 2000), (300, 64, 257), (5, 0, 3)] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            for (a_transposed, b_transposed) in [(false, false), (true, false), (false, true)] {
                let lhs = if a_transposed { Matrix::rows(&a, m).transposed() } else { Matrix::rows(&a, k) };
                let rhs = if b_transposed { Matrix::rows(&b, k).transposed() } else { Matrix::rows(&b, n) };
                let mut serial = values(m * (n + 3), 3);
                product((m, k, n), &mut serial, n + 3, false, lhs, rhs);
                let parallel = product_of((m, k, n), lhs, rhs, Some(&|_, values| values[0] += 0.0));
                for (serial, parallel) in serial.chunks(n + 3).zip(parallel.chunks(n)) {
                    assert!(serial.iter().zip(parallel).all(|(a, b)| a.to_bits() == b.to_bits()), "{m} {k} {n}");
                }
                let at = |x: Matrix<f32>, i: usize, j: usize| x.data[i * x.row_stride + j * x.column_stride] as f64;
                let (i, j) = (m - 1, n - 1);
                let want = (0..k).map(|l| at(lhs, i, l) * at(rhs, l, j)).sum::<f64>();
                assert!((parallel[i * n + j] as f64 - want).abs() < 1e-4, "{m} {k} {n}");
                let mut twice = parallel.clone();
                product((m, k, n), &mut twice, n, true, lhs, rhs);
                assert!((twice[i * n + j] as f64 - 2.0 * want).abs() < 2e-4, "{m} {k} {n}");
            }
        }
    }

    /// A job's `finish` sees each element once, with its column.
    #[test]
    fn finish_changes_every_element_once() {
        let (a, b) = (vec![0f32; 300 * 70], vec![0f32; 70 * 500]);
        let finish = |column: usize, values: &mut [f32]| {
            values.iter_mut().enumerate().for_each(|(j, x)| *x += (column + j) as f32 + 1.0);
        };
        let got = product_of((300, 70, 500), Matrix::rows(&a, 70), Matrix::rows(&b, 500), Some(&finish));
        assert!(got.iter().enumerate().all(|(i, &x)| x == (i % 500) as f32 + 1.0));
    }

    #[test]
    fn empty_products_write_zeros_or_nothing() {
        let mut dst = [5f32; 4];
        product((2, 0, 2), &mut dst, 2, false, Matrix::rows(&[], 0), Matrix::rows(&[], 2));
        assert_eq!(dst, [0.0; 4]);
        assert_eq!(product_of::<f32>((2, 0, 2), Matrix::rows(&[], 0), Matrix::rows(&[], 2), None), [0.0; 4]);
        product((0, 3, 2), &mut dst, 2, false, Matrix::rows(&[], 3), Matrix::rows(&[0.0; 6], 2));
        assert_eq!(dst, [0.0; 4]);
    }
}
