//! A curve of bounded length.

/// A number over the steps of a run. Where there are too many points, each becomes the mean of two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Step and value, the steps in order.
    points: Vec<(f64, f64)>,
    /// Values that a point is the mean of.
    width: u32,
    /// Values in the last point so far.
    in_last: u32,
}

/// Points of a series at most; even.
const POINTS: usize = 2048;

impl Series {
    /// Adds a value. One that is not finite is left out.
    pub fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.width = self.width.max(1);
        match self.points.last_mut().filter(|_| self.in_last < self.width) {
            Some((at, mean)) => {
                let share = 1.0 / f64::from(self.in_last + 1);
                *at += (step as f64 - *at) * share;
                *mean += (value - *mean) * share;
            }
            None => {
                self.points.push((step as f64, value));
                self.in_last = 0;
            }
        }
        self.in_last += 1;
        if self.points.len() == POINTS && self.in_last == self.width {
            let mean = |pair: &[(f64, f64)]| {
                let count = pair.len() as f64;
                (pair.iter().map(|p| p.0).sum::<f64>() / count, pair.iter().map(|p| p.1).sum::<f64>() / count)
            };
            self.points = self.points.chunks(2).map(mean).collect();
            self.width *= 2;
            self.in_last = self.width;
        }
    }

    /// Steps and values.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Values that one point is the mean of.
    pub fn width(&self) -> u32 {
        self.width.max(1)
    }

    /// The last value.
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|p| p.1)
    }

    /// The first value.
    pub fn first(&self) -> Option<f64> {
        self.points.first().map(|p| p.1)
    }

    /// Whether it has no points.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_series_keeps_its_mean_and_its_length() {
        let mut series = Series::default();
        for step in 1..=(1u64 << 15) {
            series.push(step, step as f64);
        }
        series.push(40_000, f64::NAN);
        assert!(series.points().len() <= POINTS && series.points().len() >= POINTS / 2, "{}", series.points().len());
        let mean = series.points().iter().map(|p| p.1).sum::<f64>() / series.points().len() as f64;
        assert!((mean - (32_769.0 / 2.0)).abs() < 1e-6, "{mean}");
        assert!(series.points().iter().all(|&(step, value)| step == value));
    }
}
