//! Rotary position embedding.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Shape, Tensor};

use crate::Result;
use crate::cpu::{Element, apply1, by_float, is_fused, output, row_offset, rows, values};

/// Which elements of a vector form the pairs that are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryStyle {
    /// Elements 2i and 2i + 1, as in the paper, GPT-J and Llama's own weights.
    Interleaved,
    /// Elements i and i + head_dim / 2 ("rotate half"), as in GPT-NeoX and in Hugging Face's Llama.
    Half,
}

/// Turns pair i of each vector by the angle p · base^(−2i / head_dim), p being the vector's position (Su et al. 2021, arXiv
/// 2104.09864): (a, b) becomes (a cos − b sin, b cos + a sin).
///
/// The product of two vectors so turned depends on the distance of their positions alone. The backward is the turn by the
/// negative angle.
///
/// # Shapes
/// `xs` (…, len, head_dim), such as (batch, num_heads, len, head_dim), with an even head_dim; the result has the same and is
/// contiguous. Vector t of `len` is at position `offset` + t, where `offset` is how many tokens came before (a cache's
/// length). Of (batch, len, num_heads, head_dim), pass `xs.transpose(1, 2)`: it is read as it lies.
///
/// # Errors
/// Where `xs` has fewer than two dimensions or an odd head_dim, is not of a float type, or `base` (10,000 in the paper) is
/// not a number above 0.
pub fn rotary(xs: &Tensor, base: f64, offset: usize, style: RotaryStyle) -> Result<Tensor> {
    let (len, head_dim) = match *xs.dims() {
        [.., len, head_dim] if head_dim % 2 == 0 => (len, head_dim),
        _ => candle_core::bail!("rotary: expected xs (…, len, head_dim) with an even head_dim, got {:?}", xs.dims()),
    };
    if !(base > 0.0 && base.is_finite()) {
        candle_core::bail!("rotary: expected a base above 0, got {base}");
    }
    if !xs.dtype().is_float() {
        candle_core::bail!("rotary: expected a float type, got {:?}", xs.dtype());
    }
    let angles = Angles::new(base, offset, len, head_dim / 2);
    if is_fused(xs) {
        apply1(xs, Rotary { angles: Arc::new(angles), style, inverse: false })
    } else {
        composed(xs, &angles, style)
    }
}

/// Every so many positions the angle is computed afresh; between them it is turned on, which costs a rounding each.
const FRESH: usize = 64;

/// Cosine and sine of the angles, (len, pairs).
struct Angles {
    cosines: Vec<f64>,
    sines: Vec<f64>,
    pairs: usize,
}

impl Angles {
    fn new(base: f64, offset: usize, len: usize, pairs: usize) -> Self {
        let speeds: Vec<f64> = (0..pairs).map(|i| base.powf(-(i as f64) / pairs as f64)).collect();
        let turns: Vec<(f64, f64)> = speeds.iter().map(|speed| speed.sin_cos()).collect();
        let (mut cosines, mut sines) = (vec![0.0; len * pairs], vec![0.0; len * pairs]);
        for t in 0..len {
            let at = t * pairs;
            for i in 0..pairs {
                (sines[at + i], cosines[at + i]) = if t % FRESH == 0 {
                    ((offset + t) as f64 * speeds[i]).sin_cos()
                } else {
                    let ((sin, cos), (s, c)) = (turns[i], (sines[at - pairs + i], cosines[at - pairs + i]));
                    (s * cos + c * sin, c * cos - s * sin)
                };
            }
        }
        Self { cosines, sines, pairs }
    }

    /// In the element type, with the sines negated where `inverse`.
    fn typed<T: Element>(&self, inverse: bool) -> (Vec<T>, Vec<T>) {
        let sign = if inverse { -1.0 } else { 1.0 };
        let cosines = self.cosines.iter().map(|&c| T::from_f64(c)).collect();
        (cosines, self.sines.iter().map(|&s| T::from_f64(sign * s)).collect())
    }
}

