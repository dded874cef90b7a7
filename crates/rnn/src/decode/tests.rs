//! Against all paths of small cases.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use glassbox_core::testkit::values;

use super::*;

fn logits(shape: (usize, usize, usize)) -> Tensor {
    (values(shape, 5).unwrap() * 2.0).unwrap()
}

/// The probability of everything that can be spelled, path by path.
fn all_paths(steps: &[Vec<f64>], blank: usize) -> BTreeMap<Vec<u32>, f64> {
    let (num_steps, classes) = (steps.len(), steps.first().map_or(1, Vec::len));
    let mut spelled = BTreeMap::new();
    for code in 0..classes.pow(num_steps as u32) {
        let path: Vec<_> = (0..num_steps).map(|step| code / classes.pow(step as u32) % classes).collect();
        let log_prob: f64 = path.iter().zip(steps).map(|(&class, step)| step[class]).sum();
        let mut labels = path;
        labels.dedup();
        labels.retain(|&class| class != blank);
        *spelled.entry(labels.into_iter().map(|class| class as u32).collect()).or_insert(0.0) += log_prob.exp();
    }
    spelled
}

/// A language that likes some labels and dislikes repeated ones, and texts of two labels.
struct Language;

impl PrefixScorer for Language {
    fn extend(&self, prefix: &[u32], label: u32) -> f64 {
        f64::from(label) * 0.7 - if prefix.last() == Some(&label) { 1.3 } else { 0.2 }
    }

    fn end(&self, labels: &[u32]) -> f64 {
        if labels.len() == 2 { 0.9 } else { 0.0 }
    }
}

fn language_score(labels: &[u32]) -> f64 {
    let extensions = (0..labels.len()).map(|i| Language.extend(&labels[..i], labels[i]));
    extensions.sum::<f64>() + Language.end(labels)
}

#[test]
fn a_wide_beam_is_exact() {
    let xs = logits((3, 5, 3));
    for blank in [0, 2] {
        let search = CtcBeamSearch { beam_width: 1000, blank, ..Default::default() };
        let lengths = [5, 0, 3];
        let plain = search.decode(&xs, Some(&lengths)).unwrap();
        let scored = search.decode_with(&xs, Some(&lengths), &Language).unwrap();
        for (i, steps) in log_probs(&xs, Some(&lengths), blank).unwrap().iter().enumerate() {
            let all = all_paths(steps, blank);
            for (found, with_language) in [(&plain[i], false), (&scored[i], true)] {
                assert_eq!(found.len(), all.len());
                assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
                for hypothesis in found {
                    let want = all[&hypothesis.labels].ln();
                    assert!((hypothesis.log_prob - want).abs() < 1e-12, "{hypothesis:?}: expected {want}");
                    let language = if with_language { language_score(&hypothesis.labels) } else { 0.0 };
                    assert!((hypothesis.score - want - language).abs() < 1e-12, "{hypothesis:?}");
                }
            }
        }
    }
}

/// All probabilities sum to 1, so none is lost or counted twice; a narrow beam underestimates.
#[test]
fn a_narrow_beam_finds_the_best_of_an_easy_case() {
    let xs = (logits((2, 12, 6)) * 3.0).unwrap();
    let wide = CtcBeamSearch { beam_width: 4000, ..Default::default() }.decode(&xs, None).unwrap();
    let narrow = CtcBeamSearch { beam_width: 10, top_labels: 3, blank: 0 }.decode(&xs, None).unwrap();
    for (wide, narrow) in wide.iter().zip(&narrow) {
        assert!(narrow.len() == 10 && narrow[0].labels == wide[0].labels);
        let (got, want) = (narrow[0].log_prob, wide[0].log_prob);
        assert!(got <= want + 1e-12 && got > want - 0.1, "{got}, {want}");
    }
}

/// The most probable path is two blanks (0.36); the most probable labels are those of three others (0.64).
#[test]
fn the_best_path_is_not_the_best_spelling() {
    let xs = Tensor::new(&[[[0.6f64.ln(), 0.4f64.ln()], [0.6f64.ln(), 0.4f64.ln()]]], &Device::Cpu).unwrap();
    let greedy = ctc_greedy(&xs, None, 0).unwrap();
    assert!(greedy[0].labels.is_empty() && (greedy[0].log_prob - 0.36f64.ln()).abs() < 1e-12);
    let best = &CtcBeamSearch::default().decode(&xs, None).unwrap()[0][0];
    assert!(best.labels == [1] && (best.log_prob - 0.64f64.ln()).abs() < 1e-12);
}

#[test]
fn greedy_spells_the_best_path() {
    let classes = [[1, 1, 0, 1, 2, 2], [2, 0, 0, 1, 1, 0]];
    let row = |class: usize| -> Vec<f32> { (0..3).map(|c| if c == class { 4.0 } else { 0.0 }).collect() };
    let data: Vec<f32> = classes.iter().flatten().flat_map(|&class| row(class)).collect();
    let xs = Tensor::from_vec(data, (2, 6, 3), &Device::Cpu).unwrap();
    let labels = |lengths: Option<&[usize]>, blank| -> Vec<Vec<u32>> {
        ctc_greedy(&xs, lengths, blank).unwrap().into_iter().map(|h| h.labels).collect()
    };
    assert_eq!(labels(None, 0), [vec![1, 1, 2], vec![2, 1]]);
    assert_eq!(labels(Some(&[3, 0]), 0), [vec![1], vec![]]);
    assert_eq!(labels(None, 2), [vec![1, 0, 1], vec![0, 1, 0]]);
    let strided = xs.transpose(0, 1).unwrap().contiguous().unwrap().transpose(0, 1).unwrap();
    assert_eq!(ctc_greedy(&strided, None, 0).unwrap(), ctc_greedy(&xs, None, 0).unwrap());
}

/// A scorer that forbids everything leaves the empty text; impossible classes are never taken.
#[test]
fn what_is_impossible() {
    let forbid = |_: &[u32], _: u32| f64::NEG_INFINITY;
    let found = CtcBeamSearch::default().decode_with(&logits((1, 4, 3)), None, &forbid).unwrap();
    assert!(found[0].len() == 1 && found[0][0].labels.is_empty());
    let infinity = f64::INFINITY;
    let xs = Tensor::new(&[[[-infinity, 0.0, -infinity], [-infinity, 0.0, -infinity]]], &Device::Cpu).unwrap();
    let found = CtcBeamSearch::default().decode(&xs, None).unwrap();
    assert!(found[0].len() == 1 && found[0][0].labels == [1] && found[0][0].log_prob == 0.0);
}

#[test]
fn wrong_inputs_are_named() {
    let xs = logits((2, 4, 3));
    let fails = |result: Result<Vec<CtcHypothesis>>, expected: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(ctc_greedy(&xs.get(0).unwrap(), None, 0), "expected 3 dimensions (batch, seq_len, classes), got [4, 3]");
    fails(ctc_greedy(&xs, None, 3), "blank: expected one of 3 classes, got 3");
    fails(ctc_greedy(&xs, Some(&[4]), 0), "lengths: expected 2, one for each sample, got 1");
    fails(ctc_greedy(&xs, Some(&[4, 5]), 0), "length of sample 1: expected at most 4, got 5");
    fails(ctc_greedy(&(&xs * f64::NAN).unwrap(), None, 0), "logits of sample 0: expected numbers, got NaN");
    for search in
        [CtcBeamSearch { beam_width: 0, ..Default::default() }, CtcBeamSearch { top_labels: 0, ..Default::default() }]
    {
        fails(search.decode(&xs, None).map(|all| all.concat()), "expected 1 or more, got 0");
    }
}
