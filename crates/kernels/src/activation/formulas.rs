//! Values and derivatives of the activations on slices: one loop per activation, the choice outside of it.

use super::Activation;
use crate::cpu::{CHUNK, Float, copy_in_chunks, simd};

/// √(2/π) and the cubic coefficient of the tanh approximation of GELU (Hendrycks and Gimpel 2016).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;
/// 1 / √(2π), the normal density at zero.
const INV_SQRT_2_PI: f64 = 0.398_942_280_401_432_7;

/// The activation of every element, in parallel.
pub(crate) fn forward<T: Float>(activation: Activation, xs: &[T]) -> Vec<T> {
    copy_in_chunks(xs, CHUNK, |_, values| apply(activation, values))
}

/// The gradient of the input from that of the output, element by element, in parallel; `ys` is the output.
pub(crate) fn backward<T: Float>(activation: Activation, xs: &[T], ys: &[T], grads: &[T]) -> Vec<T> {
    copy_in_chunks(grads, CHUNK, |i, grads| {
        let part = i * CHUNK..i * CHUNK + grads.len();
        differentiate(activation, &xs[part.clone()], &ys[part], grads);
    })
}

/// Replaces each of `values` by its activation.
pub(crate) fn apply<T: Float>(activation: Activation, values: &mut [T]) {
    simd(|| apply_here(activation, values));
}

/// Replaces each of `grads`, the gradients of the outputs `ys` of `xs`, by the gradient of its input.
///
/// Where [`Activation::needs_input`] says no, `xs` is not looked at beyond its sign, which `ys` has too.
pub(crate) fn differentiate<T: Float>(activation: Activation, xs: &[T], ys: &[T], grads: &mut [T]) {
    simd(|| differentiate_here(activation, xs, ys, grads));
}

#[inline(always)]
fn each<T: Float>(values: &mut [T], f: impl Fn(T) -> T) {
    values.iter_mut().for_each(|value| *value = f(*value));
}

#[inline(always)]
fn each_gradient<T: Float>(xs: &[T], ys: &[T], grads: &mut [T], f: impl Fn(T, T, T) -> T) {
    grads.iter_mut().zip(xs).zip(ys).for_each(|((g, &x), &y)| *g = f(x, y, *g));
}

#[inline(always)]
fn apply_here<T: Float>(activation: Activation, values: &mut [T]) {
    let zero = T::zero();
    match activation {
        Activation::Sigmoid => each(values, sigmoid),
        Activation::Tanh => each(values, tanh),
        // NaN is not <= 0, so it passes.
        Activation::Relu => each(values, |x| if x <= zero { zero } else { x }),
        Activation::LeakyRelu(slope) => {
            let slope = T::from_f64(slope);
            each(values, |x| if x <= zero { slope * x } else { x })
        }
        Activation::Elu(alpha) => {
            let alpha = T::from_f64(alpha);
            each(values, |x| if x <= zero { alpha * x.exp_m1() } else { x })
        }
        Activation::Gelu => each(values, |x| x * x.normal_cdf()),
        Activation::GeluTanh => each(values, |x| x * sigmoid(gelu_argument(x))),
        Activation::Silu => each(values, |x| x * sigmoid(x)),
        Activation::Softplus { beta, threshold } => {
            let (beta, threshold) = (T::from_f64(beta), T::from_f64(threshold));
            each(values, |x| if x * beta > threshold { x } else { softplus(x * beta) / beta })
        }
        Activation::Mish => each(values, |x| x * tanh_softplus(x)),
        Activation::HardSwish => each(values, |x| x * hard_sigmoid(x)),
        Activation::HardSigmoid => each(values, hard_sigmoid),
        Activation::LogSigmoid => each(values, |x| -softplus(-x)),
    }
}

