//! Convolution of volumes as one of images: the slices under a window of the depth are channels of an image, and their
//! taps input channels of the weight.
//!
//! The images are as many times larger than the volume as the kernel is deep. They are made in blocks, for the backward
//! again, and are never part of a graph.

use candle_core::{Shape, Tensor};

use super::channel_sum::channel_sum;
use super::depth::{Block, Depth};
use super::geometry::Geometry;
use super::op::{Convolution, Direction};
use crate::Result;
use crate::cpu::{Element, Function, by_float, output, record, rows, tensor, with_values};

/// Images in a block at least, so that many threads find work.
const MIN_IMAGES: usize = 16;
/// Elements of a block's images, unless that would be fewer images: little enough that the next block gets their memory.
const BLOCK_ELEMENTS: usize = 1 << 20;

/// A checked convolution of volumes.
#[derive(Clone, Copy)]
pub(super) struct Volumes {
    pub depth: Depth,
    /// Of the images, all of them at once.
    pub images: Geometry,
    /// Whether the operation is the transposed convolution: from the output's side to the input's.
    pub transposed: bool,
}

/// Operand names are the convolution's, also where the operation is its transpose: `xs` are volumes (N, C, D, H, W) on the
/// input's side and `ys` (N, O, D', H', W') on the output's; `weight` is that of the images.
impl Volumes {
    pub fn batch(&self) -> usize {
        self.images.batch / self.depth.output
    }

    /// Of a volume on the input's side.
    pub fn in_channels(&self) -> usize {
        self.images.in_channels / self.depth.taps
    }

    pub fn input_dims(&self) -> [usize; 5] {
        let [height, width] = self.images.input;
        [self.batch(), self.in_channels(), self.depth.input, height, width]
    }

