//! Convolution as a differentiable operation.
//!
//! `Σ output · weight · columns(input)` is linear in each of its three tensors, and each direction below is its
//! derivative with respect to one of them. The backward of one direction is therefore the other two, to any order.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::channel_sum::channel_sum;
use super::geometry::Geometry;
use super::{dense, depthwise, winograd};
use crate::Result;
use crate::cpu::{Element, Gradients2, Gradients3, by_float, output, values};

/// Which of the three tensors an operation computes from the other two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From input and weight, plus a bias per output channel.
    Output,
    /// From output and weight, plus a bias per input channel.
    Input,
    /// From input and output.
    Weight,
}

#[derive(Clone, Copy)]
pub(super) struct Convolution {
    pub geometry: Geometry,
    pub direction: Direction,
}

impl Convolution {
    fn in_direction(self, direction: Direction, lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
        lhs.contiguous()?.apply_op2(&rhs.contiguous()?, Self { direction, ..self })
    }

    fn forward<T: Element>(&self, lhs: &[T], rhs: &[T], bias: Option<&[T]>) -> (CpuStorage, Shape) {
        let g = &self.geometry;
        let input = (g.batch, g.in_channels, g.input[0], g.input[1]);
        let out = (g.batch, g.out_channels, g.output[0], g.output[1]);
        let weight = (g.out_channels, g.group_in(), g.kernel[0], g.kernel[1]);
        let (data, shape) = match (self.direction, g.is_depthwise()) {
            (Direction::Output, _) if winograd::serves(g, self.direction) => (winograd::output(g, lhs, rhs, bias), out),
            (Direction::Input, _) if winograd::serves(g, self.direction) => {
                (winograd::input_gradient(g, lhs, rhs, bias), input)
            }
            (Direction::Weight, _) if winograd::serves(g, self.direction) => {
                (winograd::weight_gradient(g, lhs, rhs), weight)
            }
            (Direction::Output, false) => (dense::output(g, lhs, rhs, bias), out),
            (Direction::Output, true) => (depthwise::output(g, lhs, rhs, bias), out),
            (Direction::Input, false) => (dense::input_gradient(g, lhs, rhs, bias), input),
            (Direction::Input, true) => (depthwise::input_gradient(g, lhs, rhs, bias), input),
            (Direction::Weight, false) => (dense::weight_gradient(g, lhs, rhs), weight),
            (Direction::Weight, true) => (depthwise::weight_gradient(g, lhs, rhs), weight),
        };
        output(data, shape)
    }

    /// The gradients of both operands, where they are wanted.
    fn backward(&self, lhs: &Tensor, rhs: &Tensor, grad: &Tensor) -> Result<Gradients2> {
        let lhs_grad = || match self.direction {
            Direction::Output => self.in_direction(Direction::Input, grad, rhs),
            Direction::Input => self.in_direction(Direction::Output, grad, rhs),
            Direction::Weight => self.in_direction(Direction::Input, rhs, grad),
        };
        let rhs_grad = || match self.direction {
            Direction::Output => self.in_direction(Direction::Weight, lhs, grad),
            Direction::Input => self.in_direction(Direction::Weight, grad, lhs),
            Direction::Weight => self.in_direction(Direction::Output, lhs, grad),
        };
        Ok((lhs.track_op().then(lhs_grad).transpose()?, rhs.track_op().then(rhs_grad).transpose()?))
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("conv2d", s1.dtype(), T => Ok(self.forward::<T>(&values(s1, l1)?, &values(s2, l2)?, None)))
    }

    fn bwd(&self, lhs: &Tensor, rhs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Gradients2> {
        self.backward(lhs, rhs, grad)
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
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
        by_float!("conv2d", s1.dtype(), T => {
            Ok(self.forward::<T>(&values(s1, l1)?, &values(s2, l2)?, Some(&values(s3, l3)?)))
        })
    }

    fn bwd(&self, lhs: &Tensor, rhs: &Tensor, bias: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Gradients3> {
        let (lhs_grad, rhs_grad) = self.backward(lhs, rhs, grad)?;
        let bias_grad = bias.track_op().then(|| channel_sum(grad)).transpose()?;
        Ok((lhs_grad, rhs_grad, bias_grad))
    }
}
