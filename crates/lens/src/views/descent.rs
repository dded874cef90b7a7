//! How training moves: the length and angle of its steps, how noisy the gradient is, and what the loss looks like around the
//! end point.

use candle_core::{Device, Tensor};
use glassbox_core::{Error, ParamStore, Result, Rng, Seed, TensorExt};

use crate::preflight::Saved;
use crate::report::{Curve, Figure, HeatMap, LineChart, Palette, Section};
use crate::rules::number;

/// Follows the parameters from step to step.
#[derive(Clone, Debug, Default)]
pub struct Path {
    last: Option<Vec<f64>>,
    direction: Option<Vec<f64>>,
    /// Length of each step.
    pub lengths: Vec<f64>,
    /// Cosine of the angle between each step and the one before: 1 straight on, −1 back.
    pub cosines: Vec<f64>,
}

impl Path {
    /// Takes in where the parameters are now. It keeps a copy of all of them.
    ///
    /// # Errors
    /// Parameters that came or went since the last call.
    pub fn push(&mut self, params: &ParamStore) -> Result<()> {
        let now = flat(params)?;
        if let Some(last) = &self.last {
            if last.len() != now.len() {
                return Err(Error::invalid("path", format!("{} parameters, as before", last.len()), now.len()));
            }
            let step: Vec<f64> = now.iter().zip(last).map(|(a, b)| a - b).collect();
            self.lengths.push(dot(&step, &step).sqrt());
            if let Some(before) = &self.direction {
                self.cosines.push(dot(&step, before) / (dot(&step, &step) * dot(before, before)).sqrt());
            }
            self.direction = Some(step);
        }
        self.last = Some(now);
        Ok(())
    }

    /// A figure of both.
    pub fn figure(&self) -> Figure {
        let points = |values: &[f64]| values.iter().enumerate().map(|(i, value)| ((i + 1) as f64, *value)).collect();
        let chart = LineChart {
            label: "Cosine of the angle between steps that follow each other".into(),
            x: "step".into(),
            y: "cosine".into(),
            curves: vec![Curve::new("cosine", points(&self.cosines))],
            marks: vec![(0.0, "right angle".into())],
            ..LineChart::default()
        };
        let mean = self.lengths.iter().sum::<f64>() / self.lengths.len().max(1) as f64;
        Figure::new(Section::Run, "Angles of the steps", chart.svg())
            .what(format!(
                "How each step's direction lies to that of the one before. A step's mean length is {}.",
                number(mean)
            ))
            .healthy("Above 0 while it descends, around 0 later. Near −1 it jumps to and fro across a valley.")
            .formula("cos = Δw_t · Δw_{t−1} / (‖Δw_t‖ ‖Δw_{t−1}‖)")
            .source("Goodfellow et al. 2015, qualitatively characterizing neural network optimization problems")
    }
}

