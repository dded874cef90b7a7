//! Pooling of volumes: over each slice, then along the depth. The largest of largest elements is the largest, and a mean
//! over a box is the mean of means.

use candle_core::Tensor;

use super::{Pool2dParams, Windows, adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use crate::Result;

/// Parameters of [`max_pool3d`] and [`avg_pool3d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool3dParams {
    /// Size of the window `[depth, height, width]`, at least 1.
    pub kernel: [usize; 3],
    /// Step of the window along `[depth, height, width]`, at least 1.
    pub stride: [usize; 3],
    /// Slices, rows and columns of padding on each side, at most half the kernel.
    pub padding: [usize; 3],
    /// See [`Pool2dParams::ceil_mode`].
    pub ceil_mode: bool,
}

impl Pool3dParams {
    /// Windows of `kernel` side by side, without padding: PyTorch's defaults.
    pub const fn new(kernel: [usize; 3]) -> Self {
        Self { kernel, stride: kernel, padding: [0; 3], ceil_mode: false }
    }

    fn of_slices(&self) -> Pool2dParams {
        let Self { kernel: [_, k @ ..], stride: [_, s @ ..], padding: [_, p @ ..], ceil_mode } = *self;
        Pool2dParams { kernel: k, stride: s, padding: p, ceil_mode }
    }

    fn along_depth(&self) -> Pool2dParams {
        Pool2dParams {
            kernel: [self.kernel[0], 1],
            stride: [self.stride[0], 1],
            padding: [self.padding[0], 0],
            ceil_mode: self.ceil_mode,
        }
    }

    fn check(&self, name: &str, xs: &Tensor) -> Result<()> {
        let dims = dims5(name, xs)?;
        for axis in 0..3 {
            let (kernel, stride, padding) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
            Windows::along(name, axis + 2, dims[axis + 2], kernel, stride, padding, self.ceil_mode)?;
        }
        Ok(())
    }
}

/// The largest element of each window, as PyTorch's `max_pool3d`.
///
/// The gradient goes to the first of equal maxima, in row-major order. Padding never wins. On the CPU a NaN in a window
/// is its maximum.
///
/// # Shapes
/// `xs` (N, C, D, H, W) to (N, C, D', H', W') with `D' = (D + 2 · padding - kernel) / stride + 1`, rounded down, or up
/// with `ceil_mode` unless the last window would begin in the padding after the input; likewise H' and W'.
///
/// # Errors
/// Where `xs` has not five dimensions, kernel or stride is 0, the padding exceeds half the kernel, or the kernel is
/// larger than the padded input.
pub fn max_pool3d(xs: &Tensor, params: &Pool3dParams) -> Result<Tensor> {
    params.check("max_pool3d", xs)?;
    in_two_steps(
        "max_pool3d",
        xs,
        |slices| max_pool2d(slices, &params.of_slices()),
        |columns| max_pool2d(columns, &params.along_depth()),
    )
}

/// The mean of each window, as PyTorch's `avg_pool3d`.
///
/// `ys[n, c, z, y, x] = Σ xs[n, c, window] / count`, where `count` is the number of elements under the window, with the
/// padding (zeros) counted where `count_include_pad` is true. PyTorch counts it by default.
///
/// # Shapes
/// As [`max_pool3d`].
///
/// # Errors
/// As [`max_pool3d`].
pub fn avg_pool3d(xs: &Tensor, params: &Pool3dParams, count_include_pad: bool) -> Result<Tensor> {
    params.check("avg_pool3d", xs)?;
    in_two_steps(
        "avg_pool3d",
        xs,
        |slices| avg_pool2d(slices, &params.of_slices(), count_include_pad),
        |columns| avg_pool2d(columns, &params.along_depth(), count_include_pad),
    )
}

