//! What is kept of a tensor: moments, range, shares, and how its values are distributed.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use glassbox_core::Result;
use serde::{Deserialize, Serialize};

use super::compact;

/// Moments and range of a tensor's values, in one reading. Values that are not finite are counted and left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Number of finite values.
    pub count: u64,
    /// Number of values that are NaN or infinite.
    pub non_finite: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    sum: f64,
    sum_of_squares: f64,
}

impl Default for Moments {
    fn default() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { count: 0, non_finite: 0, min, max, sum: 0.0, sum_of_squares: 0.0 }
    }
}

/// Sums kept beside each other, so that the loop need not wait for each addition.
const LANES: usize = 8;

impl Moments {
    /// The moments of `values`.
    pub fn of(values: &[f32]) -> Self {
        let (mut sum, mut squares) = ([0f64; LANES], [0f64; LANES]);
        let (mut min, mut max) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let chunks = values.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, &x) in chunk.iter().enumerate() {
                let wide = f64::from(x);
                sum[lane] += wide;
                squares[lane] += wide * wide;
                min[lane] = min[lane].min(x);
                max[lane] = max[lane].max(x);
            }
        }
        let mut all = Self {
            count: (values.len() - rest.len()) as u64,
            non_finite: 0,
            min: f64::from(min.into_iter().fold(f32::INFINITY, f32::min)),
            max: f64::from(max.into_iter().fold(f32::NEG_INFINITY, f32::max)),
            sum: sum.iter().sum(),
            sum_of_squares: squares.iter().sum(),
        };
        rest.iter().for_each(|&x| all.push(x.into()));
        if all.sum_of_squares.is_finite() { all } else { Self::of_finite(values) }
    }

    fn of_finite(values: &[f32]) -> Self {
        let mut all = Self::default();
        values.iter().for_each(|&x| all.push(x.into()));
        all
    }

    fn push(&mut self, x: f64) {
        if !x.is_finite() {
            self.non_finite += 1;
            return;
        }
        self.count += 1;
        self.sum += x;
        self.sum_of_squares += x * x;
        (self.min, self.max) = (self.min.min(x), self.max.max(x));
    }

    /// Those of both sets of values.
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            non_finite: self.non_finite + other.non_finite,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
            sum_of_squares: self.sum_of_squares + other.sum_of_squares,
        }
    }

    /// The mean; NaN of no values.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// The standard deviation of the values themselves, (Σ (x − mean)² / count)^½; NaN of no values.
    pub fn std(&self) -> f64 {
        (self.sum_of_squares / self.count as f64 - self.mean().powi(2)).max(0.0).sqrt()
    }

    /// The Euclidean norm, (Σ x²)^½.
    pub fn norm(&self) -> f64 {
        self.sum_of_squares.sqrt()
    }
}

/// How values are distributed: shares of equal intervals from `low` to `high`, in thousandths. What lies outside counts in
/// the first and the last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Where the first interval starts.
    #[serde(with = "compact")]
    pub low: f64,
    /// Where the last one ends.
    #[serde(with = "compact")]
    pub high: f64,
    /// Thousandths of the values in each interval.
    pub counts: Vec<u16>,
}

/// Intervals of a histogram.
const BINS: usize = 24;
/// Values that a histogram looks at, at most: evenly spread ones of a larger tensor.
const LOOKED_AT: usize = 1 << 15;
/// Deviations from the mean at which a histogram ends.
const REACH: f64 = 4.0;

impl Histogram {
    /// The histogram of `values`, whose moments are given: from 4 deviations below the mean to 4 above, and within the
    /// range.
    pub fn of(values: &[f32], moments: &Moments) -> Self {
        let (mean, reach) = (moments.mean(), REACH * moments.std());
        let (low, high) = ((mean - reach).max(moments.min), (mean + reach).min(moments.max));
        if moments.count == 0 || low > high {
            return Self::default();
        }
        // An odd stride does not always meet the same place of a row of even length.
        let stride = values.len().div_ceil(LOOKED_AT) | 1;
        let scale = if high > low { BINS as f64 / (high - low) } else { 0.0 };
        let mut counts = [0u32; BINS];
        for &x in values.iter().step_by(stride).filter(|x| x.is_finite()) {
            let bin = ((f64::from(x) - low) * scale).clamp(0.0, (BINS - 1) as f64);
            counts[bin as usize] += 1;
        }
        let total: u32 = counts.iter().sum();
        let share = |count: u32| (f64::from(count) / f64::from(total.max(1)) * 1000.0).round() as u16;
        Self { low, high, counts: counts.into_iter().map(share).collect() }
    }
}

/// Calls `read` with the values of `tensor` in row-major order, as f32; without a copy where they lie so.
pub(crate) fn with_values<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let slice = match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => values.get(start..end),
        _ => None,
    };
    Ok(read(slice.unwrap_or_default()))
}

