//! Muon: momentum whose update is made nearly orthogonal.

use candle_core::{Tensor, Var};

use super::update::{fits, update};
use crate::Result;
use crate::cpu::by_float;

/// How [`muon_step`] scales the learning rate for a matrix of A rows and B columns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum MuonAdjust {
    /// √max(1, A / B), Jordan's own and PyTorch's default.
    #[default]
    Original,
    /// 0.2 √max(A, B): updates as large as AdamW's, so that its rates fit (Liu et al. 2025, arXiv 2502.16982).
    MatchRmsAdamw,
    /// √(A / B).
    SpectralUnclamped,
}

/// The settings of one [`muon_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonStep {
    /// Learning rate.
    pub lr: f64,
    /// Share of the momentum buffer that is kept, in [0, 1).
    pub momentum: f64,
    /// Whether to look one step of momentum ahead.
    pub nesterov: bool,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Iterations of [`newton_schulz`]; 5 is usual.
    pub ns_steps: usize,
    /// How the rate follows the matrix's shape.
    pub adjust: MuonAdjust,
}

/// Steps `param` by Muon, as `torch.optim.Muon` does: b = momentum · b + (1 − momentum) · g; u = b, or
/// momentum · b + (1 − momentum) · g with Nesterov; param = (1 − lr · weight_decay) · param − rate · newton_schulz(u).
///
/// Differs from PyTorch: the iteration runs in the parameter's own type, PyTorch's in bfloat16; and a parameter of more
/// than two dimensions is taken as a matrix of its first dimension by all others, where PyTorch fails.
///
/// # Shapes
/// All as `param`, of two dimensions or more.
///
/// # Errors
/// Where shapes or dtypes disagree, or `param` has fewer than two dimensions.
///
/// Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
pub fn muon_step(param: &Var, grad: &Tensor, momentum_buffer: &Var, step: &MuonStep) -> Result<()> {
    if param.rank() < 2 || param.elem_count() == 0 {
        candle_core::bail!("muon: expected a parameter of two dimensions or more, got {:?}", param.dims());
    }
    let fused = fits("muon", &[param, momentum_buffer], grad)?;
    if fused {
        by_float!("muon", param.dtype(), T => {
            let (keep, rest) = (step.momentum as T, (1.0 - step.momentum) as T);
            update::<T, 1>([momentum_buffer], grad, |[buffer], grad| {
                buffer.iter_mut().zip(grad).for_each(|(b, &g): (&mut T, &T)| *b = keep * *b + rest * g);
            })?;
        });
    } else {
        momentum_buffer.set(&mix(&momentum_buffer.as_detached_tensor(), grad, step.momentum)?)?;
    }
    let buffer = momentum_buffer.as_detached_tensor();
    let direction = if step.nesterov { mix(&buffer, &grad.detach(), step.momentum)? } else { buffer };
    let (rows, columns) = (param.dim(0)?, param.elem_count() / param.dim(0)?);
    let direction = newton_schulz(&direction.reshape((rows, columns))?, step.ns_steps)?.reshape(param.shape())?;
    let (keep, rate) = (1.0 - step.lr * step.weight_decay, step.lr * ratio(step.adjust, rows, columns));
    if fused {
        by_float!("muon", param.dtype(), T => {
            let (keep, rate) = (keep as T, rate as T);
            update::<T, 1>([param], &direction, |[param], direction| {
                param.iter_mut().zip(direction).for_each(|(p, &u): (&mut T, &T)| *p = keep * *p - rate * u);
            })
        })
    } else {
        param.set(&((param.as_detached_tensor() * keep)? - (direction * rate)?)?)
    }
}

/// share · a + (1 − share) · b.
fn mix(a: &Tensor, b: &Tensor, share: f64) -> Result<Tensor> {
    (a * share)? + (b * (1.0 - share))?
}

fn ratio(adjust: MuonAdjust, rows: usize, columns: usize) -> f64 {
    let (rows, columns) = (rows as f64, columns as f64);
    match adjust {
        MuonAdjust::Original => (rows / columns).max(1.0).sqrt(),
        MuonAdjust::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
        MuonAdjust::SpectralUnclamped => (rows / columns).sqrt(),
    }
}

/// Brings all singular values of `matrix` near 1 and keeps its singular vectors: X = M / |M|, then `steps` times
/// X = a X + (b G + c G²) X with G = X Xᵀ and (a, b, c) = (3.4445, −4.7750, 2.0315).
///
/// # Shapes
/// (rows, columns); the result has the same.
///
/// # Errors
/// Where `matrix` does not have two dimensions.
///
/// Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
pub fn newton_schulz(matrix: &Tensor, steps: usize) -> Result<Tensor> {
    const A: f64 = 3.4445;
    const B: f64 = -4.7750;
    const C: f64 = 2.0315;
    let &[rows, columns] = matrix.dims() else {
        candle_core::bail!("newton_schulz: expected a matrix, got {:?}", matrix.dims());
    };
    let matrix = matrix.detach();
    // The Gram matrix is that of the shorter side.
    let wide = if rows > columns { matrix.t()?.contiguous()? } else { matrix };
    let norm = super::global_norm(std::slice::from_ref(&wide))?;
    let mut x = (wide / norm.max(1e-7))?;
    for _ in 0..steps {
        let gram = x.matmul(&x.t()?)?;
        let polynomial = ((&gram * B)? + (gram.matmul(&gram)? * C)?)?;
        x = ((&x * A)? + polynomial.matmul(&x)?)?;
    }
    if rows > columns { x.t()?.contiguous() } else { Ok(x) }
}
