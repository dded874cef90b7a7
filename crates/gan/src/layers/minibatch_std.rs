//! How much the samples of a batch differ, as a feature.

use candle_core::Tensor;
use glassbox_core::{Error, Layer, Pass, Result, concat};

use super::expect_count;
use crate::input_gradient::{InputGradient, Pullback};

/// Minibatch standard deviation (Karras et al. 2017, arXiv 1710.10196): appends a channel that holds, for each group of
/// samples, the mean over all features of their standard deviation in the group: √(variance + 1e-8), the variance biased.
/// A critic sees by it that a generator makes the same sample again and again.
///
/// A group is sample i, i + batch / size, i + 2 · batch / size, …, as in StyleGAN's code; its size is the largest divisor
/// of the batch that is at most `group_size`.
///
/// # Shapes
/// (batch, channels, …) to (batch, channels + 1, …).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_core::{Layer, Pass};
/// use glassbox_gan::MinibatchStd;
/// let xs = Tensor::new(&[[1f32], [3.0]], &Device::Cpu)?;
/// let ys = MinibatchStd::new(2)?.forward(&xs, &Pass::eval())?;
/// assert_eq!(ys.to_vec2::<f32>()?, [[1.0, 1.0], [3.0, 1.0]]);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MinibatchStd {
    group_size: usize,
}

/// Below the root.
const EPS: f64 = 1e-8;

impl MinibatchStd {
    /// Groups of up to `group_size` samples; StyleGAN's is 4.
    ///
    /// # Errors
    /// A size of 0.
    pub fn new(group_size: usize) -> Result<Self> {
        expect_count("group_size", group_size)?;
        Ok(Self { group_size })
    }

    /// Deviations from the group's mean, (size, groups, features), and their standard deviations (1, groups, features).
    fn spread(&self, xs: &Tensor) -> Result<(Tensor, Tensor)> {
        if xs.rank() < 2 || xs.elem_count() == 0 {
            let expected = "(batch, channels, …) with at least one element";
            return Err(Error::invalid("input", expected, format!("{:?}", xs.dims())));
        }
        let batch = xs.dim(0)?;
        let size = (1..=self.group_size.min(batch)).rev().find(|&size| batch.is_multiple_of(size)).unwrap_or(1);
        let groups = xs.reshape((size, batch / size, xs.elem_count() / batch))?;
        let deviations = groups.broadcast_sub(&groups.mean_keepdim(0)?)?;
        let stds = (deviations.sqr()?.mean_keepdim(0)? + EPS)?.sqrt()?;
        Ok((deviations, stds))
    }

    fn append(&self, xs: &Tensor, deviations: &Tensor, stds: &Tensor) -> Result<Tensor> {
        let (size, groups) = (deviations.dim(0)?, deviations.dim(1)?);
        let mut shape = xs.dims().to_vec();
        shape[1] = 1;
        let ones = vec![1; xs.rank() - 1];
        let statistic = stds.mean_keepdim(2)?.broadcast_as((size, groups, 1))?.contiguous()?;
        let channel = statistic.reshape([&[size * groups][..], &ones].concat())?.broadcast_as(shape)?.contiguous()?;
        concat(&[xs, &channel], 1)
    }
}

impl Layer for MinibatchStd {
    fn forward(&self, xs: &Tensor, _: &Pass) -> Result<Tensor> {
        let (deviations, stds) = self.spread(xs)?;
        self.append(xs, &deviations, &stds)
    }
}

impl InputGradient for MinibatchStd {
    fn forward_with_pullback(&self, xs: &Tensor, _: &Pass) -> Result<(Tensor, Pullback)> {
        let (deviations, stds) = self.spread(xs)?;
        let ys = self.append(xs, &deviations, &stds)?;
        let shape = xs.shape().clone();
        let pullback = move |g: &Tensor| {
            let (size, groups, features) = deviations.dims3()?;
            let channels = shape.dims()[1];
            let through = g.narrow(1, 0, channels)?;
            // All positions of all samples of a group get the group's statistic.
            let of_statistic = g.narrow(1, channels, 1)?.contiguous()?.reshape((size, groups, ()))?;
            let of_statistic = of_statistic.sum_keepdim(2)?.sum_keepdim(0)?;
            let slope = deviations.broadcast_div(&(&stds * (size * features) as f64)?)?;
            Ok((through + slope.broadcast_mul(&of_statistic)?.reshape(&shape)?)?)
        };
        Ok((ys, Box::new(pullback)))
    }
}