#[inline(always)]
fn differentiate_here<T: Float>(activation: Activation, xs: &[T], ys: &[T], grads: &mut [T]) {
    let (zero, one) = (T::zero(), T::one());
    match activation {
        Activation::Sigmoid => each_gradient(xs, ys, grads, |_, y, g| g * (y * (one - y))),
        Activation::Tanh => each_gradient(xs, ys, grads, |_, y, g| g * (one - y * y)),
        Activation::Relu => each_gradient(xs, ys, grads, |x, _, g| if x <= zero { zero } else { g }),
        Activation::LeakyRelu(slope) => {
            let slope = T::from_f64(slope);
            each_gradient(xs, ys, grads, |x, _, g| if x <= zero { g * slope } else { g })
        }
        Activation::Elu(alpha) => {
            let alpha = T::from_f64(alpha);
            each_gradient(xs, ys, grads, |x, y, g| if x <= zero { g * (y + alpha) } else { g })
        }
        Activation::Gelu => {
            let (half, peak) = (T::from_f64(0.5), T::from_f64(INV_SQRT_2_PI));
            each_gradient(xs, ys, grads, |x, _, g| g * (x.normal_cdf() + x * peak * (-half * x * x).exp()))
        }
        Activation::GeluTanh => {
            let (scale, cubic) = (T::from_f64(2.0 * GELU_SCALE), T::from_f64(3.0 * GELU_CUBIC));
            each_gradient(xs, ys, grads, |x, _, g| {
                let s = sigmoid(gelu_argument(x));
                g * (s + x * (s * (one - s)) * scale * (one + cubic * x * x))
            })
        }
        Activation::Silu => each_gradient(xs, ys, grads, |x, _, g| {
            let s = sigmoid(x);
            g * (s + x * s * (one - s))
        }),
        Activation::Softplus { beta, threshold } => {
            let (beta, threshold) = (T::from_f64(beta), T::from_f64(threshold));
            each_gradient(xs, ys, grads, |x, _, g| if x * beta > threshold { g } else { g * sigmoid(x * beta) })
        }
        Activation::Mish => each_gradient(xs, ys, grads, |x, _, g| {
            let t = tanh_softplus(x);
            g * (t + x * (one - t * t) * sigmoid(x))
        }),
        Activation::HardSwish => {
            let (three, third) = (T::from_f64(3.0), T::from_f64(1.0 / 3.0));
            let half = T::from_f64(0.5);
            each_gradient(xs, ys, grads, |x, _, g| {
                if x <= -three {
                    zero
                } else if x >= three {
                    g
                } else {
                    g * (x * third + half)
                }
            })
        }
        Activation::HardSigmoid => {
            let (three, sixth) = (T::from_f64(3.0), T::from_f64(1.0 / 6.0));
            each_gradient(xs, ys, grads, |x, _, g| if x <= -three || x >= three { zero } else { g * sixth })
        }
        Activation::LogSigmoid => each_gradient(xs, ys, grads, |x, _, g| g * sigmoid(-x)),
    }
}

/// 1 / (1 + e^-x), with the exponential of a negative number only.
#[inline(always)]
pub(crate) fn sigmoid<T: Float>(x: T) -> T {
    let e = (-x.abs()).exp();
    (if x < T::zero() { e } else { T::one() }) / (T::one() + e)
}

/// tanh |x| = -m / (2 + m) with m = e^(-2|x|) − 1: exact near zero, bounded far away.
#[inline(always)]
pub(crate) fn tanh<T: Float>(x: T) -> T {
    let two = T::from_f64(2.0);
    let m = (-two * x.abs()).exp_m1();
    let t = -m / (two + m);
    if x < T::zero() { -t } else { t }
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
#[inline(always)]
pub(crate) fn softplus<T: Float>(x: T) -> T {
    (if x < T::zero() { T::zero() } else { x }) + (-x.abs()).exp().ln_1p_unit()
}

/// tanh(softplus(x)): with w = e^-|x| it is (1 + 2w) / (1 + 2w + 2w²) above zero, (w² + 2w) / (w² + 2w + 2) below.
#[inline(always)]
fn tanh_softplus<T: Float>(x: T) -> T {
    let (one, two) = (T::one(), T::from_f64(2.0));
    let w = (-x.abs()).exp();
    let above = one + two * w;
    let below = w * (w + two);
    if x < T::zero() { below / (below + two) } else { above / (above + two * w * w) }
}

/// Twice the argument of the tanh in GELU's approximation: (1 + tanh u) / 2 = sigmoid(2 u).
#[inline(always)]
fn gelu_argument<T: Float>(x: T) -> T {
    T::from_f64(2.0 * GELU_SCALE) * (x + T::from_f64(GELU_CUBIC) * x * x * x)
}

/// min(max(x + 3, 0), 6) / 6; NaN passes.
#[inline(always)]
fn hard_sigmoid<T: Float>(x: T) -> T {
    let three = T::from_f64(3.0);
    if x <= -three {
        T::zero()
    } else if x >= three {
        T::one()
    } else {
        x * T::from_f64(1.0 / 6.0) + T::from_f64(0.5)
    }
}
