//! The fused operation on the CPU.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{
    Element, Gradients3, by_float, copy_in_chunks, output, planes_of_channel, rows_per_chunk, simd, sum_f64, tensor,
    values, with_values,
};

/// Mean and biased variance of each channel.
pub(crate) struct Statistics {
    pub mean: Vec<f64>,
    pub var: Vec<f64>,
}

impl Statistics {
    /// Of `xs` (batch, channels, plane), in two passes in f64: a job is a channel.
    pub fn of<T: Element>(xs: &[T], batch: usize, channels: usize) -> Self {
        let plane = xs.len() / (batch * channels);
        let count = (batch * plane) as f64;
        let of_channel = |channel: usize| {
            let planes = || planes_of_channel(xs, plane, channels, channel);
            let sum: f64 = planes().map(|xs| simd(|| sum_f64(plane, |i| xs[i].to_f64()))).sum();
            let mean = sum / count;
            let square = |x: T| (x.to_f64() - mean) * (x.to_f64() - mean);
            let squares: f64 = planes().map(|xs| simd(|| sum_f64(plane, |i| square(xs[i])))).sum();
            (mean, squares / count)
        };
        let (mean, var) = (0..channels).into_par_iter().map(of_channel).unzip();
        Self { mean, var }
    }
}

/// `ys = (xs - mean) · inv_std · weight + bias`, for inputs (xs, weight, bias).
pub(crate) struct BatchNorm {
    mean: Vec<f64>,
    inv_std: Vec<f64>,
    /// Whether the statistics are those of `xs`, so that its gradient flows through them.
    through_statistics: bool,
}

/// The sums over a channel that the backward needs.
pub(crate) struct GradSums {
    pub grad: Vec<f64>,            // Σ grad: the gradient of the bias
    pub grad_normalised: Vec<f64>, // Σ grad · (xs - mean) · inv_std: the gradient of the weight
}

impl BatchNorm {
    pub fn new(statistics: Statistics, eps: f64, through_statistics: bool) -> Self {
        let inv_std = statistics.var.iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
        Self { mean: statistics.mean, inv_std, through_statistics }
    }

    /// The result for `xs` (batch, channels, plane); `finish(plane number, values)` then changes each plane while it is in
    /// the cache.
    pub fn forward<T: Element>(
        &self,
        xs: &[T],
        weight: &[T],
        bias: &[T],
        batch: usize,
        finish: impl Fn(usize, &mut [T]) + Sync,
    ) -> Vec<T> {
        let plane = xs.len() / (batch * self.mean.len()).max(1);
        per_plane(xs, plane, |i, ys| {
            self.forward_plane(i % self.mean.len(), weight, bias, ys);
            finish(i, ys);
        })
    }

    /// Replaces one plane of `channel` by its result.
    pub fn forward_plane<T: Element>(&self, channel: usize, weight: &[T], bias: &[T], values: &mut [T]) {
        let mean = T::from_f64(self.mean[channel]);
        let scale = T::from_f64(self.inv_std[channel] * weight[channel].to_f64());
        let bias = bias[channel];
        simd(|| values.iter_mut().for_each(|x| *x = (*x - mean) * scale + bias));
    }

    fn sums<T: Element>(&self, xs: &[T], grad: &[T], batch: usize) -> GradSums {
        let plane = (xs.len() / (batch * self.mean.len()).max(1)).max(1);
        let planes = xs.par_chunks(plane).zip(grad.par_chunks(plane)).with_min_len(1024usize.div_ceil(plane));
        let sums: Vec<_> =
            planes.enumerate().map(|(i, (xs, grad))| self.plane_sums(i % self.mean.len(), xs, grad)).collect();
        self.sums_of_planes(&sums)
    }

    /// Σ grad and Σ grad · (xs - mean) over one plane of `channel`.
    pub fn plane_sums<T: Element>(&self, channel: usize, xs: &[T], grad: &[T]) -> (f64, f64) {
        let mean = self.mean[channel];
        let sum = simd(|| sum_f64(grad.len(), |i| grad[i].to_f64()));
        (sum, simd(|| sum_f64(grad.len(), |i| grad[i].to_f64() * (xs[i].to_f64() - mean))))
    }

