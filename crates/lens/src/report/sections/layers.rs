//! Inside each layer, over the steps.

use super::super::{Figure, HeatMap, Palette, Section};
use crate::record::stats::Histogram;
use crate::record::{LayerVitals, ParamVitals, Record, Vitals};

pub(super) fn figures(record: &Record) -> Vec<Figure> {
    if record.vitals.len() < 2 {
        return vec![];
    }
    let mut figures = vec![gradients(record), updates(record), activations(record)];
    figures.extend(dead(record));
    figures.extend(saturated(record));
    figures.extend(histograms(record));
    figures
}

/// Rows and columns of a map at most.
const ROWS: usize = 120;
const COLUMNS: usize = 200;
/// Layers whose histograms are shown at most.
const HISTOGRAMS: usize = 18;

/// Recorded steps that become columns: all, or evenly spread ones.
fn columns(record: &Record) -> Vec<&Vitals> {
    let every = record.vitals.len().div_ceil(COLUMNS).max(1);
    record.vitals.iter().step_by(every).collect()
}

/// Names of weights: of two dimensions or more, where there are some.
fn weights(record: &Record) -> Vec<String> {
    let network = &record.network;
    let names = |least: usize| -> Vec<String> {
        network.params.iter().filter(|p| p.shape.len() >= least).map(|p| p.name.clone()).take(ROWS).collect()
    };
    let large = names(2);
    if large.is_empty() { names(1) } else { large }
}

fn map(record: &Record, label: &str, rows: Vec<String>, unit: &str, of: impl Fn(&Vitals, &str) -> f64) -> HeatMap {
    let columns = columns(record);
    let values = rows.iter().flat_map(|row| columns.iter().map(|v| of(v, row) as f32).collect::<Vec<_>>()).collect();
    let ends = (columns.first().map_or(0, |v| v.step) as f64, columns.last().map_or(1, |v| v.step) as f64);
    HeatMap {
        label: label.into(),
        rows,
        values,
        x: (ends.0, ends.1, "step".into()),
        unit: unit.into(),
        range: None,
        palette: Palette::Viridis,
        log: true,
    }
}

fn param<'a>(vitals: &'a Vitals, name: &str) -> Option<&'a ParamVitals> {
    vitals.params.iter().find(|p| p.name == name)
}

fn layer<'a>(vitals: &'a Vitals, path: &str) -> Option<&'a LayerVitals> {
    vitals.layers.iter().find(|l| l.path == path)
}

/// The decimal logarithm; NaN of what has none.
fn log(value: Option<f64>) -> f64 {
    value.filter(|&value| value > 0.0).map_or(f64::NAN, f64::log10)
}

fn gradients(record: &Record) -> Figure {
    let label = "Norm of the gradient of each weight over the recorded steps";
    let of = |v: &Vitals, name: &str| log(param(v, name).map(|p| p.gradient_norm));
    Figure::new(Section::Layers, "Gradient norms", map(record, label, weights(record), "‖g‖", of).svg())
        .what("How long the gradient of each weight is, from the first layer (top) to the last. Grey: 0 or not finite.")
        .healthy(
            "Rows of similar colour. Where the top is a thousandth of the bottom, the gradient vanishes on its way.",
        )
        .formula("‖g‖ = (Σ g²)^½")
        .source("AutoTrainer (Zhang et al., ICSE 2021)")
}

fn updates(record: &Record) -> Figure {
    let label = "Size of the update of each weight, relative to the weight, over the recorded steps";
    let of = |v: &Vitals, name: &str| log(param(v, name).and_then(|p| p.update_ratio));
    let mut map = map(record, label, weights(record), "usual: 0.001", of);
    map.range = Some((-6.0, 0.0));
    Figure::new(Section::Layers, "Update ratios", map.svg())
        .what("How much one step changes each weight, relative to its length.")
        .healthy("About 1e-3. Far above, training jumps; far below, it stands still. Grey: no update.")
        .formula("‖Δw‖ / ‖w‖")
        .source("CS231n")
}

fn activations(record: &Record) -> Figure {
    let rows: Vec<String> = record.network.layers.iter().map(|l| l.path.clone()).take(ROWS).collect();
    let label = "Standard deviation of each layer's outputs over the recorded steps";
    let of = |v: &Vitals, path: &str| log(layer(v, path).map(|l| l.std));
    Figure::new(Section::Layers, "Activations", map(record, label, rows, "deviation", of).svg())
        .what("How far each layer's outputs spread, in the order of the forward.")
        .healthy("Between 0.1 and 10 in every layer, changing slowly. A row that turns dark no longer says anything.")
        .formula("(Σ (y − mean)² / n)^½")
        .source("Glorot and Bengio 2010")
}

fn shares(record: &Record, title: &str, label: &str, share: fn(&LayerVitals) -> Option<f64>) -> Option<Figure> {
    let first = record.vitals.first()?;
    let has = |path: &String| layer(first, path).is_some_and(|l| share(l).is_some());
    let rows: Vec<String> = record.network.layers.iter().map(|l| l.path.clone()).filter(has).take(ROWS).collect();
    if rows.is_empty() {
        return None;
    }
    let of = |v: &Vitals, path: &str| layer(v, path).and_then(share).unwrap_or(f64::NAN);
    let mut map = map(record, label, rows, "share", of);
    (map.range, map.log) = (Some((0.0, 1.0)), false);
    Some(Figure::new(Section::Layers, title, map.svg()))
}

