//! Dropout without a stored mask: whether an element is kept follows from a seed and its place.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use crate::Result;
use crate::cpu::{CHUNK, Dropout, Element, apply1, by_float, collect, is_fused, output, tensor, values, with_values};

/// Multiplies each element by 0 with probability `p` and by 1 / (1 − p) otherwise (Srivastava et al. 2014).
///
/// The decisions are a function of `seed` and of each element's place in row-major order: they do not depend on the number
/// of threads, the element type or the device. Backward draws them again, so nothing but the seed is kept.
///
/// # Shapes
/// Any; the result has the same.
///
/// # Errors
/// Where `p` is outside [0, 1], or `xs` is not of a float type.
pub fn dropout(xs: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    apply("dropout", xs, p, seed, None)
}

/// [`dropout`] of whole channels: one decision for each channel of each sample (Tompson et al. 2014, arXiv 1411.4280).
///
/// # Shapes
/// `xs` (batch, channels, …), of two dimensions or more; the result has the same.
///
/// # Errors
/// Where `xs` has fewer dimensions; otherwise as [`dropout`].
pub fn channel_dropout(xs: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    let &[_, channels, ..] = xs.dims() else {
        candle_core::bail!("channel_dropout: expected xs (batch, channels, …), got {:?}", xs.dims());
    };
    apply("channel_dropout", xs, p, seed, Some(channels))
}

fn apply(name: &'static str, xs: &Tensor, p: f64, seed: u64, channels: Option<usize>) -> Result<Tensor> {
    if !xs.dtype().is_float() {
        candle_core::bail!("{name}: expected a float type, got {:?}", xs.dtype());
    }
    let op = Mask { name, draws: Dropout::new(name, p, seed)?, channels };
    if is_fused(xs) { apply1(xs, op) } else { op.composed(xs) }
}

#[derive(Clone, Copy)]
struct Mask {
    name: &'static str,
    draws: Dropout,
    /// Number of channels of a sample, where these are kept or dropped as a whole.
    channels: Option<usize>,
}

impl Mask {
    fn times<T: Element>(&self, xs: &[T], shape: &Shape) -> Vec<T> {
        match self.channels {
            None => self.elements(xs),
            Some(channels) => self.planes(xs, channels, shape.dims()[2..].iter().product()),
        }
    }

    /// Each chunk of elements is a row of decisions.
    fn elements<T: Element>(&self, xs: &[T]) -> Vec<T> {
        collect(xs.len(), CHUNK, |start, part| {
            let row = self.draws.row::<T>((start / CHUNK) as u64);
            let xs = &xs[start..start + part.room()];
            part.extend(xs.iter().enumerate().map(|(i, &x)| x * row.factor(i as u32)));
        })
    }

    /// Each sample is a row of decisions, one for a plane.
    fn planes<T: Element>(&self, xs: &[T], channels: usize, plane: usize) -> Vec<T> {
        collect(xs.len(), CHUNK, |start, part| {
            let mut at = start;
            while part.room() > 0 {
                let (index, end) = (at / plane, (at / plane + 1) * plane);
                let factor = self.draws.row::<T>((index / channels) as u64).factor((index % channels) as u32);
                let xs = &xs[at..end.min(at + part.room())];
                part.extend(xs.iter().map(|&x| x * factor));
                at = end;
            }
        })
    }

