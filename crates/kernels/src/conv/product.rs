//! A serial matrix product on slices.

use crate::cpu::Element;

/// A matrix inside a slice: element (i, j) is at `i · row_stride + j · column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
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
        (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }
}

/// `dst = lhs · rhs`, or `dst += lhs · rhs` where `accumulate`, for `dst` of `m` rows that lie `row_stride` apart.
///
/// `size` is (m, k, n): rows of `lhs`, columns of `lhs`, columns of `rhs`.
pub(super) fn product<T: Element>(
    size: (usize, usize, usize),
    dst: &mut [T],
    row_stride: usize,
    accumulate: bool,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
) {
    let (m, k, n) = size;
    assert!(m > 0 && k > 0 && n > 0 && n <= row_stride, "product of {m} x {k} x {n}, row stride {row_stride}");
    assert!(
        (m - 1) * row_stride + n <= dst.len() && lhs.holds(m, k) && rhs.holds(k, n),
        "product outside its operands"
    );
    #[allow(unsafe_code)]
    // SAFETY: the assertions above keep every access inside its slice; `dst` is borrowed exclusively, its rows do not
    // overlap since `n <= row_stride`; T is f32 or f64, both known to `gemm`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
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