/// The mean of windows chosen such that the output has `output_size`, as PyTorch's `adaptive_avg_pool3d`; see
/// [`adaptive_avg_pool2d`].
///
/// # Shapes
/// `xs` (N, C, D, H, W) to (N, C, `output_size[0]`, `output_size[1]`, `output_size[2]`).
///
/// # Errors
/// Where `xs` has not five dimensions or an output size is 0.
pub fn adaptive_avg_pool3d(xs: &Tensor, output_size: [usize; 3]) -> Result<Tensor> {
    const NAME: &str = "adaptive_avg_pool3d";
    let [depth, height, width] = output_size;
    if output_size.contains(&0) {
        candle_core::bail!("{NAME}: expected an output size of at least 1, got {output_size:?}");
    }
    in_two_steps(
        NAME,
        xs,
        |slices| adaptive_avg_pool2d(slices, [height, width]),
        |columns| adaptive_avg_pool2d(columns, [depth, height * width]),
    )
}

/// Pools `xs` (N, C, D, H, W) as slices (N, C · D, H, W) and then as columns (N, C, D, H' · W').
fn in_two_steps(
    name: &str,
    xs: &Tensor,
    slices: impl FnOnce(&Tensor) -> Result<Tensor>,
    columns: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let [n, c, depth, height, width] = dims5(name, xs)?;
    let ys = slices(&xs.reshape((n, c * depth, height, width))?)?;
    let (_, _, height, width) = ys.dims4()?;
    let ys = columns(&ys.reshape((n, c, depth, height * width))?)?;
    let depth = ys.dim(2)?;
    ys.reshape((n, c, depth, height, width))
}

