//! What preflight found, as figures.

use super::Preflight;
use crate::report::{BarChart, Curve, Figure, LineChart, Section, table};
use crate::rules::number;
use crate::views::figures::inputs;

pub(super) fn all(found: &Preflight) -> Vec<Figure> {
    let mut figures = vec![losses(found)];
    figures.extend(range(found));
    figures.extend(inputs(&found.shown).map(|figure| figure.in_section(Section::BeforeTraining)));
    if !found.findings.is_empty() {
        figures.push(findings(found));
    }
    figures
}

fn losses(found: &Preflight) -> Figure {
    let mut bars = vec![("before training".to_string(), found.initial_loss)];
    bars.extend(found.expected_loss.map(|expected| ("guessing".to_string(), expected)));
    bars.push(("without inputs".into(), found.baseline_loss));
    bars.push(("overfitted".into(), found.overfitted_loss));
    let chart = BarChart { label: "Losses of one batch before training".into(), bars, mark: None, unit: String::new() };
    Figure::new(Section::BeforeTraining, "Can it learn at all?", chart.svg())
        .what("The loss of one batch: before training, of guessing, after learning it with zeros for inputs, and after learning it.")
        .healthy("The first two are alike; overfitted is close to 0; without inputs it stays clearly higher.")
        .source("Karpathy, A Recipe for Training Neural Networks (2019)")
}

fn range(found: &Preflight) -> Option<Figure> {
    let range = found.range.as_ref()?;
    let points = range.rates.iter().zip(&range.losses).map(|(rate, loss)| (rate.log10(), *loss)).collect();
    let suggestion = range.suggestion.map_or_else(|| "none".to_string(), number);
    let chart = LineChart {
        label: format!("Loss against learning rate; suggested {suggestion}"),
        x: "log10 of the learning rate".into(),
        y: "smoothed loss".into(),
        curves: vec![Curve::new("loss", points)],
        ..LineChart::default()
    };
    let figure = Figure::new(Section::BeforeTraining, format!("Learning rate (suggested: {suggestion})"), chart.svg())
        .what("The loss while the rate grows from 1e-7 to 10: flat where it is too small, falling where it suits, rising beyond.")
        .healthy("A clear valley; the suggestion is the middle of the fall.")
        .source("Smith 2017; fastai");
    Some(figure)
}

fn findings(found: &Preflight) -> Figure {
    let row = |f: &crate::Finding| vec![f.evidence.clone(), f.threshold.clone(), f.advice.clone()];
    let rows: Vec<Vec<String>> = found.findings.iter().map(row).collect();
    let body = table("What is wrong before training", &["Found", "Threshold", "What to try"], &rows);
    Figure::new(Section::BeforeTraining, "What is wrong", body).what("What the looks before training found.").wide()
}
