//! The sum of each channel: the gradient of a bias.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{Element, by_float, output, planes_of_channel, simd, sum_f64, values};

/// `sums[c] = Σ_{n, p} xs[n, c, p]` for `xs` (N, C, ...) on the CPU, added up in f64.
pub(crate) fn channel_sum(xs: &Tensor) -> Result<Tensor> {
    xs.contiguous()?.apply_op1(ChannelSum)
}

struct ChannelSum;

impl ChannelSum {
    fn forward<T: Element>(xs: &[T], batch: usize, channels: usize) -> Vec<T> {
        let plane = xs.len() / (batch * channels).max(1);
        let sum = |channel: usize| {
            let plane_sum = |xs: &[T]| {
                simd(
                    #[inline(always)]
                    || sum_f64(plane, |i| xs[i].to_f64()),
                )
            };
            T::from_f64(planes_of_channel(xs, plane, channels, channel).map(plane_sum).sum())
        };
        (0..channels).into_par_iter().map(sum).collect()
    }
}

impl CustomOp1 for ChannelSum {
    fn name(&self) -> &'static str {
        "channel_sum"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels) = (layout.dims()[0], layout.dims()[1]);
        by_float!("channel_sum", storage.dtype(), T => {
            Ok(output(Self::forward::<T>(&values(storage, layout)?, batch, channels), channels))
        })
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut shape = vec![1; xs.rank()];
        shape[1] = xs.dim(1)?;
        Ok(Some(grad.reshape(shape)?.broadcast_as(xs.shape())?))
    }
}
