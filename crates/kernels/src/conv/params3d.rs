//! How a convolution is laid over volumes and, transposed, over sequences.

use super::params::{Conv2dParams, ConvTranspose2dParams};

/// Parameters of [`conv3d`](super::conv3d); the default is stride 1, no padding, dilation 1, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv3dParams {
    /// Step of the window along `[depth, height, width]`, at least 1.
    pub stride: [usize; 3],
    /// Zeros around the input, `[[front, back], [top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 3],
    /// Distance between the taps of the kernel along `[depth, height, width]`, at least 1.
    pub dilation: [usize; 3],
    /// Number of blocks of channels that are convolved separately; divides both channel counts.
    pub groups: usize,
}

impl Default for Conv3dParams {
    fn default() -> Self {
        Self { stride: [1; 3], padding: [[0; 2]; 3], dilation: [1; 3], groups: 1 }
    }
}

impl Conv3dParams {
    /// For volumes of depth and height alone.
    pub(super) fn along_depth(&self) -> Conv2dParams {
        let Self { stride, padding, dilation, groups } = *self;
        Conv2dParams { stride: [stride[0], 1], padding: [padding[0], [0, 0]], dilation: [dilation[0], 1], groups }
    }

    /// For each slice.
    pub(super) fn of_slices(&self) -> Conv2dParams {
        let Self { stride: [_, s @ ..], padding: [_, p @ ..], dilation: [_, d @ ..], groups } = *self;
        Conv2dParams { stride: s, padding: p, dilation: d, groups }
    }
}

/// Parameters of [`conv_transpose3d`](super::conv_transpose3d); the default is stride 1, no padding, dilation 1, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose3dParams {
    /// Distance between the windows that neighbouring input elements write along `[depth, height, width]`, at least 1.
    pub stride: [usize; 3],
    /// Slices, rows and columns cut off each side of the output.
    pub padding: [usize; 3],
    /// Slices, rows and columns added at the end of the output; less than the larger of stride and dilation.
    pub output_padding: [usize; 3],
    /// Distance between the taps of the kernel along `[depth, height, width]`, at least 1.
    pub dilation: [usize; 3],
    /// Number of blocks of channels that are convolved separately; divides both channel counts.
    pub groups: usize,
}

impl Default for ConvTranspose3dParams {
    fn default() -> Self {
        Self { stride: [1; 3], padding: [0; 3], output_padding: [0; 3], dilation: [1; 3], groups: 1 }
    }
}

impl ConvTranspose3dParams {
    /// For volumes of depth and height alone.
    pub(super) fn along_depth(&self) -> ConvTranspose2dParams {
        ConvTranspose2dParams {
            stride: [self.stride[0], 1],
            padding: [self.padding[0], 0],
            output_padding: [self.output_padding[0], 0],
            dilation: [self.dilation[0], 1],
            groups: self.groups,
        }
    }

    /// For each slice.
    pub(super) fn of_slices(&self) -> ConvTranspose2dParams {
        let Self { stride: [_, s @ ..], padding: [_, p @ ..], output_padding: [_, o @ ..], .. } = *self;
        let [_, d @ ..] = self.dilation;
        ConvTranspose2dParams { stride: s, padding: p, output_padding: o, dilation: d, groups: self.groups }
    }
}

/// Parameters of [`conv_transpose1d`](super::conv_transpose1d); the default is stride 1, no padding, dilation 1, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose1dParams {
    /// Distance between the windows that neighbouring input elements write, at least 1.
    pub stride: usize,
    /// Elements cut off each side of the output.
    pub padding: usize,
    /// Elements added at the end of the output; less than the larger of stride and dilation.
    pub output_padding: usize,
    /// Distance between the taps of the kernel, at least 1.
    pub dilation: usize,
    /// Number of blocks of channels that are convolved separately; divides both channel counts.
    pub groups: usize,
}

impl Default for ConvTranspose1dParams {
    fn default() -> Self {
        Self { stride: 1, padding: 0, output_padding: 0, dilation: 1, groups: 1 }
    }
}

impl ConvTranspose1dParams {
    /// For sequences as images of height 1.
    pub(super) fn as_2d(&self) -> ConvTranspose2dParams {
        ConvTranspose2dParams {
            stride: [1, self.stride],
            padding: [0, self.padding],
            output_padding: [0, self.output_padding],
            dilation: [1, self.dilation],
            groups: self.groups,
        }
    }
}
