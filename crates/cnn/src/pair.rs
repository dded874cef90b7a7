//! Sizes along the two axes of an image, and padding.

/// A height and a width. A plain number stands for both: `3.into()` is 3 × 3, `(3, 5).into()` is height 3, width 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Along the rows.
    pub height: usize,
    /// Along the columns.
    pub width: usize,
}

impl Pair {
    /// The same along both axes.
    pub const fn square(size: usize) -> Self {
        Self { height: size, width: size }
    }

    pub(crate) const fn array(self) -> [usize; 2] {
        [self.height, self.width]
    }
}

impl From<usize> for Pair {
    fn from(size: usize) -> Self {
        Self::square(size)
    }
}

impl From<(usize, usize)> for Pair {
    fn from((height, width): (usize, usize)) -> Self {
        Self { height, width }
    }
}

/// What surrounds the input of a convolution: zeros, `T` being a number for sequences, a [`Pair`] for images and a
/// [`Triple`](crate::Triple) for volumes.
///
/// `1.into()` is one zero on each side of every axis, `(1, 2).into()` one above and below, two left and right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding<T> {
    /// So many zeros on each side.
    Zeros(T),
    /// As many zeros as keep the size: dilation · (kernel_size − 1) in total, the odd one at the end. Stride 1 only.
    Same,
}

impl From<usize> for Padding<usize> {
    fn from(zeros: usize) -> Self {
        Self::Zeros(zeros)
    }
}

impl From<usize> for Padding<Pair> {
    fn from(zeros: usize) -> Self {
        Self::Zeros(zeros.into())
    }
}

impl From<(usize, usize)> for Padding<Pair> {
    fn from(zeros: (usize, usize)) -> Self {
        Self::Zeros(zeros.into())
    }
}

impl From<Pair> for Padding<Pair> {
    fn from(zeros: Pair) -> Self {
        Self::Zeros(zeros)
    }
}
