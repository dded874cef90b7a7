//! The sizes of a convolution, checked once, and which input element meets which output element.

use std::ops::Range;

use super::params::{Conv2dParams, ConvTranspose2dParams};
use crate::Result;
use crate::cpu::outputs_inside;

/// Columns of the smallest product worth a call; smaller images are put together.
const MIN_COLUMNS: usize = 128;
/// Elements of the column matrix that is built at a time, so that it stays in a core's cache.
const COLUMN_ELEMENTS: usize = 1 << 17;
/// Jobs that a batch is cut into at least, where it has that many images.
const MIN_JOBS: usize = 8;

/// A checked convolution from `input` to `output`, shared by all of its three directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub groups: usize,
    pub input: [usize; 2],
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Padding before the first row and column; what follows the last is implied by `output`.
    pub padding: [usize; 2],
}

impl Geometry {
    /// The geometry of a convolution of `xs` (N, C, H, W) with `weight` (O, C / groups, kernel height, kernel width).
    pub fn conv(name: &str, xs: &[usize; 4], weight: &[usize; 4], params: &Conv2dParams) -> Result<Self> {
        let &[batch, in_channels, height, width] = xs;
        let &[out_channels, group_in, kernel_height, kernel_width] = weight;
        check_common(name, xs, weight, params.stride, params.dilation, params.groups)?;
        let groups = params.groups;
        check_divisible(name, "in_channels", in_channels, groups)?;
        check_divisible(name, "out_channels", out_channels, groups)?;
        if group_in != in_channels / groups {
            candle_core::bail!(
                "{name}: expected weight dimension 1 to be {} (in_channels {in_channels} / groups {groups}), got {group_in}",
                in_channels / groups
            );
        }
        let (input, kernel) = ([height, width], [kernel_height, kernel_width]);
        let mut output = [0; 2];
        for axis in 0..2 {
            let padded = params.padding[axis].iter().try_fold(input[axis], |sum, &p| sum.checked_add(p));
            let extent = extent(kernel[axis], params.dilation[axis]);
            output[axis] = match (padded, extent) {
                (Some(padded), Some(extent)) if extent <= padded => (padded - extent) / params.stride[axis] + 1,
                (Some(padded), Some(extent)) => candle_core::bail!(
                    "{name}: expected a kernel no larger than the padded input ({padded}) on axis {}, got {extent} \
                     (kernel {}, dilation {})",
                    axis + 2,
                    kernel[axis],
                    params.dilation[axis]
                ),
                _ => candle_core::bail!("{name}: padding or dilation overflows on axis {}", axis + 2),
            };
        }
        let padding = [params.padding[0][0], params.padding[1][0]];
        let (stride, dilation) = (params.stride, params.dilation);
        Self { batch, in_channels, out_channels, groups, input, output, kernel, stride, dilation, padding }
            .checked(name)
    }

    /// The geometry of the convolution whose input gradient is the transposed convolution of `xs` (N, C, H, W) with
    /// `weight` (C, O / groups, kernel height, kernel width): its output is `xs`.
    pub fn transposed(
        name: &str,
        xs: &[usize; 4],
        weight: &[usize; 4],
        params: &ConvTranspose2dParams,
    ) -> Result<Self> {
        let &[batch, in_channels, height, width] = xs;
        let &[weight_in, group_out, kernel_height, kernel_width] = weight;
        check_common(name, xs, weight, params.stride, params.dilation, params.groups)?;
        check_divisible(name, "in_channels", in_channels, params.groups)?;
        if weight_in != in_channels {
            candle_core::bail!(
                "{name}: expected weight dimension 0 to be {in_channels} (in_channels), got {weight_in}"
            );
        }
        let (output, kernel) = ([height, width], [kernel_height, kernel_width]);
        let mut input = [0; 2];
        for axis in 0..2 {
            input[axis] = transposed_size(name, output[axis], kernel[axis], params, axis)?;
        }
        let out_channels = group_out.saturating_mul(params.groups);
        // Named for the convolution: what goes in here is what came out there.
        Self {
            batch,
            in_channels: out_channels,
            out_channels: in_channels,
            groups: params.groups,
            input,
            output,
            kernel,
            stride: params.stride,
            dilation: params.dilation,
            padding: params.padding,
        }
        .checked(name)
    }

    /// Checks that every buffer's length is a number that offsets can be computed with.
    fn checked(self, name: &str) -> Result<Self> {
        let lens = [
            [self.batch, self.in_channels, self.input[0], self.input[1]],
            [self.batch, self.out_channels, self.output[0], self.output[1]],
            [self.in_channels, self.kernel[0], self.kernel[1], MIN_COLUMNS.max(self.output[1])],
            [self.input[0].max(self.padding[0]), self.input[1].max(self.padding[1]), self.stride[0], self.stride[1]],
        ];
        for len in lens {
            match len.iter().try_fold(16usize, |product, &size| product.checked_mul(size)) {
                Some(len) if len <= isize::MAX as usize => {}
                _ => candle_core::bail!("{name}: a tensor of {len:?} elements is too large"),
            }
        }
        Ok(self)
    }