    /// The sums over channels from those over planes (batch, channels), image by image.
    pub fn sums_of_planes(&self, planes: &[(f64, f64)]) -> GradSums {
        let channels = self.mean.len();
        let total = |of: fn(&(f64, f64)) -> f64, channel: usize| -> f64 {
            planes.iter().skip(channel).step_by(channels).map(of).sum()
        };
        GradSums {
            grad: (0..channels).map(|channel| total(|sums| sums.0, channel)).collect(),
            grad_normalised: (0..channels).map(|c| total(|sums| sums.1, c) * self.inv_std[c]).collect(),
        }
    }

    /// `weight · inv_std · (grad - Σ grad / M - normalised · Σ (grad · normalised) / M)` for M elements a channel, the
    /// last two terms only where the statistics are those of `xs`.
    pub fn input_gradient<T: Element>(
        &self,
        xs: &[T],
        weight: &[T],
        grad: &[T],
        sums: &GradSums,
        batch: usize,
    ) -> Vec<T> {
        let channels = self.mean.len();
        let plane = xs.len() / (batch * channels).max(1);
        let count = (batch * plane) as f64;
        per_plane(grad, plane, |i, grad| {
            let channel = i % channels;
            let inv_std = self.inv_std[channel];
            let scale = T::from_f64(inv_std * weight[channel].to_f64());
            if !self.through_statistics {
                return simd(|| grad.iter_mut().for_each(|grad| *grad *= scale));
            }
            let mean = T::from_f64(self.mean[channel]);
            let mean_grad = T::from_f64(sums.grad[channel] / count);
            let slope = T::from_f64(sums.grad_normalised[channel] * inv_std / count);
            let xs = &xs[i * plane..][..plane];
            simd(|| {
                grad.iter_mut().zip(xs).for_each(|(g, &x)| *g = (*g - mean_grad - (x - mean) * slope) * scale);
            });
        })
    }

    fn backward<T: Element>(&self, xs: &Tensor, weight: &Tensor, bias: &Tensor, grad: &Tensor) -> Result<Gradients3> {
        let batch = xs.dims()[0];
        let grad = grad.contiguous()?;
        let sums = if self.through_statistics || weight.track_op() || bias.track_op() {
            with_values([xs, &grad], |[xs, grad]: [&[T]; 2]| Ok(self.sums(xs, grad, batch)))?
        } else {
            GradSums { grad: Vec::new(), grad_normalised: Vec::new() }
        };
        let of_channels = |values: &[f64]| Tensor::from_slice(values, values.len(), xs.device())?.to_dtype(xs.dtype());
        let dx = || {
            with_values([xs, weight, &grad], |[x, weight, grad]: [&[T]; 3]| {
                tensor(self.input_gradient(x, weight, grad, &sums, batch), xs.shape())
            })
        };
        Ok((
            xs.track_op().then(dx).transpose()?,
            weight.track_op().then(|| of_channels(&sums.grad_normalised)).transpose()?,
            bias.track_op().then(|| of_channels(&sums.grad)).transpose()?,
        ))
    }
}

/// A copy of `source`, of which `f(plane number, plane)` changes each plane, in parallel.
fn per_plane<T: Element>(source: &[T], plane: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let plane = plane.max(1);
    let per_chunk = rows_per_chunk(plane);
    copy_in_chunks(source, per_chunk * plane, |chunk, values| {
        values.chunks_mut(plane).enumerate().for_each(|(i, plane)| f(chunk * per_chunk + i, plane));
    })
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_float!("batch_norm", s1.dtype(), T => {
            let (xs, weight, bias) = (values::<T>(s1, l1)?, values(s2, l2)?, values(s3, l3)?);
            Ok(output(self.forward(&xs, &weight, &bias, l1.dims()[0], |_, _| {}), l1.shape()))
        })
    }

    fn bwd(&self, xs: &Tensor, weight: &Tensor, bias: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Gradients3> {
        by_float!("batch_norm", xs.dtype(), T => self.backward::<T>(xs, weight, bias, grad))
    }
}