fn flat(params: &ParamStore) -> Result<Vec<f64>> {
    let mut all = vec![];
    for param in params.trainable() {
        all.extend(param.value().to_f64_vec()?);
    }
    Ok(all)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The simple noise scale tr Σ / ‖G‖² (McCandlish et al. 2018, arXiv 1812.06162, appendix A): about the batch size beyond which
/// larger batches no longer pay. From squared gradient norms at two batch sizes, each the mean over several batches:
/// ‖G‖² = (B ‖G_B‖² − b ‖G_b‖²) / (B − b), tr Σ = (‖G_b‖² − ‖G_B‖²) / (1/b − 1/B).
///
/// # Errors
/// The large batch is not larger than the small one.
pub fn noise_scale(small: (usize, f64), large: (usize, f64)) -> Result<f64> {
    let ((b, small_square), (l, large_square)) = (small, large);
    if b == 0 || l <= b {
        return Err(Error::invalid("noise scale", format!("a batch larger than {b}"), l));
    }
    let (b, l) = (b as f64, l as f64);
    let signal = (l * large_square - b * small_square) / (l - b);
    let noise = (small_square - large_square) / (1.0 / b - 1.0 / l);
    Ok(noise / signal)
}

/// The loss at w + α d for `points` values of α from `low` to `high`; d is `direction`, by parameter. The parameters are
/// given back as they were.
///
/// # Errors
/// Those of `loss`; a direction that does not fit.
pub fn along(
    params: &ParamStore,
    direction: &[(String, Tensor)],
    (low, high): (f64, f64),
    points: usize,
    loss: impl Fn() -> Result<f64>,
) -> Result<Vec<(f64, f64)>> {
    let saved = Saved::new(params)?;
    let start = copies(params, direction)?;
    let mut line = vec![];
    let mut walk = || -> Result<()> {
        for i in 0..points {
            let alpha = low + (high - low) * i as f64 / points.saturating_sub(1).max(1) as f64;
            go(params, &start, &[(alpha, direction)])?;
            line.push((alpha, loss()?));
        }
        Ok(())
    };
    let walked = walk();
    saved.restore(params)?;
    walked.map(|()| line)
}

/// Copies of the parameters that a direction moves.
fn copies(params: &ParamStore, direction: &[(String, Tensor)]) -> Result<Vec<Tensor>> {
    let copy = |(name, _): &(String, Tensor)| {
        let unknown = || Error::invalid("direction", "parameters of the model", name);
        Ok(params.get(name).ok_or_else(unknown)?.value().copy()?)
    };
    direction.iter().map(copy).collect()
}

fn go(params: &ParamStore, start: &[Tensor], moves: &[(f64, &[(String, Tensor)])]) -> Result<()> {
    let Some((_, first)) = moves.first() else { return Ok(()) };
    for (i, (name, _)) in first.iter().enumerate() {
        let mut value = start[i].clone();
        for (alpha, direction) in moves {
            value = (value + (&direction[i].1 * *alpha)?)?;
        }
        params.get(name).map_or(Ok(()), |param| param.set(&value))?;
    }
    Ok(())
}

/// A random direction in which each filter (row of a weight) is as long as the weight's own (Li et al. 2018, arXiv
/// 1712.09913): slices of different networks are then comparable. Biases and norms stay where they are.
///
/// # Errors
/// A device that fails.
pub fn filter_normalised(params: &ParamStore, seed: Seed) -> Result<Vec<(String, Tensor)>> {
    let mut directions = vec![];
    for param in params.trainable() {
        let dims = param.shape().dims().to_vec();
        let own = param.value().to_f64_vec()?;
        let mut rng: Rng = seed.child(param.name()).rng();
        let row = own.len() / dims.first().copied().unwrap_or(1).max(1);
        let mut values = vec![0.0; own.len()];
        if dims.len() >= 2 {
            for (values, own) in values.chunks_mut(row.max(1)).zip(own.chunks(row.max(1))) {
                values.iter_mut().for_each(|value| *value = rng.normal());
                let scale = (dot(own, own) / dot(values, values).max(1e-300)).sqrt();
                values.iter_mut().for_each(|value| *value *= scale);
            }
        }
        let value =
            Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(param.dtype())?.to_device(params.device())?;
        directions.push((param.name().to_string(), value));
    }
    Ok(directions)
}

/// A slice of the loss around where the parameters are: (β, α, loss) on a square of `side` points from −1 to 1 in each of
/// two filter-normalised directions. The parameters are given back as they were.
///
/// # Errors
/// Those of `loss`.
pub fn slice(params: &ParamStore, seed: Seed, side: usize, loss: impl Fn() -> Result<f64>) -> Result<Vec<Vec<f64>>> {
    let (a, b) = (filter_normalised(params, seed.child("a"))?, filter_normalised(params, seed.child("b"))?);
    let saved = Saved::new(params)?;
    let start = copies(params, &a)?;
    let place = |i: usize| -1.0 + 2.0 * i as f64 / side.saturating_sub(1).max(1) as f64;
    let mut rows = vec![];
    let mut walk = || -> Result<()> {
        for y in 0..side {
            let mut row = vec![];
            for x in 0..side {
                go(params, &start, &[(place(x), a.as_slice()), (place(y), b.as_slice())])?;
                row.push(loss()?);
            }
            rows.push(row);
        }
        Ok(())
    };
    let walked = walk();
    saved.restore(params)?;
    walked.map(|()| rows)
}

/// A figure of a [`slice`](fn@slice).
pub fn slice_figure(rows: &[Vec<f64>]) -> Figure {
    let values = rows.iter().flatten().map(|loss| loss.max(1e-12).log10() as f32).collect();
    let side = rows.len();
    let name = |i: usize| {
        let place = -1.0 + 2.0 * i as f64 / side.saturating_sub(1).max(1) as f64;
        if i.is_multiple_of(4) { number((place * 100.0).round() / 100.0) } else { String::new() }
    };
    let map = HeatMap {
        label: "The loss around the end point, in two random directions".into(),
        rows: (0..side).map(name).collect(),
        values,
        x: (-1.0, 1.0, "first direction".into()),
        unit: "loss".into(),
        range: None,
        palette: Palette::Viridis,
        log: true,
    };
    Figure::new(Section::Run, "The loss around the end point", map.svg())
        .what("The loss where training ended (the middle) and around it, in two random directions as long as the weights.")
        .healthy("A bowl, darkest in the middle. A steep and ragged one is harder to train, and often generalises worse.")
        .formula("L(w + α a + β b), each row of a and b as long as that of w")
        .source("Li et al. 2018, Visualizing the loss landscape of neural nets")
}
