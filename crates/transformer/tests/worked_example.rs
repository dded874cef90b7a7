//! The numbers of `docs/transformers.md`, computed by the kernel.
#![allow(clippy::unwrap_used)] // The lint's exception for tests covers functions marked as tests, not their helpers.

use glassbox_core::TensorExt;
use glassbox_core::candle_core::{D, Device, Tensor};
use glassbox_kernels::attention::{AttentionParams, attention};

const WORDS: [&str; 3] = ["the", "cat", "sleeps"];

/// Rows of numbers as the page has them.
fn table(title: &str, rows: &Tensor) -> Vec<String> {
    let rows = rows.to_vec2::<f64>().unwrap();
    let line = |(word, row): (&str, &Vec<f64>)| {
        let cells: Vec<String> = row.iter().map(|x| format!("{x:.3}")).collect();
        format!("| {word} | {} |", cells.join(" | "))
    };
    let mut lines = vec![format!("| {title} |")];
    lines.extend(WORDS.into_iter().zip(&rows).map(line));
    lines
}

#[track_caller]
fn assert_on_the_page(table: &[String]) {
    let page: Vec<&str> = include_str!("../../../docs/transformers.md").lines().collect();
    let heading = table[0].trim_end_matches('|');
    let at = page.iter().position(|line| line.starts_with(heading)).unwrap();
    // The heading and the line below it.
    assert_eq!(page[at + 2..at + 2 + table.len() - 1], table[1..]);
}

#[test]
fn the_page_has_what_the_kernel_computes() {
    let device = Device::Cpu;
    let xs = Tensor::new(&[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], &device).unwrap();
    let linear = |weight: [[f64; 2]; 2]| xs.matmul(&Tensor::new(&weight, &device).unwrap().t().unwrap()).unwrap();
    let (q, k, v) =
        (linear([[1.0, 0.0], [0.0, 1.0]]), linear([[0.0, 1.0], [1.0, 0.0]]), linear([[2.0, 0.0], [0.0, 1.0]]));

    let scores = (q.matmul(&k.t().unwrap()).unwrap() / 2f64.sqrt()).unwrap();
    assert_on_the_page(&table("scores", &scores));
    assert_on_the_page(&table("weights", &scores.softmax(D::Minus1).unwrap()));

    let heads = |xs: &Tensor| xs.unsqueeze(0).unwrap().unsqueeze(0).unwrap();
    let attend = |v: &Tensor, causal: bool| {
        let params = AttentionParams { causal, ..Default::default() };
        attention(&heads(&q), &heads(&k), &heads(v), None, &params).unwrap().squeeze(0).unwrap().squeeze(0).unwrap()
    };
    assert_on_the_page(&table("output", &attend(&v, false)));
    // Values that are the unit vectors give the weights themselves.
    let units = Tensor::new(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], &device).unwrap();
    let weights = (0..3).map(|word| attend(&units.narrow(1, word, 1).unwrap().repeat((1, 2)).unwrap(), true));
    let weights: Vec<Tensor> = weights.map(|column| column.narrow(1, 0, 1).unwrap()).collect();
    assert_on_the_page(&table("causal weights", &Tensor::cat(&weights, 1).unwrap()));
}
