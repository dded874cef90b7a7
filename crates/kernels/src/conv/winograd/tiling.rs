//! How an image is cut into tiles of 2 x 2 outputs, and which tiles are handled together.

use std::ops::Range;

use super::super::geometry::Geometry;
use super::lanes::padded;

/// Tiles of a product that make good use of the kernels it reads; smaller images are put together.
const GOOD_TILES: usize = 96;
/// Tiles of the smallest product that is better than having more blocks.
const MIN_TILES: usize = 64;
/// Blocks that a batch is cut into at least, where its images are large enough.
const MIN_BLOCKS: usize = 8;
/// Tiles of one image that are handled together, about, so that their transforms stay in a core's cache.
const MAX_TILES: usize = 128;

/// Images of so many channels, rows and columns.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Planes {
    fn new(channels: usize, [height, width]: [usize; 2]) -> Self {
        Self { channels, height, width }
    }

    /// Elements of one image.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }
}

/// A convolution of `from` with 3 x 3 kernels to `to`, which is covered with tiles of 2 x 2.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    pub batch: usize,
    pub from: Planes,
    pub to: Planes,
    /// Padding before the first row and column of `from`; negative where the first ones are never met.
    pub padding: [isize; 2],
}

/// What is handled together: the images of one block, a band of rows of tiles.
pub(super) struct Part {
    pub images: usize,
    pub rows: Range<usize>,
    /// Tiles of a row.
    pub width: usize,
}

impl Part {
    pub fn tiles(&self) -> usize {
        self.images * self.rows.len() * self.width
    }
}

impl Tiling {
    pub fn of_output(g: &Geometry) -> Self {
        let (from, to) = (Planes::new(g.in_channels, g.input), Planes::new(g.out_channels, g.output));
        Self { batch: g.batch, from, to, padding: g.padding.map(|p| p as isize) }
    }

    /// The input gradient is the convolution of the output's gradient with the kernels turned by 180 degrees.
    pub fn of_input_gradient(g: &Geometry) -> Self {
        let (from, to) = (Planes::new(g.out_channels, g.output), Planes::new(g.in_channels, g.input));
        Self { batch: g.batch, from, to, padding: g.padding.map(|p| 2 - p as isize) }
    }

    /// Images that one job handles together.
    pub fn images_per_block(&self) -> usize {
        let images = |tiles: usize| tiles.div_ceil(self.tiles_per_image());
        images(GOOD_TILES).min(self.batch / MIN_BLOCKS).max(images(MIN_TILES)).min(self.batch).max(1)
    }

    /// Whether a batch has fewer blocks than it takes to keep a machine busy.
    pub fn has_few_blocks(&self) -> bool {
        self.batch.div_ceil(self.images_per_block()) < MIN_BLOCKS
    }

    /// The parts of a block of `images` images.
    pub fn parts(&self, images: usize) -> impl Iterator<Item = Part> {
        let [height, width] = self.tiles();
        let bands = if images > 1 { 1 } else { (height * width).div_ceil(MAX_TILES).min(height) };
        let rows = height.div_ceil(bands);
        (0..height).step_by(rows).map(move |row| Part { images, rows: row..(row + rows).min(height), width })
    }

    pub fn tiles_per_image(&self) -> usize {
        let [rows, width] = self.tiles();
        rows * width
    }

    /// Rows and columns of tiles of an image.
    fn tiles(&self) -> [usize; 2] {
        [self.to.height.div_ceil(2), self.to.width.div_ceil(2)]
    }
}

/// Sixteen matrices of one size in a buffer, one for each element of a transformed tile.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    rows: usize,
    /// Distance between the rows.
    pub pitch: usize,
}

impl Stack {
    pub const DEPTH: usize = 16;

    pub fn new(rows: usize, columns: usize) -> Self {
        Self { rows, pitch: padded(columns) }
    }

    /// Where matrix `index` begins.
    #[inline(always)]
    pub fn at(&self, index: usize) -> usize {
        // A few elements between the matrices keep equal elements of all sixteen out of one set of a cache.
        index * (self.rows * self.pitch + GAP)
    }

    /// Elements of the buffer.
    pub fn len(&self) -> usize {
        self.at(Self::DEPTH)
    }
}

const GAP: usize = 16;