    pub fn output_dims(&self) -> [usize; 5] {
        let [height, width] = self.images.output;
        [self.batch(), self.images.out_channels, self.depth.output, height, width]
    }

    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        let g = &self.images;
        let image = (g.in_channels * g.input_plane()).max(g.out_channels * g.output_plane());
        // The weight is read anew, or its gradient added up, for each block.
        let elements = BLOCK_ELEMENTS.max(g.out_channels * g.depth());
        self.depth.blocks(self.batch(), (elements / image).max(MIN_IMAGES))
    }

    fn convolve(&self, direction: Direction, block: &Block, lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
        let geometry = Geometry { batch: block.images(), ..self.images };
        lhs.apply_op2(rhs, Convolution { geometry, direction })
    }

    /// The block's images on the input's side.
    fn inputs<T: Element>(&self, block: &Block, xs: &[T]) -> Result<Tensor> {
        let g = &self.images;
        let images = self.depth.unfold(block, self.in_channels(), g.input_plane(), xs);
        tensor(images, &Shape::from((block.images(), g.in_channels, g.input[0], g.input[1])))
    }

    /// The block's images on the output's side.
    fn outputs<T: Element>(&self, block: &Block, ys: &[T]) -> Result<Tensor> {
        let g = &self.images;
        let images = Depth::each(self.depth.output).unfold(block, g.out_channels, g.output_plane(), ys);
        tensor(images, &Shape::from((block.images(), g.out_channels, g.output[0], g.output[1])))
    }

    /// Adds the block's share of the convolution to `ys`.
    fn add_output<T: Element>(&self, block: &Block, inputs: &Tensor, weight: &Tensor, ys: &mut [T]) -> Result<()> {
        let (g, each) = (&self.images, Depth::each(self.depth.output));
        let images = self.convolve(Direction::Output, block, inputs, weight)?;
        with_values([&images], |[images]| {
            each.add_fold(block, g.out_channels, g.output_plane(), images, ys);
            Ok(())
        })
    }

    /// Adds the block's share of the transposed convolution to `xs`.
    fn add_input<T: Element>(&self, block: &Block, outputs: &Tensor, weight: &Tensor, xs: &mut [T]) -> Result<()> {
        let images = self.convolve(Direction::Input, block, outputs, weight)?;
        with_values([&images], |[images]| {
            self.depth.add_fold(block, self.in_channels(), self.images.input_plane(), images, xs);
            Ok(())
        })
    }

    fn forward<T: Element>(&self, from: &[T], weight: &Tensor, bias: Option<&[T]>) -> Result<Vec<T>> {
        let mut to = started(if self.transposed { self.input_dims() } else { self.output_dims() }, bias);
        for block in self.blocks() {
            if self.transposed {
                self.add_input(&block, &self.outputs(&block, from)?, weight, &mut to)?;
            } else {
                self.add_output(&block, &self.inputs(&block, from)?, weight, &mut to)?;
            }
        }
        Ok(to)
    }

    /// The gradients of `from`, what the forward went from, and of `weight`, where they are wanted.
    fn backward<T: Element>(
        &self,
        from: &[T],
        weight: &Tensor,
        grad: &[T],
        wanted: [bool; 2],
    ) -> Result<(Option<Vec<T>>, Option<Tensor>)> {
        let mut from_grad = wanted[0].then(|| vec![T::zero(); from.len()]);
        let mut weight_grad = wanted[1].then(|| weight.zeros_like()).transpose()?;
        for block in self.blocks() {
            let (xs, ys) = if self.transposed { (grad, from) } else { (from, grad) };
            let inputs = (self.transposed || wanted[1]).then(|| self.inputs(&block, xs)).transpose()?;
            let outputs = (!self.transposed || wanted[1]).then(|| self.outputs(&block, ys)).transpose()?;
            match (&mut from_grad, &inputs, &outputs) {
                (Some(ys), Some(inputs), _) if self.transposed => self.add_output(&block, inputs, weight, ys)?,
                (Some(xs), _, Some(outputs)) if !self.transposed => self.add_input(&block, outputs, weight, xs)?,
                _ => {}
            }
            if let (Some(sum), Some(inputs), Some(outputs)) = (&mut weight_grad, &inputs, &outputs) {
                *sum = (&*sum + self.convolve(Direction::Weight, &block, inputs, outputs)?)?;
            }
        }
        Ok((from_grad, weight_grad))
    }

    /// The operation on the CPU: `xs` is what it goes from, `weight` has five dimensions.
    pub fn apply(self, xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let image_weight = self.image_weight(&weight.detach())?;
        let (storage, shape) = by_float!(self.name(), xs.dtype(), T => {
            let bias = bias.map(|b| b.detach().to_vec1::<T>()).transpose()?;
            let values = with_values([xs], |[xs]| self.forward::<T>(xs, &image_weight, bias.as_deref()))?;
            output(values, if self.transposed { self.input_dims() } else { self.output_dims() }.to_vec())
        });
        let inputs: Vec<&Tensor> = [xs, weight].into_iter().chain(bias).collect();
        Ok(record(self, &inputs, vec![(storage, shape)])?.swap_remove(0))
    }

    /// The weight (rows, channels, taps, height, width) as that of the images, (rows, channels · taps, height, width).
    pub fn image_weight(&self, weight: &Tensor) -> Result<Tensor> {
        let [height, width] = self.images.kernel;
        weight.contiguous()?.reshape((self.images.out_channels, self.images.group_in(), height, width))
    }
}

impl Function for Volumes {
    fn name(&self) -> &'static str {
        if self.transposed { "conv_transpose3d" } else { "conv3d" }
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let ([xs, weight, bias @ ..], [Some(grad)]) = (inputs, grads) else {
            candle_core::bail!("{}: backward of {} inputs without a gradient", self.name(), inputs.len());
        };
        let image_weight = self.image_weight(weight)?;
        let (xs_grad, weight_grad) = by_float!(self.name(), grad.dtype(), T => {
            let (xs_grad, weight_grad) = with_values([xs, grad], |[xs, grad]| {
                self.backward::<T>(xs, &image_weight, grad, [wanted[0], wanted[1]])
            })?;
            (xs_grad.map(|grad| tensor(grad, inputs[0].shape())).transpose()?, weight_grad)
        });
        let mut gradients = vec![xs_grad, weight_grad.map(|grad| grad.reshape(weight.shape())).transpose()?];
        if !bias.is_empty() {
            gradients.push(wanted[2].then(|| channel_sum(grad)).transpose()?);
        }
        Ok(gradients)
    }
}

/// Volumes of `dims` that hold the bias of their channel, or zeros.
fn started<T: Element>(dims: [usize; 5], bias: Option<&[T]>) -> Vec<T> {
    let mut volumes = vec![T::zero(); dims.iter().product()];
    if let Some(bias) = bias {
        rows(&mut volumes, dims[2..].iter().product(), |row, volume| volume.fill(bias[row % bias.len()]));
    }
    volumes
}
