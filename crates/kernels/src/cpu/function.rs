//! Fused operations of any number of inputs and outputs, whose gradients pass from one to the next as they are.
//!
//! Candle's custom op has at most three inputs and one output, and for every edge of its graph Candle's backward fills a
//! tensor of zeros and adds to it. Here three tensors of one element each stand in Candle's graph for the large ones:
//!
//! - a *ticket* stands for up to three inputs, one of which can be another ticket, so there is no limit;
//! - the *gate* stands on the last ticket, and its backward runs the operation's;
//! - each output is a custom op on the gate, whose backward leaves the output's gradient for the gate's.
//!
//! Where an input is itself an output of such an operation, the ticket stands on that operation's gate instead of on the
//! tensor, and leaves the gradient there directly. Candle's `backward` visits all of them in the right order, and every
//! other operation mixes with them freely.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Shape, Storage, Tensor, TensorId,
};

use super::{CHUNK, Element, Gradients2, Gradients3, by_float, copy_in_chunks, simd, tensor, with_values};
use crate::Result;
use crate::backward::hand_over;

/// The backward of a fused operation, with what its forward kept.
pub(crate) trait Function: Send + Sync + 'static {
    /// The operation's name, for errors.
    fn name(&self) -> &'static str;

    /// The gradients of `inputs`, in their order: one for each that is `wanted`. `output` is the first output, `grads` the
    /// gradients of all outputs, none for those that nothing depends on; at least one is there. They may be
    /// non-contiguous.
    fn backward(
        &self,
        inputs: &[Tensor],
        output: &Tensor,
        grads: &[Option<Tensor>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>>;
}

/// Tensors of `outputs`, which `function` computed from `inputs` (all on the CPU), with `function` as their backward.
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
        sources: inputs.iter().map(|x| source_of(x)).collect(),
        wanted: inputs.iter().map(|x| x.track_op()).collect(),
        gradients: Mutex::new(Vec::new()),
        output: OnceLock::new(),
        output_gradients: Mutex::new(vec![None; outputs.len()]),
    });
    let gate = tickets(&call, inputs, &tracked)?.apply_op1(Gate { call: Arc::clone(&call) })?;
    let output = |(index, (storage, shape)): (usize, (CpuStorage, Shape))| {
        let source = Arc::new(Source { call: Arc::clone(&call), index, gate: gate.clone(), shape: shape.clone() });
        let value = Mutex::new(Some((storage, shape)));
        let tensor = gate.apply_op1(Output { source: Arc::clone(&source), value })?;
        register(&tensor, &source);
        // Detached, so that the call does not keep its own graph alive.
        call.output.get_or_init(|| tensor.detach());
        Ok(tensor)
    };
    outputs.into_iter().enumerate().map(output).collect()
}

/// `xs` with another shape. Unlike Candle's, it costs nothing in backward where `xs` is the output of a fused operation.
pub(crate) fn reshape(xs: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    let view = xs.reshape(shape.into())?;
    if let Some(source) = source_of(xs).filter(|_| xs.is_contiguous()) {
        register(&view, &source);
    }
    Ok(view)
}

/// Where the gradient of an output of a fused operation is left.
struct Source {
    call: Arc<Call>,
    index: usize,
    gate: Tensor,
    shape: Shape,
}

impl Source {
    fn leave(&self, gradient: Tensor) -> Result<()> {
        let gradient = gradient.reshape(&self.shape)?;
        let slot = &mut lock(&self.call.output_gradients)[self.index];
        *slot = Some(match slot.take() {
            Some(before) => add(&before, &gradient)?,
            None => gradient,
        });
        Ok(())
    }
}

/// The sum of two gradients.
fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    by_float!("backward", a.dtype(), T => tensor(add_values::<T>(a, b)?, a.shape()))
}

