//! Fused operations of any number of inputs and outputs.
//!
//! Candle's custom op has at most three inputs and one output. Here a *ticket*, a tensor of one element, stands for three
//! inputs: the operation is a custom op on the ticket, its backward leaves the inputs' gradients in a shared place, and
//! the ticket's own backward, which Candle calls next, hands them on. A ticket can be one of the inputs of another, so
//! there is no limit. Further outputs are custom ops on the first output that leave their gradients for its backward.
//! All of it goes through Candle's `backward`, and no value is copied.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Shape, Storage, Tensor};

use super::{Gradients2, Gradients3};
use crate::Result;
use crate::backward::hand_over;

/// The backward of a fused operation, with what its forward kept.
pub(crate) trait Function: Send + Sync + 'static {
    /// The operation's name, for errors.
    fn name(&self) -> &'static str;

    /// The gradients of `inputs`, in their order: one for each that is `wanted`. `output` is the first output, `grads` the
    /// gradients of all outputs, none for those that nothing depends on. Gradients may be non-contiguous.
    fn backward(
        &self,
        inputs: &[Tensor],
        output: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>>;
}

/// Tensors of `outputs`, which `function` computed from `inputs` (all on the CPU), with `function` as their backward.
///
/// The first output is the main one: give it the value that is nearly always used.
pub(crate) fn record(
    function: impl Function,
    inputs: &[&Tensor],
    outputs: Vec<(CpuStorage, Shape)>,
) -> Result<Vec<Tensor>> {
    let tracked: Vec<usize> = (0..inputs.len()).filter(|&i| inputs[i].track_op()).collect();
    if tracked.is_empty() {
        let plain = |(storage, shape)| Tensor::from_storage(Storage::Cpu(storage), shape, BackpropOp::none(), false);
        return Ok(outputs.into_iter().map(plain).collect());
    }
    let call = Arc::new(Call {
        function: Box::new(function),
        inputs: inputs.iter().map(|x| x.detach()).collect(),
        wanted: inputs.iter().map(|x| x.track_op()).collect(),
        gradients: Mutex::new(Vec::new()),
        output_gradients: Mutex::new(vec![None; outputs.len()]),
    });
    let ticket = tickets(&call, inputs, &tracked)?;
    let mut tensors: Vec<Tensor> = Vec::with_capacity(outputs.len());
    for (index, value) in outputs.into_iter().enumerate() {
        let op = Output { call: Arc::clone(&call), index, value: Mutex::new(Some(value)) };
        let on = tensors.first().unwrap_or(&ticket);
        tensors.push(on.apply_op1(op)?);
    }
    Ok(tensors)
}

/// One use of a function.
struct Call {
    function: Box<dyn Function>,
    inputs: Vec<Tensor>,
    wanted: Vec<bool>,
    /// Of the inputs, between the function's backward and the tickets'.
    gradients: Mutex<Vec<Option<Tensor>>>,
    /// Of the outputs after the first, between their backwards and the function's.
    output_gradients: Mutex<Vec<Option<Tensor>>>,
}

impl Call {
    fn take_gradient(&self, input: usize) -> Result<Tensor> {
        match lock(&self.gradients).get_mut(input).and_then(Option::take) {
            Some(gradient) => Ok(gradient),
            None => candle_core::bail!("{}: no gradient for input {input}", self.function.name()),
        }
    }

    fn run_backward(&self, output: &Tensor, grad: &Tensor) -> Result<()> {
        let mut grads: Vec<_> = lock(&self.output_gradients).iter_mut().map(Option::take).collect();
        grads[0] = Some(grad.clone());
        let gradients = self.function.backward(&self.inputs, output, &grads, &self.wanted)?;
        *lock(&self.gradients) = gradients;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A chain of tickets for the tracked inputs; the last one, on which the operation stands.
fn tickets(call: &Arc<Call>, inputs: &[&Tensor], tracked: &[usize]) -> Result<Tensor> {
    let mut rest = tracked;
    let mut last: Option<Tensor> = None;
    while !rest.is_empty() {
        let room = if last.is_some() { 2 } else { 3 };
        let (now, later) = rest.split_at(rest.len().min(room));
        let args: Vec<&Tensor> = last.iter().chain(now.iter().map(|&i| inputs[i])).collect();
        let ticket = Ticket { call: Arc::clone(call), after: last.is_some(), inputs: now.to_vec() };
        let next = match args.as_slice() {
            [a] => a.apply_op1(ticket)?,
            [a, b] => a.apply_op2(b, ticket)?,
            [a, b, c] => a.apply_op3(b, c, ticket)?,
            _ => candle_core::bail!("{}: a ticket of {} inputs", call.function.name(), args.len()),
        };
        (last, rest) = (Some(next), later);
    }
    last.map_or_else(|| candle_core::bail!("{}: nothing is tracked", call.function.name()), Ok)
}

/// Stands for some of a call's inputs, and for the ticket before it if there is one.
struct Ticket {
    call: Arc<Call>,
    after: bool,
    inputs: Vec<usize>,
}

impl Ticket {
    fn value() -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    /// The gradient of argument `index` of the custom op, `arg`.
    fn gradient(&self, index: usize, arg: &Tensor) -> Result<Option<Tensor>> {
        match (self.after, index) {
            (true, 0) => nothing().map(Some),
            _ => hand_over(arg, Some(self.call.take_gradient(self.inputs[index - usize::from(self.after)])?)),
        }
    }
}

/// The gradient of a ticket: Candle wants one to go on.
fn nothing() -> Result<Tensor> {
    Tensor::zeros(1, DType::F32, &Device::Cpu)
}

impl CustomOp1 for Ticket {
    fn name(&self) -> &'static str {
        self.call.function.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Self::value()
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(0, a)
    }
}

impl CustomOp2 for Ticket {
    fn name(&self) -> &'static str {
        self.call.function.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Self::value()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, _: &Tensor) -> Result<Gradients2> {
        Ok((self.gradient(0, a)?, self.gradient(1, b)?))
    }
}