/// The units of a layer's output: how many, and how many values each has beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Number of units.
    pub count: usize,
    /// Values of one unit beside each other in memory.
    pub run: usize,
}

impl Units {
    /// Channels (dimension 1) of images and volumes, features (the last dimension) of everything else.
    pub fn of(dims: &[usize], channels_first: bool) -> Self {
        match dims {
            [_, count, rest @ ..] if channels_first || dims.len() > 3 => {
                Self { count: *count, run: rest.iter().product() }
            }
            _ => Self { count: dims.last().copied().unwrap_or(1), run: 1 },
        }
    }

    /// The share of units none of whose `values` is `alive`.
    pub fn share_without(&self, values: &[f32], alive: impl Fn(f32) -> bool) -> f64 {
        if self.count == 0 || self.run == 0 {
            return 0.0;
        }
        let mut seen = vec![false; self.count];
        for row in values.chunks(self.count * self.run) {
            for (seen, values) in seen.iter_mut().zip(row.chunks(self.run)) {
                *seen = *seen || values.iter().any(|&x| alive(x));
            }
        }
        seen.iter().filter(|&&seen| !seen).count() as f64 / self.count as f64
    }
}

/// The share of `values` that are `wanted`.
pub(crate) fn share(values: &[f32], wanted: impl Fn(f32) -> bool) -> f64 {
    let count: usize = values.iter().map(|&x| usize::from(wanted(x))).sum();
    count as f64 / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;

    #[test]
    fn moments_are_those_of_two_passes_in_f64() {
        let values: Vec<f32> = (0..1003).map(|i| ((i * 37) % 101) as f32 / 7.0 - 3.0).collect();
        let wide = || values.iter().map(|&x| f64::from(x));
        let mean = wide().sum::<f64>() / 1003.0;
        let variance = wide().map(|x| (x - mean).powi(2)).sum::<f64>() / 1003.0;
        let (a, b) = values.split_at(400);
        for moments in [Moments::of(&values), Moments::of(a).and(Moments::of(b))] {
            // Rounding of f64, grown by the sums.
            assert!((moments.mean() - mean).abs() < 1e-12);
            assert!((moments.std() - variance.sqrt()).abs() < 1e-12);
            assert!((moments.norm() - wide().map(|x| x * x).sum::<f64>().sqrt()).abs() < 1e-10);
            assert_eq!((moments.count, moments.non_finite), (1003, 0));
            assert_eq!(moments.min, wide().fold(f64::INFINITY, f64::min));
            assert_eq!(moments.max, wide().fold(f64::NEG_INFINITY, f64::max));
        }
    }

    #[test]
    fn what_is_not_finite_is_counted_and_left_out() {
        let values = [1.0, f32::NAN, 3.0, f32::INFINITY, f32::NEG_INFINITY, 5.0, 7.0, 9.0, 11.0, f32::NAN];
        let moments = Moments::of(&values);
        assert_eq!((moments.count, moments.non_finite), (6, 4));
        assert_eq!((moments.mean(), moments.min, moments.max), (6.0, 1.0, 11.0));
        assert!(Moments::of(&[]).mean().is_nan());
        assert_eq!(Histogram::of(&[], &Moments::of(&[])), Histogram::default());
    }

    #[test]
    fn histograms_hold_a_thousand_thousandths() {
        let values: Vec<f32> = (0..100_000).map(|i| (i % 1000) as f32).collect();
        let histogram = Histogram::of(&values, &Moments::of(&values));
        assert_eq!((histogram.low, histogram.high), (0.0, 999.0));
        // Uniform: 1000 / 24 each, to the rounding of a thousandth and of the evenly spread sample.
        assert!(histogram.counts.iter().all(|&c| (40..=45).contains(&c)), "{histogram:?}");
        let same = [2.5f32; 10];
        let histogram = Histogram::of(&same, &Moments::of(&same));
        assert_eq!((histogram.low, histogram.high, histogram.counts[0]), (2.5, 2.5, 1000));
    }

    #[test]
    fn units_are_channels_of_images_and_features_of_the_rest() {
        assert_eq!(Units::of(&[4, 8, 5, 5], false), Units { count: 8, run: 25 });
        assert_eq!(Units::of(&[4, 7, 16], false), Units { count: 16, run: 1 });
        assert_eq!(Units::of(&[4, 8, 100], true), Units { count: 8, run: 100 });
        let values = Tensor::new(&[[0f32, 1.0, 0.0, -1.0], [0.0, 0.0, 2.0, 0.0]], &candle_core::Device::Cpu).unwrap();
        let dead = with_values(&values, |v| Units::of(&[2, 4], false).share_without(v, |x| x > 0.0)).unwrap();
        assert_eq!(dead, 0.5);
        let turned = values.t().unwrap();
        assert_eq!(with_values(&turned, <[f32]>::to_vec).unwrap(), [0.0, 0.0, 1.0, 0.0, 0.0, 2.0, -1.0, 0.0]);
    }
}
