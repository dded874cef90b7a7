//! chrF against sacreBLEU's values and ROUGE against rouge-score's, made by tools/fixtures/core_text.py; the file names the
//! versions.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use glassbox_core::metric::{Chrf, Rouge, RougeScore};
use serde::Deserialize;

/// Counts are exact; two orders of the same sums may differ in the last bits.
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Fixture {
    corpora: Vec<Corpus>,
}

#[derive(Deserialize)]
struct Corpus {
    name: String,
    hypotheses: Vec<String>,
    /// Of the first references of all sentences, the second ones, …
    references: Vec<Vec<String>>,
    chrf: f64,
    chrf_plus_plus: f64,
    /// Means of precision, recall and F.
    rouge1: [f64; 3],
    rouge2: [f64; 3],
    #[serde(rename = "rougeL")]
    rouge_l: [f64; 3],
    #[serde(rename = "rougeLsum")]
    rouge_l_sum: [f64; 3],
}

impl Corpus {
    fn pairs(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        let references = |i: usize| self.references.iter().map(|texts| texts[i].as_str()).collect();
        self.hypotheses.iter().enumerate().map(move |(i, text)| (text.as_str(), references(i)))
    }

    fn close(&self, what: &str, got: f64, want: f64) {
        assert!((got - want).abs() < TOLERANCE, "{}: {what} is {want} there, {got} here", self.name);
    }
}

fn corpora() -> Vec<Corpus> {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/text.json")).unwrap();
    assert_eq!(fixture.corpora.len(), 10);
    fixture.corpora
}

#[test]
fn sacrebleus_chrf() {
    for corpus in corpora() {
        for (what, mut chrf, want) in
            [("chrF", Chrf::new(), corpus.chrf), ("chrF++", Chrf::plus_plus(), corpus.chrf_plus_plus)]
        {
            // The second time after a reset.
            for _ in 0..2 {
                chrf.reset();
                corpus.pairs().for_each(|(text, references)| chrf.update(text, &references).unwrap());
            }
            corpus.close(what, chrf.compute().unwrap(), want);
        }
    }
}

#[test]
fn rouge_scores_values() {
    for corpus in corpora() {
        let mut rouge = Rouge::default();
        for _ in 0..2 {
            rouge.reset();
            corpus.pairs().for_each(|(text, references)| rouge.update(text, &references).unwrap());
        }
        let got = rouge.compute().unwrap();
        let check = |kind: &str, got: RougeScore, want: [f64; 3]| {
            corpus.close(&format!("{kind}'s precision"), got.precision, want[0]);
            corpus.close(&format!("{kind}'s recall"), got.recall, want[1]);
            corpus.close(&format!("{kind}'s F"), got.f_measure, want[2]);
        };
        check("ROUGE-1", got.rouge_1, corpus.rouge1);
        check("ROUGE-2", got.rouge_2, corpus.rouge2);
        check("ROUGE-L", got.rouge_l, corpus.rouge_l);
        check("ROUGE-Lsum", got.rouge_l_sum, corpus.rouge_l_sum);
    }
}

#[test]
fn nothing_and_no_reference_are_errors() {
    let message = |e: glassbox_core::Error| e.to_string();
    let nothing = |name| format!("metric `{name}`: expected at least one sample taken in, got none");
    assert_eq!(message(Chrf::new().compute().unwrap_err()), nothing("chrf"));
    assert_eq!(message(Rouge::default().compute().unwrap_err()), nothing("rouge"));
    let no_reference = message(Chrf::new().update("a", &[]).unwrap_err());
    assert_eq!(no_reference, "references of a sentence: expected at least one, got none");
    let no_reference = message(Rouge::default().update("a", &[]).unwrap_err());
    assert_eq!(no_reference, "references of a summary: expected at least one, got none");
}