    /// Input channels of one group.
    pub fn group_in(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of one group.
    pub fn group_out(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Elements of one channel of an input image.
    pub fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Elements of one channel of an output image.
    pub fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Taps of the kernel on one channel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Terms of the sum behind one output element: the rows of the column matrix.
    pub fn depth(&self) -> usize {
        self.group_in() * self.taps()
    }

    /// Whether the input, as it lies in memory, is its own column matrix.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.input == self.output
    }

    /// Whether each channel is convolved by itself.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.groups == self.out_channels && self.groups > 1
    }

    /// The input row under kernel row `ky` for output row `oy`, unless it is padding.
    #[inline(always)]
    pub fn input_row(&self, oy: usize, ky: usize) -> Option<usize> {
        let y = oy * self.stride[0] + ky * self.dilation[0];
        y.checked_sub(self.padding[0]).filter(|&y| y < self.input[0])
    }

    /// The output columns for which kernel column `kx` lies inside the input, and the input column of the first one.
    #[inline(always)]
    pub fn output_columns(&self, kx: usize) -> (Range<usize>, usize) {
        outputs_inside(self.output[1], self.stride[1], kx * self.dilation[1], self.padding[1], self.input[1])
    }

    /// Images that one job handles together: more than one where an image is so small that the product would spend its
    /// time reading the weight.
    pub fn images_per_block(&self) -> usize {
        MIN_COLUMNS.div_ceil(self.output_plane()).min(self.batch / MIN_JOBS).max(1)
    }

    /// Output rows whose columns are built at a time.
    pub fn rows_per_band(&self, images: usize) -> usize {
        let columns = (COLUMN_ELEMENTS / self.depth()).max(MIN_COLUMNS);
        if images > 1 { self.output[0] } else { columns.div_ceil(self.output[1]).min(self.output[0]) }
    }
}

/// The size of axis `axis` of a transposed convolution's output.
fn transposed_size(
    name: &str,
    size: usize,
    kernel: usize,
    params: &ConvTranspose2dParams,
    axis: usize,
) -> Result<usize> {
    let (stride, dilation, extra) = (params.stride[axis], params.dilation[axis], params.output_padding[axis]);
    if extra >= stride.max(dilation) {
        candle_core::bail!(
            "{name}: expected output_padding less than the larger of stride {stride} and dilation {dilation} on axis {}, \
             got {extra}",
            axis + 2
        );
    }
    let padding = params.padding[axis];
    let full = (size - 1)
        .checked_mul(stride)
        .and_then(|span| span.checked_add(extent(kernel, dilation)?))
        .and_then(|full| full.checked_add(extra));
    match (full, padding.checked_mul(2)) {
        (Some(full), Some(cut)) if full > cut => Ok(full - cut),
        (Some(full), Some(_)) => candle_core::bail!(
            "{name}: expected padding less than half of the {full} rows of axis {} before cutting, got {padding}",
            axis + 2
        ),
        _ => candle_core::bail!("{name}: stride, padding or dilation overflows on axis {}", axis + 2),
    }
}

/// Elements that a dilated kernel spans; `None` where that overflows.
fn extent(kernel: usize, dilation: usize) -> Option<usize> {
    dilation.checked_mul(kernel - 1)?.checked_add(1)
}

fn check_common(
    name: &str,
    xs: &[usize; 4],
    weight: &[usize; 4],
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> Result<()> {
    if xs[1..].contains(&0) {
        candle_core::bail!("{name}: expected an input without empty channels, rows or columns, got {xs:?}");
    }
    if weight.contains(&0) {
        candle_core::bail!("{name}: expected a weight without empty dimensions, got {weight:?}");
    }
    if stride.contains(&0) {
        candle_core::bail!("{name}: expected a stride of at least 1, got {stride:?}");
    }
    if dilation.contains(&0) {
        candle_core::bail!("{name}: expected a dilation of at least 1, got {dilation:?}");
    }
    if groups == 0 {
        candle_core::bail!("{name}: expected at least 1 group, got 0");
    }
    Ok(())
}

fn check_divisible(name: &str, what: &str, channels: usize, groups: usize) -> Result<()> {
    if !channels.is_multiple_of(groups) {
        candle_core::bail!("{name}: expected {what} divisible by groups {groups}, got {channels}");
    }
    Ok(())
}