impl CustomOp3 for Ticket {
    fn name(&self) -> &'static str {
        self.call.function.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Self::value()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, _: &Tensor, _: &Tensor) -> Result<Gradients3> {
        Ok((self.gradient(0, a)?, self.gradient(1, b)?, self.gradient(2, c)?))
    }
}

/// One output: the first stands on the last ticket, the others on the first.
struct Output {
    call: Arc<Call>,
    index: usize,
    /// Taken by the forward, which Candle runs once.
    value: Mutex<Option<(CpuStorage, Shape)>>,
}

impl CustomOp1 for Output {
    fn name(&self) -> &'static str {
        self.call.function.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match lock(&self.value).take() {
            Some(value) => Ok(value),
            None => candle_core::bail!("{}: forward ran twice", self.call.function.name()),
        }
    }

    fn bwd(&self, on: &Tensor, output: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if self.index == 0 {
            self.call.run_backward(output, grad)?;
            return nothing().map(Some);
        }
        lock(&self.call.output_gradients)[self.index] = Some(grad.clone());
        Tensor::zeros(1, on.dtype(), &Device::Cpu)?.broadcast_as(on.shape()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{output, with_values};
    use crate::testkit::{check_gradients, values};

    /// Two outputs, Σ_i (i + 1) x_i and Σ_i (i + 1)² x_i², of any number of inputs of one shape.
    struct Weighted;

    impl Function for Weighted {
        fn name(&self) -> &'static str {
            "weighted"
        }

        fn backward(
            &self,
            inputs: &[Tensor],
            _: &Tensor,
            grads: &[Option<Tensor>],
            wanted: &[bool],
        ) -> Result<Vec<Option<Tensor>>> {
            let gradient = |i: usize| {
                let weight = (i + 1) as f64;
                let first = grads[0].as_ref().map(|g| g * weight).transpose()?;
                let second = grads[1].as_ref().map(|g| (g * &inputs[i])? * (2.0 * weight * weight)).transpose()?;
                match (first, second) {
                    (Some(a), Some(b)) => (a + b).map(Some),
                    (a, b) => Ok(a.or(b)),
                }
            };
            (0..inputs.len()).map(|i| if wanted[i] { gradient(i) } else { Ok(None) }).collect()
        }
    }

    fn weighted(inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (mut first, mut second) = (vec![0.0; 3], vec![0.0; 3]);
        for (i, x) in inputs.iter().enumerate() {
            let w = (i + 1) as f64;
            with_values::<f64, _, 1>([&x.contiguous()?], |[x]| {
                first.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
                second.iter_mut().zip(x).for_each(|(y, x)| *y += w * w * x * x);
                Ok(())
            })?;
        }
        record(Weighted, &inputs.iter().collect::<Vec<_>>(), vec![output(first, 3), output(second, 3)])
    }

    #[test]
    fn gradients_through_up_to_eight_inputs_and_either_output() {
        for count in 1..=8 {
            let inputs: Vec<_> = (0..count).map(|i| values(3, i).unwrap()).collect();
            check_gradients(&inputs, |t| Ok(weighted(t)?.swap_remove(0))).unwrap();
            check_gradients(&inputs, |t| Ok(weighted(t)?.swap_remove(1))).unwrap();
            check_gradients(&inputs, |t| {
                let ys = weighted(t)?;
                (&ys[0] * &ys[1])?
                    + weighted(&[&ys[1] * 0.5, t[0].exp()].into_iter().collect::<Result<Vec<_>>>()?)?.swap_remove(1)
            })
            .unwrap();
        }
    }

    #[test]
    fn constants_get_no_gradient_and_a_second_backward_works() {
        let x = candle_core::Var::from_tensor(&values(3, 1).unwrap()).unwrap();
        let constant = values(3, 2).unwrap();
        let ys = weighted(&[constant.clone(), x.as_tensor().clone(), constant]).unwrap();
        for _ in 0..2 {
            let grads = ys[0].backward().unwrap();
            assert_eq!(grads.get(x.as_tensor()).unwrap().to_vec1::<f64>().unwrap(), [2.0; 3]);
            assert_eq!(grads.get_ids().count(), 1);
        }
        let plain = weighted(&[values(3, 1).unwrap()]).unwrap();
        assert!(!plain[0].track_op());
    }
}
