//! How an image is cut into tiles of outputs, and which tiles are handled together.

use std::ops::Range;

use super::super::geometry::Geometry;
use super::super::op::Direction;
use super::lanes::padded;

/// Tiles of a product that make good use of the kernels it reads; smaller images are put together.
const GOOD_TILES: usize = 96;
/// Tiles of the smallest product that is better than having more blocks.
const MIN_TILES: usize = 32;
/// The same for a weight gradient by 3 x 3 kernels, whose blocks have partial sums.
const MIN_TILES_OF_SUMS: usize = 64;
/// Blocks that a batch is cut into at least, where its images are large enough.
const MIN_BLOCKS: usize = 8;
/// Tiles of one image that are handled together, about, so that their transforms stay in a core's cache.
const MAX_TILES: usize = 128;

/// Images of so many channels, rows and columns, each channel of which is taken apart into `step` x `step` phases: the
/// pixels `step` apart. The phases of a channel follow each other as channels do.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub step: usize,
}

impl Planes {
    fn new(channels: usize, [height, width]: [usize; 2], step: usize) -> Self {
        Self { channels, height, width, step }
    }

    /// Elements of one image.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Channels of a pixel: the phases of all channels of the image.
    pub fn depth(&self) -> usize {
        self.channels * self.step * self.step
    }
}

/// A convolution of `from` to `to`, which is covered with tiles.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    /// Rows and columns of a tile.
    pub tile: usize,
    /// Rows and columns of a kernel.
    pub taps: usize,
    pub batch: usize,
    pub from: Planes,
    pub to: Planes,
    /// Padding before the first row and column of `from`; negative where the first ones are never met.
    pub padding: [isize; 2],
    /// Tiles of a block at least, where there are so many.
    min_tiles: usize,
}

/// What is handled together: the images of one block, a band of rows of tiles.
pub(super) struct Part {
    /// Rows and columns of a tile.
    pub tile: usize,
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
    /// The tiling of a direction: of its output, or of the convolution's for a direction that is computed by the transposed
    /// algorithm: the weight gradient, and the input gradient where the input has phases.
    pub fn new(g: &Geometry, direction: Direction, tile: usize) -> Self {
        let step = g.stride[0];
        let taps = g.kernel[0] / step;
        let (input, output) = (Planes::new(g.in_channels, g.input, step), Planes::new(g.out_channels, g.output, 1));
        let padding = g.padding.map(|padding| padding as isize);
        let (from, to, padding) = match direction {
            // The convolution of the output's gradient with the kernels turned by 180 degrees.
            Direction::Input if step == 1 => (output, input, padding.map(|padding| taps as isize - 1 - padding)),
            _ => (input, output, padding),
        };
        let has_sums = direction == Direction::Weight && taps == 3;
        let min_tiles = if has_sums { MIN_TILES_OF_SUMS } else { MIN_TILES };
        Self { tile, taps, batch: g.batch, from, to, padding, min_tiles }
    }

    /// Images that one job handles together.
    pub fn images_per_block(&self) -> usize {
        let images = |tiles: usize| tiles.div_ceil(self.tiles_per_image());
        images(GOOD_TILES).min(self.batch / MIN_BLOCKS).max(images(self.min_tiles)).min(self.batch).max(1)
    }

    /// Blocks of images, each of them a job.
    pub fn num_blocks(&self) -> usize {
        self.batch.div_ceil(self.images_per_block())
    }

    /// Tiles of all images.
    pub fn num_tiles(&self) -> usize {
        self.batch * self.tiles_per_image()
    }

    /// The parts of a block of `images` images.
    pub fn parts(&self, images: usize) -> impl Iterator<Item = Part> {
        let [height, width] = self.tiles();
        let bands = if images > 1 { 1 } else { (height * width).div_ceil(MAX_TILES).min(height) };
        let (tile, rows) = (self.tile, height.div_ceil(bands));
        (0..height).step_by(rows).map(move |row| Part { tile, images, rows: row..(row + rows).min(height), width })
    }

    fn tiles_per_image(&self) -> usize {
        let [rows, width] = self.tiles();
        rows * width
    }

    /// Rows and columns of tiles of an image.
    fn tiles(&self) -> [usize; 2] {
        [self.to.height.div_ceil(self.tile), self.to.width.div_ceil(self.tile)]
    }
}

/// Matrices of one size in a buffer, one for each element of a transformed tile.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    depth: usize,
    rows: usize,
    /// Distance between the rows.
    pub pitch: usize,
}

/// Elements between the matrices, which keep equal elements of all of them out of one set of a cache.
const GAP: usize = 16;

impl Stack {
    /// Matrices for tiles of `inputs` x `inputs`.
    pub fn new(inputs: usize, rows: usize, columns: usize) -> Self {
        Self { depth: inputs * inputs, rows, pitch: padded(columns) }
    }

    /// Where matrix `index` begins.
    #[inline(always)]
    pub fn at(&self, index: usize) -> usize {
        index * (self.rows * self.pitch + GAP)
    }

    /// Elements of the buffer.
    pub fn len(&self) -> usize {
        self.at(self.depth)
    }
}