fn composed(xs: &Tensor, angles: &Angles, style: RotaryStyle) -> Result<Tensor> {
    let (len, pairs) = (xs.dim(D::Minus2)?, angles.pairs);
    let of = |values: &[f64], shape: &[usize]| {
        Tensor::from_vec(values.to_vec(), shape, &Device::Cpu)?.to_dtype(xs.dtype())?.to_device(xs.device())
    };
    let turn = |a: &Tensor, b: &Tensor, shape: &[usize]| -> Result<[Tensor; 2]> {
        let (cos, sin) = (of(&angles.cosines, shape)?, of(&angles.sines, shape)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        Ok([first, (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?])
    };
    match style {
        RotaryStyle::Half => {
            let (a, b) = (xs.narrow(D::Minus1, 0, pairs)?, xs.narrow(D::Minus1, pairs, pairs)?);
            Tensor::cat(&turn(&a, &b, &[len, pairs])?, D::Minus1)
        }
        RotaryStyle::Interleaved => {
            let mut dims = xs.dims().to_vec();
            dims.pop();
            dims.extend([pairs, 2]);
            let split = xs.reshape(dims)?;
            let (a, b) = (split.narrow(D::Minus1, 0, 1)?, split.narrow(D::Minus1, 1, 1)?);
            Tensor::cat(&turn(&a, &b, &[len, pairs, 1])?, D::Minus1)?.reshape(xs.shape())
        }
    }
}

#[derive(Clone)]
struct Rotary {
    angles: Arc<Angles>,
    style: RotaryStyle,
    inverse: bool,
}

impl Rotary {
    /// `row(i)` is vector number i of the input.
    fn forward<'a, T: Element>(&self, shape: &Shape, row: impl Fn(usize) -> &'a [T] + Sync) -> Vec<T> {
        let (pairs, len) = (self.angles.pairs, shape.dims()[shape.rank() - 2]);
        let (cosines, sines) = self.angles.typed::<T>(self.inverse);
        let mut out = vec![T::zero(); shape.elem_count()];
        rows(&mut out, 2 * pairs, |i, out| {
            let at = i % len * pairs;
            let (cos, sin) = (&cosines[at..][..pairs], &sines[at..][..pairs]);
            match self.style {
                RotaryStyle::Half => turn_halves(row(i), out, cos, sin),
                RotaryStyle::Interleaved => turn_neighbours(row(i), out, cos, sin),
            }
        });
        out
    }
}

#[inline(always)]
fn turn_halves<T: Element>(xs: &[T], out: &mut [T], cos: &[T], sin: &[T]) {
    let ((a, b), (first, second)) = (xs.split_at(cos.len()), out.split_at_mut(cos.len()));
    for (((out, &a), &b), (&cos, &sin)) in first.iter_mut().zip(a).zip(b).zip(cos.iter().zip(sin)) {
        *out = a * cos - b * sin;
    }
    for (((out, &a), &b), (&cos, &sin)) in second.iter_mut().zip(a).zip(b).zip(cos.iter().zip(sin)) {
        *out = b * cos + a * sin;
    }
}

#[inline(always)]
fn turn_neighbours<T: Element>(xs: &[T], out: &mut [T], cos: &[T], sin: &[T]) {
    let (xs, out) = (xs.as_chunks::<2>().0, out.as_chunks_mut::<2>().0);
    for ((out, &[a, b]), (&cos, &sin)) in out.iter_mut().zip(xs).zip(cos.iter().zip(sin)) {
        *out = [a * cos - b * sin, b * cos + a * sin];
    }
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = layout.shape();
        let head_dim = 2 * self.angles.pairs;
        by_float!("rotary", xs.dtype(), T => {
            let out = match (layout.dims(), layout.stride()) {
                // Whole vectors, wherever they lie: no copy.
                ([dims @ .., _], [strides @ .., 1]) => {
                    let all = &xs.as_slice::<T>()?;
                    let start = layout.start_offset();
                    self.forward(shape, |i| &all[start + row_offset(i, dims, strides)..][..head_dim])
                }
                _ => {
                    let xs = values::<T>(xs, layout)?;
                    self.forward(shape, |i| &xs[i * head_dim..][..head_dim])
                }
            };
            Ok(output(out, shape))
        })
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !xs.track_op() {
            return Ok(None);
        }
        grad.apply_op1(Self { inverse: !self.inverse, ..self.clone() }).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::testing::{assert_close, flat};
    use crate::testkit::{check_gradients, values as random};

    const STYLES: [RotaryStyle; 2] = [RotaryStyle::Interleaved, RotaryStyle::Half];

    #[test]
    fn gradients() {
        for style in STYLES {
            check_gradients(&[random((2, 3, 4, 6), 1).unwrap()], |t| rotary(&t[0], 100.0, 5, style)).unwrap();
            let (heads_last, angles) = (random((2, 3, 2, 4), 2).unwrap(), Angles::new(50.0, 0, 3, 2));
            check_gradients(&[heads_last], |t| {
                let heads_first = t[0].contiguous()?.transpose(1, 2)?;
                rotary(&heads_first, 50.0, 0, style)? + composed(&heads_first.contiguous()?, &angles, style)?
            })
            .unwrap();
        }
    }

    /// Against the formula, at positions far beyond the first fresh angle; strided and contiguous, f64 and f32.
    #[test]
    fn equals_the_formula() {
        let (len, head_dim, base, offset) = (200, 10, 10_000f64, 77);
        let xs = random((2, len, 3, head_dim), 1).unwrap().transpose(1, 2).unwrap();
        let plain = flat(&xs);
        for style in STYLES {
            let mut want = plain.clone();
            for (i, (out, xs)) in want.chunks_mut(head_dim).zip(plain.chunks(head_dim)).enumerate() {
                for pair in 0..head_dim / 2 {
                    let angle = (offset + i % len) as f64 * base.powf(-2.0 * pair as f64 / head_dim as f64);
                    let (a, b) = match style {
                        RotaryStyle::Half => (pair, pair + head_dim / 2),
                        RotaryStyle::Interleaved => (2 * pair, 2 * pair + 1),
                    };
                    out[a] = xs[a] * angle.cos() - xs[b] * angle.sin();
                    out[b] = xs[b] * angle.cos() + xs[a] * angle.sin();
                }
            }
            let single = xs.to_dtype(DType::F32).unwrap();
            let angles = Angles::new(base, offset, len, head_dim / 2);
            // 64 roundings of 1e-16 between fresh angles.
            assert_close(&flat(&rotary(&xs, base, offset, style).unwrap()), &want, 1e-13);
            assert_close(&flat(&rotary(&single, base, offset, style).unwrap()), &want, 3e-7);
            assert_close(&flat(&composed(&xs.contiguous().unwrap(), &angles, style).unwrap()), &want, 1e-13);
        }
    }

    /// What the embedding is for: products depend on the distance alone. And a cache's offset continues a sequence.
    #[test]
    fn products_depend_on_the_distance() {
        let (q, k) = (random((1, 8), 1).unwrap(), random((1, 8), 2).unwrap());
        let product = |p, r| {
            let turned = |xs: &Tensor, at| rotary(xs, 100.0, at, RotaryStyle::Half).unwrap();
            (turned(&q, p) * turned(&k, r)).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        assert!((product(3, 10) - product(1003, 1010)).abs() < 1e-12);
        let xs = random((1, 300, 8), 3).unwrap();
        let whole = rotary(&xs, 100.0, 0, RotaryStyle::Half).unwrap().narrow(1, 100, 200).unwrap();
        let later = rotary(&xs.narrow(1, 100, 200).unwrap(), 100.0, 100, RotaryStyle::Half).unwrap();
        assert_close(&flat(&later), &flat(&whole), 1e-13);
    }

    #[test]
    fn odd_ends() {
        for shape in [(0, 3, 4), (2, 0, 4), (2, 3, 0)] {
            let xs = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            assert_eq!(rotary(&xs, 10.0, 0, RotaryStyle::Half).unwrap().dims3().unwrap(), shape);
        }
        let message = |xs: &Tensor, base| rotary(xs, base, 0, RotaryStyle::Half).unwrap_err().to_string();
        let xs = random((2, 3), 1).unwrap();
        assert!(message(&xs, 10.0).contains("with an even head_dim, got [2, 3]"));
        assert!(message(&xs.t().unwrap(), 0.0).contains("rotary: expected a base above 0, got 0"));
        assert!(message(&xs.t().unwrap().to_dtype(DType::U32).unwrap(), 1.0).contains("expected a float type"));
    }
}