fn dead(record: &Record) -> Option<Figure> {
    let label = "Share of units of each ReLU layer that no sample of the batch makes fire";
    let figure = shares(record, "Dead units", label, |l| l.dead)?
        .what(
            "The share of each ReLU layer's units that fire for no sample of the batch: their weights get no gradient.",
        )
        .healthy("Dark: below a tenth. Above a half, the layer is dying.")
        .formula("units with max over batch and places of y ≤ 0, over all units")
        .source("CS231n; AutoTrainer (Zhang et al., ICSE 2021)");
    Some(figure)
}

fn saturated(record: &Record) -> Option<Figure> {
    let label = "Share of outputs at their bounds of each saturating layer";
    let figure = shares(record, "Saturated outputs", label, |l| l.saturated)?
        .what("The share of outputs close to the bounds of tanh, sigmoid or a recurrence, where hardly any gradient passes.")
        .healthy("Dark: below a tenth; a last sigmoid may be sure of itself.")
        .formula("tanh: |y| > 0.97; sigmoid: y < 0.03 or y > 0.97")
        .source("Glorot and Bengio 2010; the bound is lecture convention");
    Some(figure)
}

fn histograms(record: &Record) -> Vec<Figure> {
    let layers = &record.network.layers;
    let every = layers.len().div_ceil(HISTOGRAMS).max(1);
    layers.iter().step_by(every).filter_map(|info| histogram(record, &info.path, &info.kind)).collect()
}

/// Intervals on the common axis.
const BINS: usize = 32;

fn histogram(record: &Record, path: &str, kind: &str) -> Option<Figure> {
    let columns = columns(record);
    let own: Vec<Option<&Histogram>> =
        columns.iter().map(|v| layer(v, path).map(|l| &l.histogram).filter(|h| !h.counts.is_empty())).collect();
    let bounds = || own.iter().flatten().map(|h| (h.low, h.high)).filter(|(l, h)| l.is_finite() && h.is_finite());
    let (low, high) = bounds().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), (a, b)| (l.min(a), h.max(b)));
    if low >= high {
        return None;
    }
    let spread: Vec<Vec<f64>> =
        own.iter().map(|h| h.map_or(vec![f64::NAN; BINS], |h| respread(h, low, high))).collect();
    // The highest interval stands at the top. The colour is the square root of the share, so that tails are seen.
    let values = (0..BINS).rev().flat_map(|bin| spread.iter().map(move |s| s[bin].sqrt() as f32)).collect();
    let name = |bin: usize| {
        let value = low + (high - low) * (bin as f64 + 0.5) / BINS as f64;
        if bin % 4 == 2 { crate::rules::number(value) } else { String::new() }
    };
    let mut map = HeatMap {
        label: format!(
            "Distribution of the outputs of {path} over the recorded steps, from {} to {}",
            crate::rules::number(low),
            crate::rules::number(high)
        ),
        rows: (0..BINS).rev().map(name).collect(),
        values,
        x: (columns.first()?.step as f64, columns.last()?.step as f64, "step".into()),
        unit: "√share".into(),
        range: None,
        palette: Palette::Viridis,
        log: false,
    };
    map.range = Some((0.0, highest(&map.values)));
    let figure = Figure::new(Section::Layers, format!("{path} ({kind})"), map.svg())
        .what("How this layer's outputs are distributed, step by step: each column is a histogram.")
        .healthy("A band that stays or widens slowly. One that narrows to a line carries nothing; one that runs away explodes.")
        .formula("24 intervals from mean − 4 to mean + 4 deviations; what lies outside is in the outermost");
    Some(figure)
}

fn highest(values: &[f32]) -> f64 {
    values.iter().filter(|v| v.is_finite()).fold(1e-3, |high, &v| high.max(v.into()))
}

/// Shares of `histogram` on `BINS` intervals from `low` to `high`.
fn respread(histogram: &Histogram, low: f64, high: f64) -> Vec<f64> {
    let mut bins = vec![0.0; BINS];
    let (width, step) = ((histogram.high - histogram.low) / histogram.counts.len() as f64, (high - low) / BINS as f64);
    for (i, &count) in histogram.counts.iter().enumerate() {
        // In small parts, so that a wide interval is spread over the narrow ones.
        let parts = ((width / step).ceil() as usize).clamp(1, BINS) * 2;
        for part in 0..parts {
            let value = histogram.low + width * (i as f64 + (part as f64 + 0.5) / parts as f64);
            let bin = ((value - low) / step).clamp(0.0, (BINS - 1) as f64) as usize;
            bins[bin] += f64::from(count) / 1000.0 / parts as f64;
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_a_histogram_keeps_its_sum() {
        let histogram = Histogram { low: -1.0, high: 1.0, counts: vec![100, 400, 400, 100] };
        for (low, high) in [(-1.0, 1.0), (-5.0, 3.0), (-1.0, 100.0)] {
            let bins = respread(&histogram, low, high);
            assert!((bins.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        let bins = respread(&histogram, -1.0, 1.0);
        assert!((bins[..8].iter().sum::<f64>() - 0.1).abs() < 1e-9, "{bins:?}");
    }
}
