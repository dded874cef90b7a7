//! Candle's custom ops as fused operations, so that gradients pass between them as they are.

use candle_core::{CustomOp1, CustomOp2, CustomOp3, Storage, Tensor};

use super::function::{Function, record};
use crate::Result;

/// `xs.apply_op1(op)` on the CPU.
pub(crate) fn apply1(xs: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
    let value = {
        let (storage, layout) = xs.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => op.cpu_fwd(storage, layout)?,
            _ => candle_core::bail!("{}: expected a tensor on the CPU, got {:?}", op.name(), xs.device()),
        }
    };
    Ok(record(Adapter1(op, xs.clone()), &[xs], vec![value])?.swap_remove(0))
}

/// `a.apply_op2(b, op)` on the CPU.
pub(crate) fn apply2(a: &Tensor, b: &Tensor, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Tensor> {
    let value = {
        let ((s1, l1), (s2, l2)) = (a.storage_and_layout(), b.storage_and_layout());
        match (&*s1, &*s2) {
            (Storage::Cpu(s1), Storage::Cpu(s2)) => op.cpu_fwd(s1, l1, s2, l2)?,
            _ => candle_core::bail!("{}: expected tensors on the CPU, got {:?}", op.name(), a.device()),
        }
    };
    Ok(record(Adapter2(op, a.clone(), b.clone()), &[a, b], vec![value])?.swap_remove(0))
}

/// `a.apply_op3(b, c, op)` on the CPU.
pub(crate) fn apply3(a: &Tensor, b: &Tensor, c: &Tensor, op: impl CustomOp3 + Send + Sync + 'static) -> Result<Tensor> {
    let value = {
        let ((s1, l1), (s2, l2), (s3, l3)) = (a.storage_and_layout(), b.storage_and_layout(), c.storage_and_layout());
        match (&*s1, &*s2, &*s3) {
            (Storage::Cpu(s1), Storage::Cpu(s2), Storage::Cpu(s3)) => op.cpu_fwd(s1, l1, s2, l2, s3, l3)?,
            _ => candle_core::bail!("{}: expected tensors on the CPU, got {:?}", op.name(), a.device()),
        }
    };
    Ok(record(Adapter3(op, a.clone(), b.clone(), c.clone()), &[a, b, c], vec![value])?.swap_remove(0))
}

/// An op and its arguments, which say themselves whether their gradient is wanted.
struct Adapter1<O>(O, Tensor);
struct Adapter2<O>(O, Tensor, Tensor);
struct Adapter3<O>(O, Tensor, Tensor, Tensor);

fn only<'a>(name: &str, grads: &'a [Option<Tensor>]) -> Result<&'a Tensor> {
    match grads {
        [Some(grad)] => Ok(grad),
        _ => candle_core::bail!("{name}: backward without a gradient"),
    }
}

impl<O: CustomOp1 + Send + Sync + 'static> Function for Adapter1<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn backward(
        &self,
        _: &[Tensor],
        output: &Tensor,
        grads: &[Option<Tensor>],
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![self.0.bwd(&self.1, output, only(self.0.name(), grads)?)?])
    }
}

impl<O: CustomOp2 + Send + Sync + 'static> Function for Adapter2<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn backward(
        &self,
        _: &[Tensor],
        output: &Tensor,
        grads: &[Option<Tensor>],
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let (a, b) = self.0.bwd(&self.1, &self.2, output, only(self.0.name(), grads)?)?;
        Ok(vec![a, b])
    }
}

impl<O: CustomOp3 + Send + Sync + 'static> Function for Adapter3<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn backward(
        &self,
        _: &[Tensor],
        output: &Tensor,
        grads: &[Option<Tensor>],
        _: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let (a, b, c) = self.0.bwd(&self.1, &self.2, &self.3, output, only(self.0.name(), grads)?)?;
        Ok(vec![a, b, c])
    }
}
