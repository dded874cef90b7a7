//! Convolution as a differentiable operation.
//!
//! `Σ output · weight · columns(input)` is linear in each of its three tensors, and each direction below is its
//! derivative with respect to one of them. The backward of one direction is therefore the other two, to any order.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

use super::channel_sum::channel_sum;
use super::geometry::Geometry;
use super::{dense, depthwise, whole, winograd};
use crate::Result;
use crate::cpu::{Element, Gradients2, by_float, output, values};
use crate::tail::Run;

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

/// What a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What a layer gives.
    Activation,
    /// The gradient of an operand.
    Gradient,
}

#[derive(Clone, Copy)]
pub(super) struct Convolution {
    pub geometry: Geometry,
    pub direction: Direction,
}

impl Convolution {
    /// The dimensions of the result.
    fn result_dims(&self) -> [usize; 4] {
        let g = &self.geometry;
        match self.direction {
            Direction::Output => [g.batch, g.out_channels, g.output[0], g.output[1]],
            Direction::Input => [g.batch, g.in_channels, g.input[0], g.input[1]],
            Direction::Weight => [g.out_channels, g.group_in(), g.kernel[0], g.kernel[1]],
        }
    }

    fn in_direction(self, direction: Direction, lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
        lhs.contiguous()?.apply_op2(&rhs.contiguous()?, Self { direction, ..self })
    }

    fn values<T: Element>(&self, role: Role, lhs: &[T], rhs: &[T], bias: Option<&[T]>) -> Vec<T> {
        let g = &self.geometry;
        if whole::serves(g) {
            return match self.direction {
                Direction::Output => whole::output(g, lhs, rhs, bias),
                Direction::Input => whole::input_gradient(g, lhs, rhs, bias),
                Direction::Weight => whole::weight_gradient(g, lhs, rhs),
            };
        }
        if let Some(tiles) = winograd::choose(g, self.direction, role) {
            return match self.direction {
                Direction::Output => winograd::output(g, tiles, lhs, rhs, bias),
                Direction::Input => winograd::input_gradient(g, tiles, lhs, rhs, bias),
                Direction::Weight => winograd::weight_gradient(g, tiles, lhs, rhs),
            };
        }
        match (self.direction, g.is_depthwise()) {
            (Direction::Output, false) => dense::output(g, lhs, rhs, bias),
            (Direction::Output, true) => depthwise::output(g, lhs, rhs, bias),
            (Direction::Input, false) => dense::input_gradient(g, lhs, rhs, bias),
            (Direction::Input, true) => depthwise::input_gradient(g, lhs, rhs, bias),
            (Direction::Weight, false) => dense::weight_gradient(g, lhs, rhs),
            (Direction::Weight, true) => depthwise::weight_gradient(g, lhs, rhs),
        }
    }

    /// The gradients of both operands, where they are wanted.
    fn gradients(&self, lhs: &Tensor, rhs: &Tensor, grad: &Tensor, wanted: [bool; 2]) -> Result<Gradients2> {
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
        Ok((wanted[0].then(lhs_grad).transpose()?, wanted[1].then(rhs_grad).transpose()?))
    }
}

impl<T: Element> Run<T> for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn dims(&self) -> [usize; 4] {
        self.result_dims()
    }

    fn forward(&self, operands: &[&[T]]) -> Vec<T> {
        self.values(Role::Activation, operands[0], operands[1], operands.get(2).copied())
    }

    fn backward(&self, operands: &[Tensor], grad: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (lhs, rhs) = self.gradients(&operands[0], &operands[1], grad, [wanted[0], wanted[1]])?;
        let mut gradients = vec![lhs, rhs];
        if let Some(&bias) = wanted.get(2) {
            gradients.push(bias.then(|| channel_sum(grad)).transpose()?);
        }
        Ok(gradients)
    }
}

/// The gradients' operation; what a layer gives is computed by [`Run::forward`].
impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!("conv2d", s1.dtype(), T => {
            let values = self.values::<T>(Role::Gradient, &values(s1, l1)?, &values(s2, l2)?, None);
            Ok(output(values, self.result_dims().to_vec()))
        })
    }

    fn bwd(&self, lhs: &Tensor, rhs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Gradients2> {
        self.gradients(lhs, rhs, grad, [lhs.track_op(), rhs.track_op()])
    }
}
