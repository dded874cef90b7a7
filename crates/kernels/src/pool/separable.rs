//! Maps `ys = rows · xs · columnsᵀ` of each plane, where each output row and column depends on a few neighbours: average
//! pooling and resampling are such maps, and the backward of one is its transpose.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::cpu::{Element, apply1, by_float, is_fused, output, simd, values};

/// The inputs that one output of an axis is made of: neighbours from `start` on, and their weights.
#[derive(Clone, Debug)]
pub(crate) struct Taps {
    pub start: usize,
    pub weights: Vec<f64>,
}

impl Taps {
    /// The mean of `range`, where `count` elements count.
    pub fn mean(range: std::ops::Range<usize>, count: usize) -> Self {
        Self { start: range.start, weights: vec![1.0 / count as f64; range.len()] }
    }
}

/// One axis of a map: its input size, and the taps of each output. Every tap lies inside the input.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub input: usize,
    pub taps: Vec<Taps>,
}

impl Axis {
    /// (outputs, inputs).
    fn matrix(&self, like: &Tensor) -> Result<Tensor> {
        let mut matrix = vec![0f64; self.taps.len() * self.input];
        for (row, taps) in matrix.chunks_exact_mut(self.input).zip(&self.taps) {
            row[taps.start..][..taps.weights.len()].copy_from_slice(&taps.weights);
        }
        let matrix = Tensor::from_vec(matrix, (self.taps.len(), self.input), &Device::Cpu)?;
        matrix.to_dtype(like.dtype())?.to_device(like.device())
    }

    /// The taps with weights of the element type.
    fn typed<T: Element>(&self) -> Vec<(usize, Vec<T>)> {
        self.taps.iter().map(|t| (t.start, t.weights.iter().map(|&w| T::from_f64(w)).collect())).collect()
    }
}

/// Applies the map to the last two dimensions of `xs` (N, C, H, W).
pub(crate) fn separable(xs: &Tensor, rows: Axis, columns: Axis) -> Result<Tensor> {
    if is_fused(xs) {
        apply1(&xs.contiguous()?, Separable { rows, columns, transposed: false })
    } else {
        separable_composed(xs, &rows, &columns)
    }
}

/// The same from Candle's matrix products.
pub(super) fn separable_composed(xs: &Tensor, rows: &Axis, columns: &Axis) -> Result<Tensor> {
    let ys = xs.contiguous()?.broadcast_matmul(&columns.matrix(xs)?.t()?)?;
    rows.matrix(xs)?.broadcast_matmul(&ys)
}

#[derive(Clone)]
struct Separable {
    rows: Axis,
    columns: Axis,
    transposed: bool,
}

impl Separable {
    fn forward<T: Element>(&self, xs: &[T], planes: usize) -> Vec<T> {
        let small = self.rows.input * self.columns.input; // what the map goes from
        let large = self.rows.taps.len() * self.columns.taps.len(); // what it goes to
        let (from, to) = if self.transposed { (large, small) } else { (small, large) };
        let (rows, columns) = (self.rows.typed::<T>(), self.columns.typed::<T>());
        let mut ys = vec![T::zero(); planes * to];
        ys.par_chunks_mut(to).zip(xs.par_chunks(from)).for_each(|(ys, xs)| {
            T::with_scratch(self.columns.input, |line| {
                if self.transposed {
                    simd(|| plane_transposed(xs, ys, line, &rows, &columns));
                } else {
                    simd(|| plane(xs, ys, line, &rows, &columns));
                }
            });
        });
        ys
    }
}

/// Mixes input rows into `line`, then the elements of `line` into an output row.
#[inline(always)]
fn plane<T: Element>(xs: &[T], ys: &mut [T], line: &mut [T], rows: &[(usize, Vec<T>)], columns: &[(usize, Vec<T>)]) {
    let width = line.len();
    for ((start, weights), ys) in rows.iter().zip(ys.chunks_exact_mut(columns.len())) {
        line.fill(T::zero());
        for (&weight, xs) in weights.iter().zip(xs[start * width..].chunks_exact(width)) {
            for (line, &x) in line.iter_mut().zip(xs) {
                *line += weight * x;
            }
        }
        for (y, (start, weights)) in ys.iter_mut().zip(columns) {
            let mut sum = T::zero();
            for (&weight, &x) in weights.iter().zip(&line[*start..]) {
                sum += weight * x;
            }
            *y = sum;
        }
    }
}

/// The transpose of [`plane`]: from its outputs `ys` to its inputs `xs`, which are zero.
#[inline(always)]
fn plane_transposed<T: Element>(
    ys: &[T],
    xs: &mut [T],
    line: &mut [T],
    rows: &[(usize, Vec<T>)],
    columns: &[(usize, Vec<T>)],
) {
    let width = line.len();
    for ((start, weights), ys) in rows.iter().zip(ys.chunks_exact(columns.len())) {
        line.fill(T::zero());
        for (&y, (start, weights)) in ys.iter().zip(columns) {
            for (&weight, line) in weights.iter().zip(&mut line[*start..]) {
                *line += weight * y;
            }
        }
        for (&weight, xs) in weights.iter().zip(xs[start * width..].chunks_exact_mut(width)) {
            for (x, &line) in xs.iter_mut().zip(line.iter()) {
                *x += weight * line;
            }
        }
    }
}

impl CustomOp1 for Separable {
    fn name(&self) -> &'static str {
        "separable"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, _, _) = layout.shape().dims4()?;
        let (height, width) = if self.transposed {
            (self.rows.input, self.columns.input)
        } else {
            (self.rows.taps.len(), self.columns.taps.len())
        };
        by_float!("separable", storage.dtype(), T => {
            Ok(output(self.forward::<T>(&values(storage, layout)?, n * c), (n, c, height, width)))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let transpose = Self { transposed: !self.transposed, ..self.clone() };
        Ok(Some(grad.contiguous()?.apply_op1(transpose)?))
    }
}
