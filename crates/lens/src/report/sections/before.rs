//! Before the first step.

use super::super::{BarChart, Figure, Section, grouped, table};
use crate::record::Record;
use crate::rules::number;

pub(super) fn figures(record: &Record) -> Vec<Figure> {
    network(record).into_iter().chain(first_loss(record)).chain(initial_values(record)).collect()
}

fn network(record: &Record) -> Option<Figure> {
    let network = &record.network;
    if network.layers.is_empty() {
        return None;
    }
    let params_of = |path: &str| -> usize {
        let own = |name: &str| name.rsplit_once('.').map_or("", |(owner, _)| owner) == path;
        network.params.iter().filter(|p| own(&p.name)).map(|p| p.shape.iter().product::<usize>()).sum()
    };
    let row = |layer: &crate::record::LayerInfo| {
        let shape: Vec<String> = layer.shape.iter().map(usize::to_string).collect();
        vec![layer.path.clone(), layer.kind.clone(), shape.join(" × "), grouped(params_of(&layer.path))]
    };
    let rows: Vec<Vec<String>> = network.layers.iter().map(row).collect();
    let body = table("Layers of the network", &["Layer", "Type", "Output", "Parameters"], &rows);
    let figure = Figure::new(Section::BeforeTraining, "The network", body).what(
        "Every layer in the order of the forward, with the shape of its output (batch first) and its own parameters.",
    );
    Some(figure)
}

fn first_loss(record: &Record) -> Option<Figure> {
    let (classes, loss) = (record.network.num_classes?, record.network.initial_cross_entropy?);
    let expected = (classes as f64).ln();
    let chart = BarChart {
        label: format!("Cross-entropy of the first batch {}, of guessing {}", number(loss), number(expected)),
        bars: vec![("first batch".into(), loss), ("guessing".into(), expected)],
        mark: None,
        unit: "nats".into(),
    };
    let figure = Figure::new(Section::BeforeTraining, "The loss before any learning", chart.svg())
        .what("The cross-entropy of the first batch, beside that of a network that gives every class the same probability.")
        .healthy("The two are about the same: much more means that the network starts sure of wrong answers.")
        .formula(format!("ln(classes) = ln {classes} = {}", number(expected)))
        .source("Karpathy, A Recipe for Training Neural Networks (2019)");
    Some(figure)
}

fn initial_values(record: &Record) -> Option<Figure> {
    let first = record.vitals.first().filter(|first| first.step == 1)?;
    let scale = |p: &crate::record::ParamVitals| {
        let info = record.network.params.iter().find(|info| info.name == p.name && info.shape.len() >= 2)?;
        let fan_in: usize = info.shape.iter().skip(1).product();
        Some((p.name.clone(), p.weight_std.powi(2) * fan_in as f64))
    };
    let bars: Vec<(String, f64)> = first.params.iter().filter_map(scale).take(40).collect();
    if bars.is_empty() {
        return None;
    }
    let chart = BarChart {
        label: format!("Variance times fan-in of {} weights before training", bars.len()),
        bars,
        mark: Some((2.0, "He: 2".into())),
        unit: String::new(),
    };
    let figure = Figure::new(Section::BeforeTraining, "Initial values", chart.svg())
        .what(
            "The variance of each weight's initial values times the number of its inputs: how much it grows a signal.",
        )
        .healthy(
            "1 (Xavier) to 2 (He, for ReLU) keeps the signal; PyTorch's default is 1/3. All of about the same size.",
        )
        .formula("Var(w) · fan-in")
        .source("Glorot and Bengio 2010; He et al. 2015");
    Some(figure)
}
