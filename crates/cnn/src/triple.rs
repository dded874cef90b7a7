//! Sizes along the three axes of a volume.

use crate::Padding;

/// A depth, a height and a width. A plain number stands for all: `3.into()` is 3 × 3 × 3, `(1, 3, 5).into()` is depth 1,
/// height 3, width 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Triple {
    /// Along the slices: the frames of a video.
    pub depth: usize,
    /// Along the rows.
    pub height: usize,
    /// Along the columns.
    pub width: usize,
}

impl Triple {
    /// The same along all axes.
    pub const fn cube(size: usize) -> Self {
        Self { depth: size, height: size, width: size }
    }

    pub(crate) const fn array(self) -> [usize; 3] {
        [self.depth, self.height, self.width]
    }
}

impl From<usize> for Triple {
    fn from(size: usize) -> Self {
        Self::cube(size)
    }
}

impl From<(usize, usize, usize)> for Triple {
    fn from((depth, height, width): (usize, usize, usize)) -> Self {
        Self { depth, height, width }
    }
}

impl From<usize> for Padding<Triple> {
    fn from(zeros: usize) -> Self {
        Self::Zeros(zeros.into())
    }
}

impl From<(usize, usize, usize)> for Padding<Triple> {
    fn from(zeros: (usize, usize, usize)) -> Self {
        Self::Zeros(zeros.into())
    }
}

impl From<Triple> for Padding<Triple> {
    fn from(zeros: Triple) -> Self {
        Self::Zeros(zeros)
    }
}
