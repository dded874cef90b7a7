//! Two runs side by side.

use std::collections::BTreeSet;
use std::path::Path;

use glassbox_core::Result;

use super::page::Page;
use super::{Curve, Figure, LineChart, Report, Section, table};
use crate::record::{Record, Validation};
use crate::rules::number;

/// The report of two runs side by side: their curves in common axes, their last scores, and what was found in each.
///
/// # Errors
/// One of the folders has no run.
pub fn compare(first: impl AsRef<Path>, second: impl AsRef<Path>) -> Result<Report> {
    let runs = [read(first.as_ref())?, read(second.as_ref())?];
    let title = format!("{} and {}", runs[0].0, runs[1].0);
    let mut figures = vec![scores(&runs), losses(&runs)];
    figures.extend(score_curves(&runs));
    figures.push(gradients(&runs));
    figures.push(findings(&runs));
    Ok(Report { page: Page { title, numbers: vec![], figures, findings: None } })
}

type Named = (String, Record);

fn read(folder: &Path) -> Result<Named> {
    let path = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let name = path.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    Ok((name, Record::read(folder)?))
}

fn names_of_scores(runs: &[Named; 2]) -> BTreeSet<String> {
    let last = runs.iter().filter_map(|(_, record)| record.metrics.validations.last());
    last.flat_map(|validation| validation.scores.iter().map(|(name, _)| name.clone())).collect()
}

fn scores(runs: &[Named; 2]) -> Figure {
    let last = |record: &Record, name: &str| {
        record.metrics.validations.last().and_then(|v| v.score(name)).map_or_else(|| "–".into(), number)
    };
    let mut rows: Vec<Vec<String>> = names_of_scores(runs)
        .iter()
        .map(|name| vec![name.replace('_', " "), last(&runs[0].1, name), last(&runs[1].1, name)])
        .collect();
    let steps = |record: &Record| record.metrics.losses.points().last().map_or(0.0, |p| p.0.round());
    rows.push(vec!["steps".into(), number(steps(&runs[0].1)), number(steps(&runs[1].1))]);
    let params =
        |record: &Record| -> usize { record.network.params.iter().map(|p| p.shape.iter().product::<usize>()).sum() };
    rows.push(vec!["parameters".into(), super::grouped(params(&runs[0].1)), super::grouped(params(&runs[1].1))]);
    let body = table("Scores of the last validation", &["", &runs[0].0, &runs[1].0], &rows);
    Figure::new(Section::Run, "Last validation", body).what("The scores of the last validation of each run.")
}

fn chart(runs: &[Named; 2], name: &str, log: bool, points: impl Fn(&Record) -> Vec<(f64, f64)>) -> String {
    let curve = |(own, record): &Named| Curve::new(own.clone(), points(record));
    LineChart {
        label: format!("{name} of {} and {} over the steps", runs[0].0, runs[1].0),
        x: "step".into(),
        y: name.into(),
        curves: runs.iter().map(curve).collect(),
        log,
        ..LineChart::default()
    }
    .svg()
}

fn losses(runs: &[Named; 2]) -> Figure {
    let points = |record: &Record| record.metrics.losses.points().to_vec();
    let positive = runs.iter().all(|(_, record)| points(record).iter().all(|p| p.1 > 0.0));
    Figure::new(Section::Run, "Training loss", chart(runs, "loss", positive, points))
        .what("The loss of each step of both runs.")
        .healthy("Comparable only where data, loss and batch size are the same.")
}

fn score_curves(runs: &[Named; 2]) -> Vec<Figure> {
    let figure = |name: &String| {
        let plain = name.replace('_', " ");
        let points = |record: &Record| {
            let value = |v: &Validation| Some((v.step as f64, v.score(name)?));
            record.metrics.validations.iter().filter_map(value).collect()
        };
        Figure::new(Section::Run, format!("Validation: {plain}"), chart(runs, &plain, false, points))
            .what("This score of both runs, after each validation.")
    };
    names_of_scores(runs).iter().map(figure).collect()
}

fn gradients(runs: &[Named; 2]) -> Figure {
    let points = |record: &Record| {
        let norm = |v: &crate::record::Vitals| v.params.iter().map(|p| p.gradient_norm.powi(2)).sum::<f64>().sqrt();
        record.vitals.iter().map(|v| (v.step as f64, norm(v))).collect()
    };
    Figure::new(Section::Layers, "Gradient norm", chart(runs, "‖g‖", true, points))
        .what("The length of the whole gradient at the recorded steps of both runs.")
        .formula("‖g‖ = (Σ g²)^½")
}

fn findings(runs: &[Named; 2]) -> Figure {
    let all = runs.iter().flat_map(|(name, record)| record.findings.iter().map(move |finding| (name, finding)));
    let mut rows: Vec<Vec<String>> =
        all.map(|(name, f)| vec![name.clone(), f.step.to_string(), f.evidence.clone(), f.advice.clone()]).collect();
    if rows.is_empty() {
        rows.push(vec!["both".into(), String::new(), "nothing found".into(), String::new()]);
    }
    let body = table("What was found", &["Run", "Step", "Found", "What to try"], &rows);
    Figure::new(Section::Next, "What was found", body).what("What the rules found in each run.").wide()
}
