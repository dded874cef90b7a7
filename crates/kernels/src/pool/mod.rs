//! Pooling: the largest or the mean element of each window, for any stride and padding.

mod average;
mod max;
pub(crate) mod separable;
#[cfg(test)]
mod tests;
mod volume;

pub use average::{adaptive_avg_pool1d, adaptive_avg_pool2d, avg_pool1d, avg_pool2d, global_avg_pool2d};
pub(crate) use max::{max_backward_plane, max_forward, max_windows_of};
pub use max::{max_pool1d, max_pool2d};
pub use volume::{Pool3dParams, adaptive_avg_pool3d, avg_pool3d, max_pool3d};

use std::ops::Range;

use candle_core::Tensor;

use crate::Result;

/// Parameters of [`max_pool2d`] and [`avg_pool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dParams {
    /// Size of the window `[height, width]`, at least 1.
    pub kernel: [usize; 2],
    /// Step of the window `[vertical, horizontal]`, at least 1.
    pub stride: [usize; 2],
    /// Rows and columns of padding on each side, at most half the kernel.
    pub padding: [usize; 2],
    /// Whether a last window that reaches beyond the padded input counts, as long as it begins inside the input or the
    /// padding before it.
    pub ceil_mode: bool,
}

impl Pool2dParams {
    /// Windows of `kernel` side by side, without padding: PyTorch's defaults.
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: kernel, padding: [0, 0], ceil_mode: false }
    }
}

/// Parameters of [`max_pool1d`] and [`avg_pool1d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool1dParams {
    /// Size of the window, at least 1.
    pub kernel: usize,
    /// Step of the window, at least 1.
    pub stride: usize,
    /// Padding on each side, at most half the kernel.
    pub padding: usize,
    /// See [`Pool2dParams::ceil_mode`].
    pub ceil_mode: bool,
}

impl Pool1dParams {
    /// Windows of `kernel` side by side, without padding: PyTorch's defaults.
    pub const fn new(kernel: usize) -> Self {
        Self { kernel, stride: kernel, padding: 0, ceil_mode: false }
    }

    fn as_2d(&self) -> Pool2dParams {
        Pool2dParams {
            kernel: [1, self.kernel],
            stride: [1, self.stride],
            padding: [0, self.padding],
            ceil_mode: self.ceil_mode,
        }
    }
}

/// The windows along one axis, checked.
#[derive(Clone, Copy)]
pub(crate) struct Windows {
    input: usize,
    pub output: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Windows {
    fn new(name: &str, input: usize, params: &Pool2dParams, axis: usize) -> Result<Self> {
        let (kernel, stride, padding) = (params.kernel[axis], params.stride[axis], params.padding[axis]);
        Self::along(name, axis + 2, input, kernel, stride, padding, params.ceil_mode)
    }

    /// The windows along dimension `dim` of a tensor.
    fn along(
        name: &str,
        dim: usize,
        input: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        ceil_mode: bool,
    ) -> Result<Self> {
        let on = format_args!("on axis {dim}").to_string();
        if kernel == 0 || stride == 0 {
            candle_core::bail!("{name}: expected a kernel and a stride of at least 1 {on}, got {kernel} and {stride}");
        }
        if padding > kernel / 2 {
            candle_core::bail!(
                "{name}: expected padding of at most half the kernel ({}) {on}, got {padding}",
                kernel / 2
            );
        }
        let Some(padded) = padding.checked_mul(2).and_then(|both| both.checked_add(input)) else {
            candle_core::bail!("{name}: padding overflows {on}");
        };
        if input == 0 || kernel > padded {
            candle_core::bail!(
                "{name}: expected a kernel no larger than the padded input ({padded}) {on}, got {kernel}"
            );
        }
        let steps = padded - kernel;
        let mut output = steps / stride + 1;
        // PyTorch's rule: a window that begins in the padding after the input does not count.
        if ceil_mode && steps % stride != 0 && output * stride < input + padding {
            output += 1;
        }
        Ok(Self { input, output, kernel, stride, padding })
    }

    /// The elements under window `index`; never empty.
    fn range(&self, index: usize) -> Range<usize> {
        let start = index * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(self.input)
    }

    /// Whether the windows are two elements side by side.
    fn are_pairs(&self) -> bool {
        self.kernel == 2 && self.stride == 2 && self.padding == 0 && 2 * self.output <= self.input
    }

    /// The number of elements under window `index`, padding included.
    fn padded_len(&self, index: usize) -> usize {
        let start = index * self.stride;
        (start + self.kernel).min(self.input + 2 * self.padding) - start
    }
}

fn dims4(name: &str, xs: &Tensor) -> Result<[usize; 4]> {
    match *xs.dims() {
        [n, c, h, w] if h > 0 && w > 0 => Ok([n, c, h, w]),
        _ => candle_core::bail!("{name}: expected xs (N, C, H, W) without empty rows or columns, got {:?}", xs.dims()),
    }
}

/// Runs a 2-d operation on `xs` (N, C, L) as an image of height 1.
fn as_image(name: &str, xs: &Tensor, run: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if xs.rank() != 3 {
        candle_core::bail!("{name}: expected xs (N, C, L), got {:?}", xs.dims());
    }
    run(&xs.unsqueeze(2)?)?.squeeze(2)
}
