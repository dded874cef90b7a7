//! What a recurrent network remembers, and how far back it can learn.

use candle_core::{Tensor, Var};
use glassbox_core::{Error, Result, TensorExt};
use glassbox_kernels::backward::backward;

use super::figures::hidden_state_figure;
use crate::report::{Curve, Figure, LineChart, Section};
use crate::rules::number;

/// A figure of `states` (steps, features): a hidden state or a gate along one sequence.
///
/// # Errors
/// Another shape.
pub fn state_map(name: &str, states: &Tensor) -> Result<Figure> {
    let (steps, features) = states.dims2()?;
    let values: Vec<f32> = states.to_f64_vec()?.into_iter().map(|x| x as f32).collect();
    Ok(hidden_state_figure(name, "state", steps, features, &values))
}

/// How the gradient of a loss flows back through the states of a recurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct StateGradients {
    /// ‖∂L/∂h_t‖ for t = 0 (the initial state) to the last step; states of several tensors together.
    pub norms: Vec<f64>,
}

impl StateGradients {
    /// The slope of ln ‖∂L/∂h_t‖ against the steps from t to the end, by least squares: ln ρ for a linear recurrence of
    /// spectral radius ρ. Below 0 the gradient vanishes on its way back, above 0 it explodes. NaN of fewer than two norms
    /// above 0.
    pub fn slope(&self) -> f64 {
        let last = self.norms.len().saturating_sub(1);
        let points: Vec<(f64, f64)> = self
            .norms
            .iter()
            .enumerate()
            .filter(|(_, norm)| **norm > 0.0 && norm.is_finite())
            .map(|(t, norm)| ((last - t) as f64, norm.ln()))
            .collect();
        let count = points.len() as f64;
        let (mx, my) =
            (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
        let covariance: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
        covariance / points.iter().map(|(x, _)| (x - mx).powi(2)).sum::<f64>()
    }

    /// A figure of the norms.
    pub fn figure(&self) -> Figure {
        let points = self.norms.iter().enumerate().map(|(t, norm)| (t as f64, *norm)).collect();
        let slope = self.slope();
        let chart = LineChart {
            label: format!(
                "Norm of the gradient of the loss with respect to each hidden state; slope {}",
                number(slope)
            ),
            x: "step of the sequence".into(),
            y: "‖∂L/∂h‖".into(),
            curves: vec![Curve::new("norm", points)],
            log: true,
            ..LineChart::default()
        };
        Figure::new(Section::Learned, "How far back it can learn", chart.svg())
            .what(format!(
                "How much the loss depends on the hidden state of each step. On the way back it changes by a factor of {} a step.",
                number(slope.exp())
            ))
            .healthy("Level, or falling slowly to the left. Falling steeply: it cannot learn from what lies that far back.")
            .formula("‖∂L/∂h_t‖; the slope of its logarithm is ln ρ in a linear recurrence of spectral radius ρ")
            .source("Bengio et al. 1994; Pascanu et al. 2013")
    }
}

/// The gradients of a loss with respect to the states of a recurrence, whatever it is made of: `step(t, state)` gives the
/// state after step t (a tensor, or hidden and cell state), `loss(t, state)` what the state after step t adds to the loss, if
/// anything. Exact: one backward for each step, from the last to the first.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use glassbox_lens::views::recurrence::state_gradients;
/// // h ← h / 2: the gradient halves with every step back.
/// let start = [Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?];
/// let found = state_gradients(
///     &start,
///     10,
///     |_, state| Ok(vec![(&state[0] * 0.5)?]),
///     |t, state| Ok((t == 9).then(|| state[0].sum_all()).transpose()?),
/// )?;
/// assert!((found.slope() - 0.5f64.ln()).abs() < 1e-12);
/// # Ok::<(), glassbox_core::Error>(())
/// ```
///
/// # Errors
/// No steps; those of the closures.
pub fn state_gradients(
    start: &[Tensor],
    steps: usize,
    step: impl Fn(usize, &[Tensor]) -> Result<Vec<Tensor>>,
    loss: impl Fn(usize, &[Tensor]) -> Result<Option<Tensor>>,
) -> Result<StateGradients> {
    if steps == 0 || start.is_empty() {
        return Err(Error::invalid("state gradients", "at least one step and a state", format!("{steps} steps")));
    }
    let mut states = vec![detached(start)?];
    for t in 0..steps {
        let next = step(t, &states[t])?;
        states.push(detached(&next)?);
    }
    // The gradient of what follows with respect to the state after the last step: that of its own loss alone.
    let mut gradient = own_gradient(&states[steps], |state| loss(steps - 1, state))?;
    let mut norms = vec![norm(&gradient)?];
    for t in (0..steps).rev() {
        let vars = states[t].iter().map(|state| Ok(Var::from_tensor(state)?)).collect::<Result<Vec<_>>>()?;
        let before: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let after = step(t, &before)?;
        let mut objective = Tensor::zeros((), after[0].dtype(), after[0].device())?;
        for (after, gradient) in after.iter().zip(&gradient) {
            objective = (objective + (after * gradient)?.sum_all()?)?;
        }
        if let Some(own) = t.checked_sub(1).map(|t| loss(t, &before)).transpose()?.flatten() {
            objective = (objective + own)?;
        }
        gradient = gradients_of(&objective, &vars)?;
        norms.push(norm(&gradient)?);
    }
    norms.reverse();
    Ok(StateGradients { norms })
}

fn detached(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    tensors.iter().map(|tensor| Ok(tensor.detach().contiguous()?)).collect()
}

fn own_gradient(state: &[Tensor], loss: impl Fn(&[Tensor]) -> Result<Option<Tensor>>) -> Result<Vec<Tensor>> {
    let vars = state.iter().map(|state| Ok(Var::from_tensor(state)?)).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    match loss(&tensors)? {
        Some(loss) => gradients_of(&loss, &vars),
        None => state.iter().map(|state| Ok(state.zeros_like()?)).collect(),
    }
}

fn gradients_of(objective: &Tensor, vars: &[Var]) -> Result<Vec<Tensor>> {
    let gradients = backward(objective)?;
    let of = |var: &Var| {
        Ok(match gradients.get(var.as_tensor())? {
            Some(gradient) => gradient.detach(),
            None => var.zeros_like()?,
        })
    };
    vars.iter().map(of).collect()
}

fn norm(tensors: &[Tensor]) -> Result<f64> {
    let squares = tensors.iter().map(|tensor| Ok(tensor.to_f64_vec()?.iter().map(|x| x * x).sum::<f64>()));
    Ok(squares.sum::<Result<f64>>()?.sqrt())
}