/// The values of a sum, in parallel, where `b` is repeated until it is as long as `a`.
pub(crate) fn add_values<T: Element>(a: &Tensor, b: &Tensor) -> Result<Vec<T>> {
    with_values::<T, _, 2>([a, b], |[x, y]| {
        let len = y.len().max(1);
        // A chunk lies within one repetition, or holds some of them.
        let chunk = if len > CHUNK { len.div_ceil(len.div_ceil(CHUNK)) } else { CHUNK / len * len };
        Ok(copy_in_chunks(x, chunk, |i, x| {
            simd(|| {
                let mut at = i * chunk % len;
                let mut rest = x;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at_mut(rest.len().min(len - at));
                    now.iter_mut().zip(&y[at..]).for_each(|(x, &y)| *x += y);
                    (rest, at) = (later, 0);
                }
            });
        }))
    })
}

/// The sources of all outputs that are alive, by tensor.
static SOURCES: LazyLock<Mutex<HashMap<TensorId, Weak<Source>>>> = LazyLock::new(Mutex::default);
/// Entries beyond which those of dropped tensors are looked for.
const SWEEP: usize = 1 << 12;

fn source_of(tensor: &Tensor) -> Option<Arc<Source>> {
    lock(&SOURCES).get(&tensor.id())?.upgrade()
}

fn register(tensor: &Tensor, source: &Arc<Source>) {
    let mut sources = lock(&SOURCES);
    if sources.len() >= SWEEP && sources.len() == sources.capacity() {
        sources.retain(|_, source| source.strong_count() > 0);
    }
    sources.insert(tensor.id(), Arc::downgrade(source));
}

/// One use of a function.
struct Call {
    function: Box<dyn Function>,
    inputs: Vec<Tensor>,
    /// For each input that is an output of a fused operation, where its gradient is left.
    sources: Vec<Option<Arc<Source>>>,
    wanted: Vec<bool>,
    /// Of the inputs, between the function's backward and the tickets'.
    gradients: Mutex<Vec<Option<Tensor>>>,
    /// The first output.
    output: OnceLock<Tensor>,
    /// Of the outputs, between the backwards of what follows and the function's.
    output_gradients: Mutex<Vec<Option<Tensor>>>,
}

impl Call {
    fn take_gradient(&self, input: usize) -> Result<Tensor> {
        match lock(&self.gradients).get_mut(input).and_then(Option::take) {
            Some(gradient) => Ok(gradient),
            None => candle_core::bail!("{}: no gradient for input {input}", self.function.name()),
        }
    }

    fn run_backward(&self) -> Result<()> {
        let grads: Vec<_> = lock(&self.output_gradients).iter_mut().map(Option::take).collect();
        let Some(output) = self.output.get() else {
            candle_core::bail!("{}: backward before forward", self.function.name());
        };
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
        let stands_on = |&i: &usize| call.sources[i].as_ref().map_or(inputs[i], |source| &source.gate);
        let args: Vec<&Tensor> = last.iter().chain(now.iter().map(stands_on)).collect();
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
        if self.after && index == 0 {
            return nothing().map(Some);
        }
        let input = self.inputs[index - usize::from(self.after)];
        let gradient = self.call.take_gradient(input)?;
        match &self.call.sources[input] {
            Some(source) => source.leave(gradient).and_then(|()| nothing().map(Some)),
            None => hand_over(arg, Some(gradient)),
        }
    }
}

/// The gradient of a ticket or a gate: Candle wants one to go on.
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

/// Stands on all tickets, under all outputs.
struct Gate {
    call: Arc<Call>,
}

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        self.call.function.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ticket::value()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        self.call.run_backward()?;
        nothing().map(Some)
    }
}

/// One output, in Candle's graph.
struct Output {
    source: Arc<Source>,
    /// Taken by the forward, which Candle runs once.
    value: Mutex<Option<(CpuStorage, Shape)>>,
}

impl CustomOp1 for Output {
    fn name(&self) -> &'static str {
        self.source.call.function.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match lock(&self.value).take() {
            Some(value) => Ok(value),
            None => candle_core::bail!("{}: forward ran twice", self.source.call.function.name()),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.source.leave(grad.clone())?;
        nothing().map(Some)
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
            // One operation after another, by way of a reshape, with an output used three times.
            check_gradients(&inputs, |t| {
                let ys = weighted(t)?;
                let ys: Vec<_> = ys.iter().map(|y| reshape(&reshape(y, (3, 1))?, 3)).collect::<Result<_>>()?;
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
