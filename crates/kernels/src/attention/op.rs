//! Attention as one node of the graph, whatever tensors hold its queries, keys and values.

use candle_core::{CpuStorage, Shape, Storage, Tensor};

use super::backward::{Backward, Destination, Results};
use super::engine::Values;
use super::form::{Form, Place};
use super::forward::forward;
use super::rules::{Additive, Rules};
use super::view::{Strides, Target, View};
use super::{Blocks, Sizes};
use crate::Result;
use crate::cpu::{Element, Float, Function, output, record, tensor};

/// Runs `run` on what lies from the start of each tensor's view on.
fn with_data<T: Element, R>(tensors: &[&Tensor], run: impl FnOnce(&[&[T]]) -> Result<R>) -> Result<R> {
    let storages: Vec<_> = tensors.iter().map(|t| t.storage_and_layout()).collect();
    let data = storages.iter().map(|(storage, layout)| match &**storage {
        Storage::Cpu(storage) => storage.as_slice::<T>().map(|all| &all[layout.start_offset().min(all.len())..]),
        other => candle_core::bail!("expected a tensor on the CPU, got one on {:?}", other.device()),
    });
    run(&data.collect::<Result<Vec<_>>>()?)
}

/// A tensor whose last dimension's elements are neighbours.
pub(super) fn in_rows(xs: &Tensor) -> Result<Tensor> {
    match (xs.dims().last(), xs.stride().last()) {
        (Some(&len), Some(&step)) if len > 1 && step != 1 => xs.contiguous(),
        _ => Ok(xs.clone()),
    }
}

/// Attention of inputs that went through [`in_rows`]: (batch, q_len, num_heads, value_dim).
pub(super) fn attention<T: Float>(
    form: Form,
    sizes: Sizes,
    inputs: &[&Tensor],
    rules: Rules,
    blocks: Blocks,
) -> Result<Tensor> {
    let call = Call { form, sizes, rules, blocks };
    let (out, statistics) = call.with_values::<T, _>(inputs, &[], |values, _| Ok(forward(&values)))?;
    let shape = (sizes.batch, sizes.q_len, sizes.heads, sizes.value_dim);
    let out: (CpuStorage, Shape) = output(out, shape);
    let mut outputs = record(Attention { call, statistics }, inputs, vec![out])?;
    Ok(outputs.swap_remove(0))
}

/// A call, but for its tensors.
struct Call {
    form: Form,
    sizes: Sizes,
    rules: Rules,
    blocks: Blocks,
}

impl Call {
    /// Runs `run` on the values of `inputs`, and on the data of `others`.
    fn with_values<T: Float, R>(
        &self,
        inputs: &[&Tensor],
        others: &[&Tensor],
        run: impl FnOnce(Values<T>, &[&[T]]) -> Result<R>,
    ) -> Result<R> {
        let mask = self.rules.additive.as_ref();
        let tensors: Vec<&Tensor> = inputs.iter().chain(others).copied().chain(mask).collect();
        with_data::<T, R>(&tensors, |data| {
            let places = self.form.places(&self.sizes, |input| self.form.strides(inputs[input], &self.sizes));
            let [q, k, v] = places.map(|place| View {
                data: &data[place.input][place.offset.min(data[place.input].len())..],
                strides: place.strides,
            });
            let (data, mask_data) = data[inputs.len()..].split_at(others.len());
            let additive = mask.zip(mask_data.first()).map(|(mask, data)| Additive::new(data, mask));
            let Call { sizes, rules, blocks, .. } = self;
            run(Values { q, k, v, additive, sizes: *sizes, rules, blocks: *blocks }, data)
        })
    }
}

/// The backward of attention.
struct Attention<T> {
    call: Call,
    statistics: Vec<T>,
}

impl<T: Float> Function for Attention<T> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        out: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let Some(grad) = &grads[0] else {
            return Ok(vec![None; inputs.len()]);
        };
        let (form, sizes, grad) = (self.call.form, &self.call.sizes, in_rows(grad)?);
        let memory = inputs.iter().map(|input| form.gradient(input, sizes)).collect::<Result<Vec<_>>>()?;
        let mut gradients: Vec<Vec<T>> = memory
            .iter()
            .zip(wanted)
            .map(|((shape, _), &wanted)| vec![T::zero(); if wanted { shape.elem_count() } else { 0 }])
            .collect();
        let targets: Vec<_> = gradients.iter_mut().map(|gradient| Target::new(gradient)).collect();
        let [dq, dk, dv] = form.places(sizes, |input| memory[input].1).map(|Place { input, offset, strides }| {
            wanted[input].then(|| Destination { target: &targets[input], offset, strides })
        });
        // (batch, len, heads, dim)
        let strides = |t: &Tensor| Strides { batch: t.stride()[0], head: t.stride()[2], row: t.stride()[1] };
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        self.call.with_values::<T, _>(&inputs, &[out, &grad], |values, data| {
            let results = Results {
                output: View { data: data[0], strides: strides(out) },
                grad: View { data: data[1], strides: strides(&grad) },
                statistics: &self.statistics,
            };
            Backward { values, results, dq, dk, dv }.run(rayon::current_num_threads());
            Ok(())
        })?;
        let tensors = gradients.into_iter().zip(memory).zip(wanted);
        tensors
            .map(|((gradient, (shape, _)), &wanted)| {
                let gradient = wanted.then(|| tensor(gradient, &shape)).transpose()?;
                if form == Form::Separate { gradient.map(|g| g.transpose(1, 2)).transpose() } else { Ok(gradient) }
            })
            .collect()
    }
}
