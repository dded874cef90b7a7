//! Between volumes (N, C, D, plane) and images (N · D', C · taps, plane), in which the slices under a window of the depth
//! are channels side by side.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::geometry::Geometry;
use crate::Result;
use crate::cpu::{Element, rows};

/// How windows lie along the depth of volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    /// Slices of a volume.
    pub input: usize,
    /// Windows: images of a volume.
    pub output: usize,
    /// Slices under a window.
    pub taps: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
}

/// Images that are handled together: the windows `windows` of each of `samples`.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub samples: Range<usize>,
    pub windows: Range<usize>,
}

impl Block {
    pub fn images(&self) -> usize {
        self.samples.len() * self.windows.len()
    }
}

impl Depth {
    /// The rows of `geometry`.
    pub fn of(g: &Geometry) -> Self {
        let (stride, dilation, padding) = (g.stride[0], g.dilation[0], g.padding[0]);
        Self { input: g.input[0], output: g.output[0], taps: g.kernel[0], stride, dilation, padding }
    }

    /// Each of `len` slices by itself, so that nothing moves but channels and slices change places.
    pub fn each(len: usize) -> Self {
        Self { input: len, output: len, taps: 1, stride: 1, dilation: 1, padding: 0 }
    }

    /// All images of `samples` volumes in blocks of about `images`: parts of one sample, or several whole ones.
    pub fn blocks(self, samples: usize, images: usize) -> impl Iterator<Item = Block> {
        let per_sample = self.output.div_ceil(images.max(1)); // blocks
        let windows = self.output.div_ceil(per_sample.max(1)).max(1);
        let together = (images / self.output.max(1)).max(1); // samples
        (0..samples).step_by(together).flat_map(move |sample| {
            (0..self.output).step_by(windows).map(move |window| Block {
                samples: sample..(sample + together).min(samples),
                windows: window..(window + windows).min(self.output),
            })
        })
    }

    /// The slice under tap `tap` of window `window`, unless it is padding.
    #[inline(always)]
    fn slice(&self, window: usize, tap: usize) -> Option<usize> {
        let slice = window * self.stride + tap * self.dilation;
        slice.checked_sub(self.padding).filter(|&slice| slice < self.input)
    }

    /// The images of `block` (images, C · taps, plane), from volumes (N, C, D, plane).
    pub fn unfold<T: Element>(&self, block: &Block, channels: usize, plane: usize, volumes: &[T]) -> Vec<T> {
        let windows = block.windows.len();
        let mut images = vec![T::zero(); block.images() * channels * self.taps * plane];
        rows(&mut images, plane, |row, to| {
            let (row, tap) = (row / self.taps, row % self.taps);
            let (image, channel) = (row / channels, row % channels);
            let sample = block.samples.start + image / windows;
            if let Some(slice) = self.slice(block.windows.start + image % windows, tap) {
                to.copy_from_slice(&volumes[((sample * channels + channel) * self.input + slice) * plane..][..plane]);
            }
        });
        images
    }

    /// The transpose of [`unfold`](Self::unfold): adds each plane of the images of `block` to its slice of `volumes`.
    pub fn add_fold<T: Element>(&self, block: &Block, channels: usize, plane: usize, images: &[T], volumes: &mut [T]) {
        let sample = channels * self.input * plane;
        let volumes = &mut volumes[block.samples.start * sample..block.samples.end * sample];
        rows(volumes, self.input * plane, |row, volume| {
            let (sample, channel) = (row / channels, row % channels);
            for (i, window) in block.windows.clone().enumerate() {
                let image = sample * block.windows.len() + i;
                for tap in 0..self.taps {
                    let Some(slice) = self.slice(window, tap) else { continue };
                    let from = &images[((image * channels + channel) * self.taps + tap) * plane..][..plane];
                    let to = &mut volume[slice * plane..][..plane];
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
                }
            }
        });
    }

    /// All images of `xs` (N, C, D, H, W) by Candle's operations.
    pub fn unfold_composed(&self, xs: &Tensor) -> Result<Tensor> {
        let (n, c, _, height, width) = xs.dims5()?;
        let (table, slices) = self.table(xs)?;
        let xs = xs.pad_with_zeros(2, self.padding, slices - self.padding - self.input)?;
        let images = xs.contiguous()?.index_select(&table, 2)?;
        let images = images.reshape((n, c, self.output, self.taps, height, width))?.transpose(1, 2)?;
        images.reshape((n * self.output, c * self.taps, height, width))
    }

    /// The volumes (N, C, D, H, W) of `images` (N · D', C · taps, H, W) by Candle's operations.
    pub fn fold_composed(&self, images: &Tensor) -> Result<Tensor> {
        let (images_len, channels, height, width) = images.dims4()?;
        let (n, c) = (images_len / self.output, channels / self.taps);
        let (table, slices) = self.table(images)?;
        let planes = images.reshape((n, self.output, c, self.taps, height, width))?.transpose(1, 2)?;
        let planes = planes.reshape((n, c, self.output * self.taps, height, width))?;
        let zeros = Tensor::zeros((n, c, slices, height, width), images.dtype(), images.device())?;
        zeros.index_add(&table, &planes, 2)?.narrow(2, self.padding, self.input)?.contiguous()
    }

    /// The slice under each tap of each window, counted from the front of the padding, and how many slices there are
    /// with both paddings.
    fn table(&self, like: &Tensor) -> Result<(Tensor, usize)> {
        let slice = |window: usize, tap: usize| (window * self.stride + tap * self.dilation) as i64;
        let table = (0..self.output).flat_map(|window| (0..self.taps).map(move |tap| slice(window, tap)));
        let table: Vec<i64> = table.collect();
        let covered = table.iter().max().map_or(0, |&last| last as usize + 1);
        let table = Tensor::new(table, like.device())?.to_dtype(DType::U32)?;
        Ok((table, covered.max(self.padding + self.input)))
    }
}