fn dims5(name: &str, xs: &Tensor) -> Result<[usize; 5]> {
    match *xs.dims() {
        [n, c, d, h, w] if d > 0 && h > 0 && w > 0 => Ok([n, c, d, h, w]),
        _ => candle_core::bail!(
            "{name}: expected xs (N, C, D, H, W) without empty slices, rows or columns, got {:?}",
            xs.dims()
        ),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::{assert_close, flat, run};
    use crate::testkit::{check_gradients, values};

    fn cases() -> Vec<([usize; 5], Pool3dParams)> {
        let params = |kernel, stride, padding, ceil_mode| Pool3dParams { kernel, stride, padding, ceil_mode };
        vec![
            ([2, 2, 4, 2, 3], Pool3dParams::new([2, 1, 2])),
            ([1, 2, 5, 4, 3], params([3, 2, 3], [2, 2, 1], [1, 0, 1], false)),
            ([2, 1, 5, 4, 6], params([2, 3, 2], [2, 2, 3], [0, 1, 1], true)),
            ([1, 1, 3, 2, 2], params([1, 2, 1], [1, 1, 1], [0, 1, 0], false)),
        ]
    }

    /// The elements under each window of a plane of `dims`, and how many with padding, from the definition.
    fn windows(dims: [usize; 3], params: &Pool3dParams, ys: [usize; 3]) -> Vec<(Vec<usize>, usize)> {
        let grid = |[a, b, c]: [usize; 3]| (0..a * b * c).map(move |i| [i / (b * c), i / c % b, i % c]);
        let window = |at: [usize; 3]| {
            let (mut elements, mut count) = (Vec::new(), 0);
            for tap in grid(params.kernel) {
                let padded: [usize; 3] = std::array::from_fn(|axis| at[axis] * params.stride[axis] + tap[axis]);
                count += usize::from((0..3).all(|a| padded[a] < dims[a] + 2 * params.padding[a]));
                let [z, y, x] = std::array::from_fn(|a| padded[a].wrapping_sub(params.padding[a]));
                if z < dims[0] && y < dims[1] && x < dims[2] {
                    elements.push((z * dims[1] + y) * dims[2] + x);
                }
            }
            (elements, count)
        };
        grid(ys).map(window).collect()
    }

    #[test]
    fn values_are_the_definition() {
        for (shape, params) in cases() {
            let xs = values(&shape[..], 1).unwrap();
            let max = max_pool3d(&xs, &params).unwrap();
            let (n, c, d, h, w) = max.dims5().unwrap();
            assert_eq!((n, c), (shape[0], shape[1]));
            let windows = windows([shape[2], shape[3], shape[4]], &params, [d, h, w]);
            let elements = flat(&xs);
            let of_planes = |f: &dyn Fn(&[f64], &(Vec<usize>, usize)) -> f64| -> Vec<f64> {
                let planes = elements.chunks(elements.len() / (n * c));
                planes.flat_map(|plane| windows.iter().map(|w| f(plane, w)).collect::<Vec<_>>()).collect()
            };
            let largest = of_planes(&|x, w| w.0.iter().map(|&i| x[i]).fold(f64::NEG_INFINITY, f64::max));
            assert_close(&flat(&max), &largest, 0.0);
            for include in [false, true] {
                let count = |w: &(Vec<usize>, usize)| if include { w.1 } else { w.0.len() } as f64;
                let mean = of_planes(&|x, w| w.0.iter().map(|&i| x[i]).sum::<f64>() / count(w));
                assert_close(&flat(&avg_pool3d(&xs, &params, include).unwrap()), &mean, 1e-14);
            }
        }
    }

    #[test]
    fn gradients() {
        for (shape, params) in cases() {
            let xs = [values(&shape[..], 1).unwrap()];
            check_gradients(&xs, |t| max_pool3d(&t[0], &params)).unwrap();
            check_gradients(&xs, |t| avg_pool3d(&t[0], &params, true)).unwrap();
            check_gradients(&xs, |t| avg_pool3d(&t[0], &params, false)).unwrap();
        }
        let xs = [values((2, 1, 3, 5, 4), 1).unwrap()];
        check_gradients(&xs, |t| adaptive_avg_pool3d(&t[0], [2, 3, 1])).unwrap();
    }

    #[test]
    fn first_of_equal_maxima_gets_the_gradient() {
        let xs = Var::ones((1, 1, 2, 2, 2), DType::F64, &Device::Cpu).unwrap();
        let grads = max_pool3d(&xs, &Pool3dParams::new([2; 3])).unwrap().backward().unwrap();
        assert_eq!(flat(grads.get(&xs).unwrap()), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn f32_agrees_with_f64_and_an_empty_batch_is_empty() {
        let (shape, params) = cases()[2];
        let wide = values(&shape[..], 1).unwrap();
        let narrow = wide.to_dtype(DType::F32).unwrap();
        for average in [false, true] {
            let pool = |t: &[Tensor]| {
                if average { avg_pool3d(&t[0], &params, true) } else { max_pool3d(&t[0], &params) }
            };
            for (wide, narrow) in run(&[wide.clone()], pool).iter().zip(run(&[narrow.clone()], pool)) {
                // A few roundings to 6e-8.
                assert_close(&flat(&narrow), &flat(wide), 1e-6);
            }
            let empty = pool(&[wide.narrow(0, 0, 0).unwrap()]).unwrap();
            assert_eq!(empty.dims()[0], 0);
        }
    }

    #[test]
    fn errors_say_what_was_expected_and_what_came() {
        let xs = values((1, 1, 4, 5, 6), 1).unwrap();
        let base = Pool3dParams::new([2; 3]);
        let checks = [
            (max_pool3d(&xs, &Pool3dParams::new([2, 2, 7])), "max_pool3d: expected a kernel no larger than"),
            (max_pool3d(&xs, &Pool3dParams::new([2, 2, 7])), "padded input (6) on axis 4, got 7"),
            (
                avg_pool3d(&xs, &Pool3dParams { padding: [0, 2, 0], ..base }, true),
                "at most half the kernel (1) on axis 3, got 2",
            ),
            (avg_pool3d(&xs, &Pool3dParams { stride: [0, 1, 1], ..base }, true), "at least 1 on axis 2, got 2 and 0"),
            (max_pool3d(&xs.get(0).unwrap(), &base), "expected xs (N, C, D, H, W)"),
            (adaptive_avg_pool3d(&xs, [1, 0, 1]), "output size of at least 1, got [1, 0, 1]"),
        ];
        for (result, part) in checks {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(part), "expected {part:?} in {message:?}");
        }
    }
}
