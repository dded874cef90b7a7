//! BLEU against sacreBLEU's values, made by tools/fixtures/core_bleu.py; the file names the version.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use glassbox_core::metric::{Bleu, BleuTokenizer};
use serde::Deserialize;

/// Counts are exact; the two computations of the logarithms' mean may differ in the last bits.
const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Fixture {
    corpora: Vec<Corpus>,
}

#[derive(Deserialize)]
struct Corpus {
    name: String,
    tokenize: String,
    hypotheses: Vec<String>,
    /// Of the first references of all sentences, the second ones, …
    references: Vec<Vec<String>>,
    score: f64,
    precisions: [f64; 4],
    brevity_penalty: f64,
    hypothesis_length: usize,
    reference_length: usize,
}

#[test]
fn sacrebleus_values() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/bleu.json")).unwrap();
    assert_eq!(fixture.corpora.len(), 18);
    for corpus in fixture.corpora {
        let tokenizer = if corpus.tokenize == "none" { BleuTokenizer::None } else { BleuTokenizer::V13a };
        let mut bleu = Bleu::new(tokenizer);
        // The second time after a reset.
        for _ in 0..2 {
            bleu.reset();
            for (i, hypothesis) in corpus.hypotheses.iter().enumerate() {
                let references: Vec<&str> = corpus.references.iter().map(|texts| texts[i].as_str()).collect();
                bleu.update(hypothesis, &references).unwrap();
            }
        }
        let (got, what) = (bleu.compute().unwrap(), format!("{} by {}", corpus.name, corpus.tokenize));
        let close = |name: &str, got: f64, want: f64| {
            assert!((got - want).abs() < TOLERANCE, "{what}: sacreBLEU's {name} is {want}, got {got}");
        };
        let lengths = (got.hypothesis_length, got.reference_length);
        assert_eq!(lengths, (corpus.hypothesis_length, corpus.reference_length), "{what}");
        got.precisions.iter().zip(corpus.precisions).for_each(|(&got, want)| close("precision", got, want));
        close("brevity penalty", got.brevity_penalty, corpus.brevity_penalty);
        close("score", got.score, corpus.score);
    }
}

#[test]
fn nothing_and_no_reference_are_errors() {
    let mut bleu = Bleu::default();
    let message = bleu.compute().unwrap_err().to_string();
    assert_eq!(message, "metric `bleu`: expected at least one sample taken in, got none");
    let message = bleu.update("a", &[]).unwrap_err().to_string();
    assert_eq!(message, "references of a sentence: expected at least one, got none");
}
