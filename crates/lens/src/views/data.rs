//! What is wrong with the data before any training: classes, duplicates, copies across the split.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use glassbox_core::{Dataset, Error, Result, Sample, Seed, TensorExt};

use crate::report::{BarChart, Figure, Section, table};
use crate::rules::{Certainty, Finding, number, percent};

/// What [`look`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataReport {
    /// Training samples of each class; empty where targets are no classes.
    pub classes: Vec<usize>,
    /// Number of training and of validation samples.
    pub samples: (usize, usize),
    /// Training samples with the same input as an earlier one, and which that is.
    pub duplicates: Vec<(usize, usize)>,
    /// Such pairs whose targets differ.
    pub contradictions: Vec<(usize, usize)>,
    /// Validation samples that are training samples, too: (validation, training).
    pub leaked: Vec<(usize, usize)>,
    /// Pairs of training samples that are nearly the same, among those that were compared: nearest-neighbour distance below
    /// 0.13 of the median one.
    pub near_duplicates: Vec<(usize, usize)>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Samples that are compared for near duplicates, at most: every one with every other.
const COMPARED: usize = 1500;
/// Share of the median distance to the nearest neighbour below which two samples are nearly the same (cleanlab).
const NEAR: f64 = 0.13;

/// Looks at a training set and what it is validated on. Each sample is drawn once, without augmentation that depends on the
/// epoch.
///
/// # Errors
/// A sample that cannot be read.
pub fn look<T, V>(train: &T, validation: &V) -> Result<DataReport>
where
    T: Dataset<Item = Sample>,
    V: Dataset<Item = Sample>,
{
    let (train, validation) = (Seen::of(train)?, Seen::of(validation)?);
    let mut report = DataReport { samples: (train.hashes.len(), validation.hashes.len()), ..DataReport::default() };
    report.classes = train.classes();
    let mut first: BTreeMap<u64, usize> = BTreeMap::new();
    for (i, &hash) in train.hashes.iter().enumerate() {
        match first.get(&hash) {
            Some(&earlier) => {
                report.duplicates.push((i, earlier));
                if train.targets[i] != train.targets[earlier] {
                    report.contradictions.push((i, earlier));
                }
            }
            None => {
                first.insert(hash, i);
            }
        }
    }
    let copies = validation.hashes.iter().enumerate().filter_map(|(i, hash)| Some((i, *first.get(hash)?)));
    report.leaked = copies.collect();
    report.near_duplicates = near(&train.inputs, &train.hashes);
    report.findings = judge(&report);
    Ok(report)
}

/// A data set as far as it is looked at.
struct Seen {
    /// Of each input: shape and values.
    hashes: Vec<u64>,
    targets: Vec<Vec<u64>>,
    class_ids: Option<Vec<usize>>,
    /// The first inputs, as numbers.
    inputs: Vec<Vec<f32>>,
}

impl Seen {
    fn of(data: &impl Dataset<Item = Sample>) -> Result<Self> {
        let mut seen = Self { hashes: vec![], targets: vec![], class_ids: Some(vec![]), inputs: vec![] };
        for index in 0..data.len() {
            let sample = data.get(index, &mut Seed(0).rng())?;
            let values = sample.input.to_f64_vec()?;
            let mut hasher = DefaultHasher::new();
            sample.input.dims().hash(&mut hasher);
            values.iter().for_each(|value| value.to_bits().hash(&mut hasher));
            seen.hashes.push(hasher.finish());
            if seen.inputs.len() < COMPARED {
                seen.inputs.push(values.iter().map(|&x| x as f32).collect());
            }
            let target = sample.target.to_f64_vec()?;
            let is_class = !sample.target.dtype().is_float() && target.len() == 1 && target[0] >= 0.0;
            match &mut seen.class_ids {
                Some(ids) if is_class => ids.push(target[0] as usize),
                ids => *ids = None,
            }
            seen.targets.push(target.into_iter().map(f64::to_bits).collect());
        }
        Ok(seen)
    }

    fn classes(&self) -> Vec<usize> {
        let Some(ids) = &self.class_ids else { return vec![] };
        // Ids beyond any number of classes would make a list as long as they are large.
        let most = ids.iter().copied().max().map_or(0, |id| id + 1);
        if most > 10_000 {
            return vec![];
        }
        let mut counts = vec![0; most];
        ids.iter().for_each(|&id| counts[id] += 1);
        counts
    }
}

