//! Where a classifier fails.

use super::super::svg::{Anchor, Canvas, WIDTH};
use super::super::{BarChart, Curve, Figure, LineChart, Palette, Section};
use crate::record::{Answers, Record};
use crate::rules::number;

pub(super) fn figures(record: &Record) -> Vec<Figure> {
    let Some(answers) = record.answers.iter().rev().find(|answers| !answers.counts.is_empty()) else { return vec![] };
    confusion(answers).into_iter().chain(class_errors(answers)).chain(calibration(answers)).collect()
}

fn confusion(answers: &Answers) -> Option<Figure> {
    let classes = answers.confusion.len();
    if classes < 2 {
        return None;
    }
    let (left, top) = (30.0, 30.0);
    let size = (WIDTH - left - 6.0) / classes as f64;
    let height = size.min(26.0);
    let mut canvas =
        Canvas::new(top + height * classes as f64 + 8.0, &format!("Confusion matrix of {classes} classes"));
    canvas.text(left + size * classes as f64 / 2.0, 11.0, "predicted class", Anchor::Middle, "faint small");
    canvas.text(2.0, 22.0, "true", Anchor::Start, "faint small");
    let every = (16.0 / size).ceil().max(1.0) as usize;
    for (target, row) in answers.confusion.iter().enumerate() {
        let total: u64 = row.iter().sum();
        let y = top + height * target as f64;
        if target % every == 0 {
            canvas.text(left - 5.0, y + height / 2.0 + 4.0, &target.to_string(), Anchor::End, "small");
            canvas.text(left + size * (target as f64 + 0.5), top - 5.0, &target.to_string(), Anchor::Middle, "small");
        }
        for (predicted, &count) in row.iter().enumerate() {
            let share = count as f64 / total.max(1) as f64;
            let x = left + size * predicted as f64;
            let tooltip = format!("{count} of class {target} taken for class {predicted}");
            canvas.tile([x, y, size, height], Palette::Viridis.colour(share), &tooltip);
            if count > 0 && size >= 14.0 {
                let class = if share > 0.55 { "small on-light" } else { "small on-dark" };
                let text = if count < 10_000 { count.to_string() } else { format!("{}k", count / 1000) };
                canvas.text(x + size / 2.0, y + height / 2.0 + 4.0, &text, Anchor::Middle, class);
            }
        }
    }
    let figure = Figure::new(Section::Failures, "What is taken for what", canvas.finish())
        .what("A row for each true class: how many of its samples were taken for each class. Brighter is a larger share of the row.")
        .healthy("Bright on the diagonal, dark elsewhere. A bright place beside it is a pair of classes that it cannot tell apart.");
    Some(figure)
}

fn class_errors(answers: &Answers) -> Option<Figure> {
    let mut bars: Vec<(String, f64)> = answers
        .errors
        .iter()
        .zip(&answers.counts)
        .enumerate()
        .filter(|(_, (_, count))| **count > 0)
        .map(|(class, (&errors, &count))| (format!("class {class}"), errors as f64 / count as f64))
        .collect();
    bars.sort_by(|a, b| b.1.total_cmp(&a.1));
    bars.truncate(20);
    if bars.is_empty() {
        return None;
    }
    let (errors, total): (u64, u64) = (answers.errors.iter().sum(), answers.counts.iter().sum());
    let overall = errors as f64 / total.max(1) as f64;
    let chart = BarChart {
        label: format!("Error of each class; overall {}", number(overall)),
        bars,
        mark: Some((overall, format!("overall {}", number(overall)))),
        unit: String::new(),
    };
    let figure = Figure::new(Section::Failures, "Error by class", chart.svg())
        .what("The share of each class's samples that are taken for another, the worst first (twenty at most).")
        .healthy("All close to the overall error. One class far above it has too few samples, or wrong labels.")
        .source("SageMaker Debugger, class imbalance: above 0.7 in one class");
    Some(figure)
}

fn calibration(answers: &Answers) -> Option<Figure> {
    let points: Vec<(f64, f64)> =
        answers.calibration.iter().filter(|bin| bin.0 > 0).map(|&(_, confidence, right)| (confidence, right)).collect();
    if points.is_empty() {
        return None;
    }
    let error = number(answers.calibration_error);
    let chart = LineChart {
        label: format!("Accuracy against confidence in 15 bins; expected calibration error {error}"),
        x: "confidence".into(),
        y: "share of right answers".into(),
        curves: vec![Curve::new("measured", points), Curve::new("calibrated", vec![(0.0, 0.0), (1.0, 1.0)])],
        ..LineChart::default()
    };
    let figure = Figure::new(Section::Failures, format!("Calibration (ECE {error})"), chart.svg())
        .what("How often it is right, by how sure it is: samples in 15 bins of confidence.")
        .healthy("On the diagonal. Below it, the network is surer than it should be.")
        .formula("ECE = Σ over bins of n / N · |accuracy − mean confidence|")
        .source("Guo et al. 2017");
    Some(figure)
}
