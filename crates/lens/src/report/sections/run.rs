//! Losses and scores over the steps.

use super::super::{Curve, Figure, LineChart, Section};
use crate::record::{Record, Validation};

pub(super) fn figures(record: &Record) -> Vec<Figure> {
    let mut figures: Vec<Figure> = losses(record).into_iter().collect();
    figures.extend(scores(record));
    figures.extend(values(record));
    figures.extend(norms(record));
    figures
}

fn losses(record: &Record) -> Option<Figure> {
    let metrics = &record.metrics;
    if metrics.losses.is_empty() {
        return None;
    }
    let points = metrics.losses.points();
    // A step's loss is noisy: beside it stands its mean over about a thirtieth of the run.
    let window = (points.len() / 30).max(1);
    let mean = |(i, point): (usize, &(f64, f64))| {
        let part = &points[i.saturating_sub(window)..=i];
        (point.0, part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64)
    };
    let smooth: Vec<(f64, f64)> = points.iter().enumerate().map(mean).collect();
    let validation: Vec<(f64, f64)> =
        metrics.validations.iter().filter_map(|v| Some((v.step as f64, v.loss()?))).collect();
    let mut curves = vec![Curve::new("training (mean)", smooth)];
    if !validation.is_empty() {
        curves.push(Curve::new("validation", validation));
    }
    curves.push(Curve::new("training (each step)", points.to_vec()));
    let positive = points.iter().all(|p| p.1 > 0.0);
    let (highest, lowest) = points.iter().fold((0f64, f64::INFINITY), |(h, l), p| (h.max(p.1), l.min(p.1)));
    let chart = LineChart {
        label: format!("Training and validation loss over {} steps", points.last().map_or(0.0, |p| p.0.round())),
        x: "step".into(),
        y: "loss".into(),
        curves,
        log: positive && highest > 30.0 * lowest,
        ..LineChart::default()
    };
    let figure = Figure::new(Section::Run, "Loss", chart.svg())
        .what("What training makes small, on the batches that it learns from and on data that it has not seen.")
        .healthy("Both fall, quickly at first, then slowly. Where validation rises while training falls, it learns by heart.")
        .source("Goodfellow, Bengio and Courville, Deep Learning (2016), 5.2");
    Some(figure)
}

fn scores(record: &Record) -> Vec<Figure> {
    let Some(last) = record.metrics.validations.last() else { return vec![] };
    let names = last.scores.iter().map(|(name, _)| name).filter(|name| *name != "validation_loss");
    let figure = |name: &String| {
        let value = |v: &Validation| Some((v.step as f64, v.score(name)?));
        let points: Vec<(f64, f64)> = record.metrics.validations.iter().filter_map(value).collect();
        let plain = name.replace('_', " ");
        let chart = LineChart {
            label: format!("{plain} of {} validations", points.len()),
            x: "step".into(),
            y: plain.clone(),
            curves: vec![Curve::new(plain.clone(), points)],
            ..LineChart::default()
        };
        Figure::new(Section::Run, format!("Validation: {plain}"), chart.svg())
            .what("This score of the validation data, after each validation.")
            .healthy("It gets better and then stays; swings are as large as the validation data are few.")
    };
    names.map(figure).collect()
}

/// Series that steps report, at most.
const SERIES: usize = 8;

fn values(record: &Record) -> Vec<Figure> {
    let figure = |(name, series): (&String, &crate::record::Series)| {
        let plain = name.replace('_', " ");
        let points = series.points().to_vec();
        let range = points.iter().fold((f64::INFINITY, 0f64), |(low, high), p| (low.min(p.1), high.max(p.1)));
        let chart = LineChart {
            label: format!("{plain} over the steps"),
            x: "step".into(),
            y: plain.clone(),
            curves: vec![Curve::new(plain.clone(), points)],
            log: range.0 > 0.0 && range.1 > 100.0 * range.0,
            ..LineChart::default()
        };
        let figure = Figure::new(Section::Run, capitalised(&plain), chart.svg());
        match name.as_str() {
            "learning_rate" => figure
                .what("How far a step goes along the gradient, as the schedule has it.")
                .healthy("High while much is to be learned, low at the end.")
                .source("Smith 2017, cyclical learning rates"),
            "gradient_norm" => figure
                .what("The length of the whole gradient before it is clipped.")
                .healthy("It settles after the first steps. Peaks that keep growing come before a loss that diverges.")
                .formula("‖g‖ = (Σ g²)^½")
                .source("Pascanu et al. 2013"),
            _ => figure.what("A number that the step reports."),
        }
    };
    record.metrics.values.iter().take(SERIES).map(figure).collect()
}

fn norms(record: &Record) -> Option<Figure> {
    let total = |of: fn(&crate::record::ParamVitals) -> f64| -> Vec<(f64, f64)> {
        let norm = |v: &crate::record::Vitals| v.params.iter().map(|p| of(p).powi(2)).sum::<f64>().sqrt();
        record.vitals.iter().map(|v| (v.step as f64, norm(v))).collect()
    };
    if record.vitals.len() < 2 {
        return None;
    }
    let chart = LineChart {
        label: "Norms of all weights and of the whole gradient over the recorded steps".into(),
        x: "step".into(),
        y: "norm".into(),
        curves: vec![
            Curve::new("gradient", total(|p| p.gradient_norm)),
            Curve::new("weights", total(|p| p.weight_norm)),
        ],
        log: true,
        ..LineChart::default()
    };
    let figure = Figure::new(Section::Run, "Weights and gradient", chart.svg())
        .what("The lengths of all weights together and of the whole gradient, at the recorded steps.")
        .healthy("Weights change slowly; the gradient becomes smaller as less is left to learn.")
        .formula("‖w‖ = (Σ w²)^½, ‖g‖ = (Σ g²)^½");
    Some(figure)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