/// Pairs of which one is the other's nearest neighbour, at less than [`NEAR`] of the median distance, and that are not the
/// same.
fn near(inputs: &[Vec<f32>], hashes: &[u64]) -> Vec<(usize, usize)> {
    let nearest = |i: usize| {
        let others = (0..inputs.len()).filter(|&j| hashes[j] != hashes[i] && inputs[j].len() == inputs[i].len());
        let square = |j: usize| inputs[i].iter().zip(&inputs[j]).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        others.map(|j| (j, square(j).sqrt())).min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let neighbours: Vec<(usize, usize, f32)> =
        (0..inputs.len()).filter_map(|i| nearest(i).map(|(j, distance)| (i, j, distance))).collect();
    let mut distances: Vec<f32> = neighbours.iter().map(|n| n.2).collect();
    distances.sort_by(f32::total_cmp);
    let Some(&median) = distances.get(distances.len() / 2) else { return vec![] };
    let close = neighbours.iter().filter(|(_, _, distance)| f64::from(*distance) < NEAR * f64::from(median));
    let mut pairs: Vec<(usize, usize)> = close.map(|&(i, j, _)| (i.min(j), i.max(j))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn judge(report: &DataReport) -> Vec<Finding> {
    let mut findings = vec![];
    let (most, least) = (report.classes.iter().max(), report.classes.iter().min());
    if let (Some(&most), Some(&least)) = (most, least)
        && most > 10 * least.max(1)
    {
        let evidence = format!("the largest class has {most} training samples, the smallest {least}");
        let ratio = most as f64 / least.max(1) as f64;
        let finding = Finding::new("class_imbalance", 0, evidence, ratio).certainty(Certainty::Certain);
        let advice = "Weigh the loss by class, or draw classes evenly (`class_balanced_weights`).";
        findings.push(finding.beyond("largest / smallest > 10", "SageMaker Debugger").advise(advice));
    }
    if !report.leaked.is_empty() {
        let share = report.leaked.len() as f64 / report.samples.1.max(1) as f64;
        let evidence = format!("{} of the validation samples are training samples, too", percent(share));
        let finding = Finding::new("leakage", 0, evidence, share).certainty(Certainty::Certain);
        let advice = "Take them out of one of the two, and split before augmenting.";
        findings.push(finding.beyond("no sample in both", "after deepchecks, train-test samples mix").advise(advice));
    }
    if !report.contradictions.is_empty() {
        let (i, j) = report.contradictions[0];
        let evidence = format!(
            "{} training samples have the input of another and another target, such as {i} and {j}",
            report.contradictions.len()
        );
        let finding = Finding::new("contradictions", 0, evidence, report.contradictions.len() as f64);
        let advice = "One of the labels is wrong, or the inputs lack what tells them apart.";
        findings.push(finding.beyond("none", "after deepchecks, conflicting labels").advise(advice));
    }
    let share = report.duplicates.len() as f64 / report.samples.0.max(1) as f64;
    if share > 0.01 {
        let evidence = format!("{} of the training samples are copies of others", percent(share));
        let finding = Finding::new("duplicates", 0, evidence, share).certainty(Certainty::Possible);
        findings.push(
            finding.beyond("1 %", "after cleanlab").advise("Keep one of each, unless they are meant to weigh more."),
        );
    }
    findings
}

impl DataReport {
    /// Figures for the report.
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = vec![];
        if !self.classes.is_empty() && self.classes.len() <= 40 {
            let bars = self.classes.iter().enumerate().map(|(class, &n)| (class.to_string(), n as f64)).collect();
            let label = format!("Training samples of each of {} classes", self.classes.len());
            let chart = BarChart { label, bars, mark: None, unit: "samples".into() };
            let figure = Figure::new(Section::Data, "Training samples of each class", chart.svg())
                .what("How many training samples each class has.")
                .healthy("The largest has less than ten times the smallest.")
                .source("SageMaker Debugger, class imbalance");
            figures.push(figure);
        }
        figures.push(self.duplicates_figure());
        figures
    }

    fn duplicates_figure(&self) -> Figure {
        let example = |pairs: &[(usize, usize)]| {
            let shown: Vec<String> = pairs.iter().take(3).map(|(i, j)| format!("{i} and {j}")).collect();
            shown.join("; ")
        };
        let row =
            |name: &str, pairs: &[(usize, usize)]| vec![name.to_string(), number(pairs.len() as f64), example(pairs)];
        let rows = [
            row("Copies within training", &self.duplicates),
            row("… with another target", &self.contradictions),
            row("Validation samples in training", &self.leaked),
            row("Nearly the same (of the first 1500)", &self.near_duplicates),
        ];
        let body = table("Duplicates", &["", "Pairs", "For example"], &rows);
        Figure::new(Section::Data, "Duplicates", body)
            .what(format!(
                "Samples that are there twice, among {} of training and {} of validation.",
                self.samples.0, self.samples.1
            ))
            .healthy("None of the third kind: a score on samples that were learned says nothing.")
            .formula("near: distance to the nearest neighbour < 0.13 · its median")
            .source("cleanlab and deepchecks (the ideas)")
    }
}

/// Fails where a split leaks: for tests and programs that must not go on.
///
/// # Errors
/// A validation sample that is a training sample, with both indices; a sample that cannot be read.
pub fn expect_disjoint<T, V>(train: &T, validation: &V) -> Result<()>
where
    T: Dataset<Item = Sample>,
    V: Dataset<Item = Sample>,
{
    match look(train, validation)?.leaked.first() {
        Some((validation, train)) => {
            let got = format!("validation sample {validation}, which is training sample {train}");
            Err(Error::invalid("split", "validation samples that are not in the training set", got))
        }
        None => Ok(()),
    }
}
