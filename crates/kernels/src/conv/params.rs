//! How a convolution is laid over its input.

/// Padding `[[top, bottom], [left, right]]` with the same amount on both sides of each axis, as PyTorch's `padding`.
pub const fn symmetric_padding(padding: [usize; 2]) -> [[usize; 2]; 2] {
    [[padding[0], padding[0]], [padding[1], padding[1]]]
}

/// Padding `[before, after]` that keeps the length at stride 1, as PyTorch's `padding="same"`: `dilation · (kernel - 1)`
/// in total, the odd one after.
pub const fn same_padding(kernel_size: usize, dilation: usize) -> [usize; 2] {
    let total = dilation.saturating_mul(kernel_size.saturating_sub(1));
    [total / 2, total - total / 2]
}

/// Parameters of [`conv2d`](super::conv2d); the default is stride 1, no padding, dilation 1, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dParams {
    /// Step of the window `[vertical, horizontal]`, at least 1.
    pub stride: [usize; 2],
    /// Zeros around the input, `[[top, bottom], [left, right]]`. See [`symmetric_padding`] and [`same_padding`].
    pub padding: [[usize; 2]; 2],
    /// Distance between the taps of the kernel `[vertical, horizontal]`, at least 1.
    pub dilation: [usize; 2],
    /// Number of blocks of channels that are convolved separately; divides both channel counts.
    pub groups: usize,
}

impl Default for Conv2dParams {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [[0, 0], [0, 0]], dilation: [1, 1], groups: 1 }
    }
}

/// Parameters of [`conv1d`](super::conv1d); the default is stride 1, no padding, dilation 1, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1dParams {
    /// Step of the window, at least 1.
    pub stride: usize,
    /// Zeros `[before, after]` the input.
    pub padding: [usize; 2],
    /// Distance between the taps of the kernel, at least 1.
    pub dilation: usize,
    /// Number of blocks of channels that are convolved separately; divides both channel counts.
    pub groups: usize,
}

impl Default for Conv1dParams {
    fn default() -> Self {
        Self { stride: 1, padding: [0, 0], dilation: 1, groups: 1 }
    }
}

/// Parameters of [`conv_transpose2d`](super::conv_transpose2d); the default is stride 1, no padding, dilation 1, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose2dParams {
    /// Distance between the windows that neighbouring input elements write, `[vertical, horizontal]`, at least 1.
    pub stride: [usize; 2],
    /// Rows and columns cut off each side of the output.
    pub padding: [usize; 2],
    /// Rows and columns added at the end of the output; less than the larger of stride and dilation.
    pub output_padding: [usize; 2],
    /// Distance between the taps of the kernel `[vertical, horizontal]`, at least 1.
    pub dilation: [usize; 2],
    /// Number of blocks of channels that are convolved separately; divides both channel counts.
    pub groups: usize,
}

impl Default for ConvTranspose2dParams {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], output_padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}
