//! What it learns from.

use super::super::{BarChart, Figure, LineChart, Section, chart::Curve};
use crate::record::Record;
use crate::rules::number;

pub(super) fn figures(record: &Record) -> Vec<Figure> {
    input(record).into_iter().chain(classes(record)).collect()
}

fn input(record: &Record) -> Option<Figure> {
    let inputs: Vec<_> = record.vitals.iter().filter_map(|v| Some((v.step as f64, v.input.as_ref()?))).collect();
    let (_, first) = inputs.first()?;
    let curve = |name: &str, of: fn(&crate::record::LayerVitals) -> f64| {
        Curve::new(name, inputs.iter().map(|(step, input)| (*step, of(input))).collect())
    };
    let chart = LineChart {
        label: format!(
            "Mean, deviation and range of the inputs over the steps; at first mean {} and deviation {}",
            number(first.mean),
            number(first.std)
        ),
        x: "step".into(),
        y: "value".into(),
        curves: vec![
            curve("mean", |v| v.mean),
            curve("deviation", |v| v.std),
            curve("smallest", |v| v.min),
            curve("largest", |v| v.max),
        ],
        ..LineChart::default()
    };
    let figure = Figure::new(Section::Data, "What the network is fed", chart.svg())
        .what("Mean, standard deviation and range of what arrives at the first layer, after all preparation, by batch.")
        .healthy("A mean near 0 and a deviation near 1, the same in every batch.")
        .formula("mean = Σ x / n, deviation = (Σ (x − mean)² / n)^½")
        .source("LeCun et al. 1998, Efficient BackProp");
    Some(figure)
}

fn classes(record: &Record) -> Option<Figure> {
    let answers = record.answers.last()?;
    if answers.counts.is_empty() || answers.counts.len() > 40 {
        return None;
    }
    let total: u64 = answers.counts.iter().sum();
    let bars = answers.counts.iter().enumerate().map(|(class, &n)| (class.to_string(), n as f64)).collect();
    let even = total as f64 / answers.counts.len() as f64;
    let chart = BarChart {
        label: format!("Validation samples of each of {} classes", answers.counts.len()),
        bars,
        mark: Some((even, format!("even: {}", number(even)))),
        unit: "samples".into(),
    };
    let figure = Figure::new(Section::Data, "Samples of each class", chart.svg())
        .what("How many samples of each class the validation has.")
        .healthy("The largest class has less than ten times the samples of the smallest; else accuracy says little.")
        .source("SageMaker Debugger, class imbalance");
    Some(figure)
}
