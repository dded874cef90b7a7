//! Values that a series lacks.

/// What a missing value of a series is replaced with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FillMissing {
    /// The channel's last value before it: what would have been known at the time.
    Previous,
    /// On a straight line between the channel's values before and after it. Near the end of a training part it looks ahead.
    Linear,
    /// This value.
    Constant(f64),
}

impl FillMissing {
    /// Replaces NaN in rows of `width` channels. The error is the step and the channel of a value that cannot be filled.
    pub(super) fn apply(self, values: &mut [f64], width: usize) -> Result<(), (usize, usize)> {
        let steps = values.len() / width.max(1);
        for channel in 0..width {
            let at = |step: usize| step * width + channel;
            let mut known = None;
            let mut step = 0;
            while step < steps {
                if !values[at(step)].is_nan() {
                    known = Some(step);
                    step += 1;
                    continue;
                }
                let end = (step..steps).find(|&later| !values[at(later)].is_nan()).unwrap_or(steps);
                let before = known.map(|k| values[at(k)]);
                let after = (end < steps).then(|| values[at(end)]);
                for place in step..end {
                    let part = (place - step + 1) as f64 / (end - step + 1) as f64;
                    let value = match (self, before, after) {
                        (Self::Constant(value), ..) => Some(value),
                        (Self::Previous, before, _) => before,
                        (Self::Linear, Some(before), Some(after)) => Some(before * (1.0 - part) + after * part),
                        (Self::Linear, ..) => None,
                    };
                    values[at(place)] = value.ok_or((place, channel))?;
                }
                step = end;
            }
        }
        Ok(())
    }
}
