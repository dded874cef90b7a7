//! Whether outputs depend on inputs that they must not see.

use candle_core::{Tensor, Var};
use glassbox_core::{Layer, Pass, Result, TensorExt};
use glassbox_kernels::backward::backward;

/// Samples and positions that are tried at most.
const TRIED: usize = 8;

/// Pairs (i, j), i ≠ j, where the output of sample i depends on the input of sample j, evaluating.
pub(super) fn across_batch(model: &dyn Layer, input: &Tensor) -> Result<Vec<(usize, usize)>> {
    let samples = input.dim(0)?.min(TRIED);
    let input = input.narrow(0, 0, samples)?;
    depending(model, &input, 0, samples, |output, input| output != input)
}

/// Pairs (t, s), s > t, where the output (batch, seq_len, …) at position t depends on the input at position s.
pub(super) fn ahead(model: &dyn Layer, input: &Tensor) -> Result<Vec<(usize, usize)>> {
    let input = input.narrow(0, 0, input.dim(0)?.min(2))?;
    let positions = input.dim(1)?;
    depending(model, &input, 1, positions, |output, input| input > output)
}

/// Pairs of places along `dim` for which `forbidden(output, input)` holds and the output depends on the input.
fn depending(
    model: &dyn Layer,
    input: &Tensor,
    dim: usize,
    places: usize,
    forbidden: impl Fn(usize, usize) -> bool,
) -> Result<Vec<(usize, usize)>> {
    let step = places.div_ceil(TRIED).max(1);
    let mut found = vec![];
    let sensitivities = if input.dtype().is_float() { by_gradient } else { by_change };
    for place in (0..places).step_by(step) {
        let seen = sensitivities(model, input, dim, place)?;
        let wrong = seen.into_iter().filter(|&(output, input)| forbidden(output, input));
        found.extend(wrong);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Places of the input on which the output at `place` depends: those with a gradient.
fn by_gradient(model: &dyn Layer, input: &Tensor, dim: usize, place: usize) -> Result<Vec<(usize, usize)>> {
    let input = Var::from_tensor(&input.contiguous()?)?;
    let outputs = model.forward(input.as_tensor(), &Pass::eval().with_gradients())?;
    if outputs.dim(dim).map_or(true, |places| place >= places) {
        return Ok(vec![]);
    }
    // Squares, so that outputs which sum to a constant, such as a softmax's, do not cancel.
    let objective = outputs.narrow(dim, place, 1)?.sqr()?.sum_all()?;
    let Some(gradient) = backward(&objective)?.get(input.as_tensor())? else { return Ok(vec![]) };
    let per_place = gradient.abs()?.transpose(0, dim)?.contiguous()?.flatten_from(1)?.sum(1)?.to_f64_vec()?;
    Ok((0..).zip(per_place).filter(|(_, size)| *size != 0.0).map(|(input, _)| (place, input)).collect())
}

/// Places of the output that change when the id at `place` of the input does.
fn by_change(model: &dyn Layer, input: &Tensor, dim: usize, place: usize) -> Result<Vec<(usize, usize)>> {
    let before = model.forward(input, &Pass::eval())?;
    let own = input.narrow(dim, place, 1)?;
    // Another id that the model knows: that of a neighbour along the last dimension, or 0.
    let other = own.zeros_like()?;
    let parts = [input.narrow(dim, 0, place)?, other, input.narrow(dim, place + 1, input.dim(dim)? - place - 1)?];
    let parts: Vec<&Tensor> = parts.iter().filter(|part| part.elem_count() > 0).collect();
    let after = model.forward(&Tensor::cat(&parts, dim)?, &Pass::eval())?;
    if before.rank() <= dim {
        return Ok(vec![]);
    }
    let change = (before - after)?.abs()?.transpose(0, dim)?.contiguous()?.flatten_from(1)?.sum(1)?.to_f64_vec()?;
    Ok((0..).zip(change).filter(|(_, size)| *size != 0.0).map(|(output, _)| (output, place)).collect())
}
