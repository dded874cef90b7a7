//! One kernel with its inputs.

use std::fmt;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, Var};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use glassbox::Seed;
use glassbox::prelude::{DType, Device, candle_core};

/// An input of a kernel.
pub enum Input {
    /// Standard normal, of this shape; gets a gradient.
    Float(&'static [usize]),
    /// So many ids from 0 to below the bound.
    Ids { count: usize, bound: usize },
}

/// A kernel on inputs of fixed shapes.
pub struct Case {
    pub name: &'static str,
    pub inputs: &'static [Input],
    pub run: fn(&[Tensor]) -> Result<Tensor>,
    /// Multiply-adds of the forward; 0 where moving the data is what it takes.
    pub multiply_adds: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A case with its tensors.
pub struct Kernel {
    case: &'static Case,
    inputs: Vec<Tensor>,
    gradient: Tensor,
}

impl Case {
    /// Draws the inputs.
    pub fn kernel(&'static self) -> glassbox::Result<Kernel> {
        let inputs = self.inputs.iter().map(Input::tensor).collect::<glassbox::Result<Vec<_>>>()?;
        let gradient = normal((self.run)(&inputs)?.dims())?;
        Ok(Kernel { case: self, inputs, gradient })
    }
}

impl Input {
    fn tensor(&self) -> glassbox::Result<Tensor> {
        match *self {
            Self::Float(shape) => Ok(Var::from_tensor(&normal(shape)?)?.into_inner()),
            Self::Ids { count, bound } => {
                let mut rng = Seed(2).rng();
                Ok(Tensor::from_iter((0..count).map(|_| rng.below(bound) as u32), &Device::Cpu)?)
            }
        }
    }
}

pub fn normal(shape: &[usize]) -> glassbox::Result<Tensor> {
    Seed(1).rng().normal_tensor(shape, 0.0, 1.0, DType::F32, &Device::Cpu)
}

impl Kernel {
    /// The output.
    pub fn forward(&self) -> Result<Tensor> {
        (self.case.run)(&self.inputs)
    }

    /// A scalar whose backward is the kernel's, from a given gradient of its output.
    pub fn graph(&self) -> Result<Tensor> {
        self.forward()?.apply_op1(From(self.gradient.clone()))
    }

    /// Counts what the forward does at least: its products, or reading the inputs and writing the output.
    pub fn count_forward<'a, 'b>(&self, bencher: Bencher<'a, 'b>) -> Bencher<'a, 'b> {
        self.count(bencher, 1, bytes(&self.gradient) + self.inputs.iter().map(bytes).sum::<usize>())
    }

    /// Counts what the backward does at least: a product for each of two inputs, or reading the output's gradient and the
    /// inputs and writing the inputs' gradients.
    pub fn count_backward<'a, 'b>(&self, bencher: Bencher<'a, 'b>) -> Bencher<'a, 'b> {
        let moved = |input: &Tensor| bytes(input) * if input.is_variable() { 2 } else { 1 };
        self.count(bencher, 2, bytes(&self.gradient) + self.inputs.iter().map(moved).sum::<usize>())
    }

    fn count<'a, 'b>(&self, bencher: Bencher<'a, 'b>, products: usize, bytes: usize) -> Bencher<'a, 'b> {
        match self.case.multiply_adds {
            0 => bencher.counter(BytesCount::new(bytes)),
            multiply_adds => bencher.counter(ItemsCount::new(2 * products * multiply_adds)),
        }
    }
}

fn bytes(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

/// A scalar that stands for the tensor, whose gradient it sends back.
struct From(Tensor);

impl CustomOp1 for From {
    fn name(&self) -> &'static str {
        "from-gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
