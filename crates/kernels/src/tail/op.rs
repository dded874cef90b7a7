//! The fused tail on the CPU: values and gradients on slices, plane by plane.

use candle_core::{DType, Device, Shape, Tensor};
use rayon::prelude::*;

use super::{Tail, TailBatchNorm, Tailed};
use crate::Result;
use crate::activation::{Activation, formulas};
use crate::cpu::{Float, Function, copy_rows, output, record, tensor, with_all_values, with_values, zero_rows};
use crate::norm::{BatchNorm, GradSums, Statistics};
use crate::pool::{Windows, max_backward_plane, max_forward};

/// What a tail follows: an operation linear in its operands, whose result has dimensions (batch, channels, height, width).
pub(crate) trait Run<T>: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    /// The dimensions of the result.
    fn dims(&self) -> [usize; 4];
    /// The result of the operands.
    fn forward(&self, operands: &[&[T]]) -> Vec<T>;
    /// The gradients of the operands from the result's, where they are wanted.
    fn backward(&self, operands: &[Tensor], grad: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

/// An operation with a tail: what its backward needs.
pub(crate) struct TailOp<T, R> {
    run: R,
    operands: usize,
    norm: Option<Norm<T>>,
    has_residual: bool,
    activation: Option<Activation>,
    pool: Option<[Windows; 2]>,
    /// The result of `run`, where the backward reads it.
    before: Vec<T>,
    /// Where in its plane each maximum was found.
    sources: Vec<u32>,
}

struct Norm<T> {
    op: BatchNorm,
    weight: Vec<T>,
    bias: Vec<T>,
    /// Whether scale and shift are among the inputs.
    given: [bool; 2],
}

impl<T: Float> Norm<T> {
    /// The normalisation of `result`, and the batch's statistics where it is by them.
    fn new(
        tail: &TailBatchNorm,
        result: &[T],
        dims: [usize; 4],
        xs: &Tensor,
    ) -> Result<(Self, Option<(Tensor, Tensor)>)> {
        let f64s = |t: &Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
        let statistics = match tail.statistics {
            Some((mean, var)) => Statistics { mean: f64s(mean)?, var: f64s(var)? },
            None => Statistics::of(result, dims[0], dims[1]),
        };
        let of_channels = |values: &[f64]| Tensor::from_slice(values, dims[1], &Device::Cpu)?.to_dtype(xs.dtype());
        let told = match tail.statistics {
            Some(_) => None,
            None => Some((of_channels(&statistics.mean)?, of_channels(&statistics.var)?)),
        };
        let parameter = |given: Option<&Tensor>, default: T| match given {
            Some(given) => with_values::<T, _, 1>([given], |[values]| Ok(values.to_vec())),
            None => Ok(vec![default; dims[1]]),
        };
        let norm = Norm {
            weight: parameter(tail.weight, T::one())?,
            bias: parameter(tail.bias, T::zero())?,
            given: [tail.weight.is_some(), tail.bias.is_some()],
            op: BatchNorm::new(statistics, tail.eps, tail.statistics.is_none()),
        };
        Ok((norm, told))
    }
}

impl<T: Float, R: Run<T>> TailOp<T, R> {
    /// Runs `run` on `operands` (contiguous or not) with `tail` behind it.
    pub fn apply(run: R, operands: &[&Tensor], xs: &Tensor, tail: &Tail) -> Result<Tailed> {
        let dims = run.dims();
        let pool = tail.check(run.name(), xs, dims)?;
        let norm = tail.batch_norm.as_ref();
        let parameters = [norm.and_then(|n| n.weight), norm.and_then(|n| n.bias), tail.residual];
        let inputs: Vec<&Tensor> = operands.iter().copied().chain(parameters.into_iter().flatten()).collect();
        let result = with_all_values::<T, _>(operands, |operands| Ok(run.forward(operands)))?;
        let (norm, statistics) = norm.map(|norm| Norm::new(norm, &result, dims, xs)).transpose()?.unzip();
        let op = TailOp {
            run,
            operands: operands.len(),
            norm,
            has_residual: tail.residual.is_some(),
            activation: tail.activation,
            pool,
            before: Vec::new(),
            sources: Vec::new(),
        };
        let tracked = inputs.iter().any(|t| t.track_op());
        let (op, values) = match tail.residual {
            Some(residual) => with_values::<T, _, 1>([residual], |[r]| Ok(op.finish(result, Some(r), tracked)))?,
            None => op.finish(result, None, tracked),
        };
        let mut shape = dims;
        if let Some(windows) = &op.pool {
            (shape[2], shape[3]) = (windows[0].output, windows[1].output);
        }
        let output = record(op, &inputs, vec![output(values, Shape::from(shape.to_vec()))])?.swap_remove(0);
        Ok(Tailed { output, statistics: statistics.flatten(), count: dims[0] * dims[2] * dims[3] })
    }

    /// The output from the result of `run`, and the operation with what it keeps of it.
    fn finish(mut self, result: Vec<T>, residual: Option<&[T]>, tracked: bool) -> (Self, Vec<T>) {
        let plane = self.plane();
        let add_and_activate = |i: usize, ys: &mut [T]| {
            if let Some(residual) = residual {
                ys.iter_mut().zip(&residual[i * plane..]).for_each(|(y, &r)| *y += r);
            }
            if let Some(activation) = self.activation {
                formulas::apply(activation, ys);
            }
        };
        let keep = tracked && self.activation.is_some_and(|a| a.needs_input());
        let values = match &self.norm {
            Some(norm) => {
                let values = norm.op.forward(&result, &norm.weight, &norm.bias, self.run.dims()[0], add_and_activate);
                self.before = result;
                values
            }
            None => {
                let kept = if keep { result.clone() } else { Vec::new() };
                let mut values = result;
                if residual.is_some() || self.activation.is_some() {
                    let planes = values.par_chunks_mut(plane).with_min_len(1024usize.div_ceil(plane));
                    planes.enumerate().for_each(|(i, ys)| add_and_activate(i, ys));
                }
                self.before = kept;
                values
            }
        };
        if !tracked {
            self.before = Vec::new();
        }
        let Some(windows) = &self.pool else { return (self, values) };
        let (pooled, sources) = max_forward(windows, &values);
        self.sources = sources;
        (self, pooled)
    }

    fn plane(&self) -> usize {
        let [_, _, height, width] = self.run.dims();
        height * width
    }

    /// The gradient of what the activation takes, and the sums over each plane that the normalisation's gradient needs.
    fn activation_gradient(&self, residual: &[T], ys: &[T], grad: &[T]) -> (Vec<T>, Vec<(f64, f64)>) {
        let plane = self.plane();
        let from_output = self.activation.filter(|a| !a.needs_input());
        // With pooling, the outputs are the activations at the maxima: differentiate there, then spread.
        let pooled = self.pool.as_ref().and(from_output).map(|a| formulas::backward(a, ys, ys, grad));
        let grad = pooled.as_deref().unwrap_or(grad);
        let of_plane = |i: usize, dx: &mut [T]| {
            let part = i * plane..(i + 1) * plane;
            match (self.activation, from_output) {
                (Some(activation), None) => self.differentiate(activation, i, residual, dx),
                (_, Some(activation)) if self.pool.is_none() => {
                    formulas::differentiate(activation, &ys[part.clone()], &ys[part.clone()], dx);
                }
                _ => {}
            }
            match &self.norm {
                Some(norm) => norm.op.plane_sums(i % self.run.dims()[1], &self.before[part], dx),
                None => (0.0, 0.0),
            }
        };
        let Some([rows, columns]) = &self.pool else { return copy_rows(grad, plane, of_plane) };
        let len = rows.output * columns.output;
        zero_rows(self.run.dims().iter().product(), plane, |i, dx| {
            max_backward_plane(&grad[i * len..][..len], &self.sources[i * len..][..len], dx);
            of_plane(i, dx)
        })
    }

    /// Multiplies plane `i` of the gradient by the derivative of an activation that takes its input.
    fn differentiate(&self, activation: Activation, i: usize, residual: &[T], dx: &mut [T]) {
        let plane = dx.len();
        let before = &self.before[i * plane..][..plane];
        T::with_scratch(2 * plane, |scratch| {
            let (xs, ys) = scratch.split_at_mut(plane);
            xs.copy_from_slice(before);
            if let Some(n) = &self.norm {
                n.op.forward_plane(i % self.run.dims()[1], &n.weight, &n.bias, xs);
            }
            if let Some(residual) = residual.get(i * plane..(i + 1) * plane) {
                xs.iter_mut().zip(residual).for_each(|(x, &r)| *x += r);
            }
            ys.copy_from_slice(xs);
            if matches!(activation, Activation::Elu(_)) {
                formulas::apply(activation, ys);
            }
            formulas::differentiate(activation, xs, ys, dx);
        });
    }

    /// The gradients of `run`'s result and of scale and shift from that of what the activation takes.
    fn norm_gradient(&self, grad: &[T], sums: &[(f64, f64)]) -> Option<(Vec<T>, GradSums)> {
        let norm = self.norm.as_ref()?;
        let sums = norm.op.sums_of_planes(sums);
        let batch = self.run.dims()[0];
        Some((norm.op.input_gradient(&self.before, &norm.weight, grad, &sums, batch), sums))
    }
}

impl<T: Float, R: Run<T>> Function for TailOp<T, R> {
    fn name(&self) -> &'static str {
        self.run.name()
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        ys: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Some(grad) = &grads[0] else { candle_core::bail!("{}: no gradient", self.run.name()) };
        let (operands, parameters) = inputs.split_at(self.operands);
        let residual = parameters.last().filter(|_| self.has_residual);
        let (dx, sums) = match residual {
            Some(r) => with_values::<T, _, 3>([r, ys, grad], |[r, y, g]| Ok(self.activation_gradient(r, y, g)))?,
            None => with_values::<T, _, 2>([ys, grad], |[y, g]| Ok(self.activation_gradient(&[], y, g)))?,
        };
        let shape = Shape::from(self.run.dims().to_vec());
        let of_channels =
            |values: &[f64]| Tensor::from_slice(values, values.len(), &Device::Cpu)?.to_dtype(grad.dtype());
        let mut gradients = Vec::new();
        let residual_wanted = residual.is_some() && wanted.last() == Some(&true);
        let (result_grad, residual_grad) = match (self.norm_gradient(&dx, &sums), &self.norm) {
            (Some((result_grad, sums)), Some(norm)) => {
                let parameters = [(norm.given[0], &sums.grad_normalised), (norm.given[1], &sums.grad)];
                for (_, sums) in parameters.into_iter().filter(|(given, _)| *given) {
                    gradients.push(Some(of_channels(sums)?));
                }
                (tensor(result_grad, &shape)?, residual_wanted.then(|| tensor(dx, &shape)).transpose()?)
            }
            // One tensor for both: nobody changes a gradient in place.
            _ => {
                let dx = tensor(dx, &shape)?;
                (dx.clone(), residual_wanted.then_some(dx))
            }
        };
        if residual.is_some() {
            gradients.push(residual_grad);
        }
        let (wanted_operands, wanted_parameters) = wanted.split_at(self.operands);
        for (gradient, wanted) in gradients.iter_mut().zip(wanted_parameters) {
            gradient.take_if(|_| !wanted);
        }
        let mut all = self.run.backward(operands, &result_grad, wanted_operands)?;
        all.append(&mut gradients);
        Ok(all)
    }
}