    /// [`apply`] from Candle's operations: the same decisions, drawn on the CPU.
    fn composed(&self, xs: &Tensor) -> Result<Tensor> {
        let shape = match self.channels {
            None => xs.shape().clone(),
            Some(channels) => {
                let mut dims = vec![1; xs.rank()];
                dims[..2].copy_from_slice(&[xs.dim(0)?, channels]);
                dims.into()
            }
        };
        let mask = self.times(&vec![1f64; shape.elem_count()], &shape);
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?.to_dtype(xs.dtype())?.to_device(xs.device())?;
        xs.broadcast_mul(&mask)
    }
}

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_float!(self.name, xs.dtype(), T => {
            Ok(output(self.times(&values::<T>(xs, layout)?, layout.shape()), layout.shape()))
        })
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !xs.track_op() {
            return Ok(None);
        }
        by_float!(self.name, grad.dtype(), T => {
            with_values::<T, _, 1>([grad], |[g]| tensor(self.times(g, grad.shape()), grad.shape()).map(Some))
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::testing::{assert_close, flat};
    use crate::testkit::{check_gradients, values};

    fn composed(xs: &Tensor, p: f64, seed: u64, channels: Option<usize>) -> Tensor {
        Mask { name: "test", draws: Dropout::new("test", p, seed).unwrap(), channels }.composed(xs).unwrap()
    }

    #[test]
    fn gradients() {
        check_gradients(&[values((5, 7), 1).unwrap()], |t| dropout(&t[0], 0.4, 3)).unwrap();
        check_gradients(&[values((3, 4, 5), 1).unwrap()], |t| channel_dropout(&t[0], 0.4, 3)).unwrap();
    }

    /// Sizes on both sides of a chunk; strided; the factor 1 / (1 − p) is rounded to f32 in the composed form.
    #[test]
    fn fused_equals_composed_whatever_the_strides() {
        for shape in [(3, 2, 5), (40, 30, 50), (2, 3, 40_000), (0, 3, 4), (3, 4, 0)] {
            let xs = values(shape, 1).unwrap();
            let strided = xs.transpose(0, 1).unwrap().contiguous().unwrap().transpose(0, 1).unwrap();
            for xs in [xs, strided] {
                assert_close(&flat(&dropout(&xs, 0.3, 9).unwrap()), &flat(&composed(&xs, 0.3, 9, None)), 1e-7);
                let planes = flat(&composed(&xs, 0.3, 9, Some(shape.1)));
                assert_close(&flat(&channel_dropout(&xs, 0.3, 9).unwrap()), &planes, 1e-7);
            }
        }
    }

    #[test]
    fn the_share_of_zeros_and_the_scale_are_right() {
        let count = 100_000;
        let ones = Tensor::ones(count, DType::F32, &Device::Cpu).unwrap();
        for p in [0.1, 0.5, 0.9] {
            let kept = flat(&dropout(&ones, p, 5).unwrap());
            let zeros = kept.iter().filter(|&&x| x == 0.0).count() as f64;
            let deviation = (count as f64 * p * (1.0 - p)).sqrt();
            assert!((zeros - count as f64 * p).abs() < 4.0 * deviation, "{zeros} zeros at {p}");
            assert!(kept.iter().all(|&x| x == 0.0 || x == f64::from((1.0 / (1.0 - p)) as f32)));
        }
    }

    /// Agreements of two independent fair decisions are binomial: four deviations are allowed.
    #[test]
    fn neighbours_chunks_and_seeds_are_independent() {
        let count = 3 * CHUNK;
        let ones = Tensor::ones(count + 1, DType::F32, &Device::Cpu).unwrap();
        let [first, second] = [1, 2].map(|seed| flat(&dropout(&ones, 0.5, seed).unwrap()));
        let agreements = |a: &[f64], b: &[f64]| a.iter().zip(b).filter(|(a, b)| a == b).count() as f64;
        for (a, b) in [(&first[1..], &first[..]), (&first[CHUNK..], &first[..]), (&first[..], &second[..])] {
            let tries = a.len().min(b.len()) as f64;
            assert!((agreements(a, b) - tries / 2.0).abs() < 4.0 * tries.sqrt() / 2.0);
        }
    }

    #[test]
    fn channels_are_kept_or_dropped_as_a_whole() {
        let ones = Tensor::ones((50, 20, 6), DType::F64, &Device::Cpu).unwrap();
        let ys = flat(&channel_dropout(&ones, 0.5, 1).unwrap());
        let dropped = ys.chunks(6).filter(|plane| **plane == [0.0; 6]).count();
        assert!(ys.chunks(6).all(|plane| *plane == [0.0; 6] || *plane == [2.0; 6]));
        // 1,000 fair decisions: the deviation is 16.
        assert!((440..560).contains(&dropped), "{dropped}");
    }

    #[test]
    fn errors_are_named_and_constants_get_no_gradient() {
        let xs = values(3, 1).unwrap();
        let message = |result: Result<Tensor>| result.unwrap_err().to_string();
        assert!(message(dropout(&xs, 1.5, 0)).contains("dropout: expected a dropout probability from 0 to 1, got 1.5"));
        assert!(message(channel_dropout(&xs, 0.5, 0)).contains("expected xs (batch, channels, …), got [3]"));
        let whole = xs.to_dtype(DType::U32).unwrap();
        assert!(message(dropout(&whole, 0.5, 0)).contains("dropout: expected a float type, got U32"));
        assert!(!dropout(&xs, 0.5, 0).unwrap().track_op());
    }
}
