//! Attention over encoder states: the contract, the formulas, padding.
#![allow(clippy::unwrap_used)] // Clippy's exception for tests leaves out the functions beside them.

use candle_core::{DType, Device, Tensor};
use glassbox_core::testkit::{check_layer, values};
use glassbox_core::{Layer, ParamStore, Pass, Result, Seed, TensorExt, VarBuilder};
use glassbox_rnn::{AttentionScore, EncoderAttention};

const SCORES: [AttentionScore; 3] = [AttentionScore::Additive(5), AttentionScore::Dot, AttentionScore::General];

/// Attends from the first two states to all of them.
struct SelfAttending {
    attention: EncoderAttention,
    lengths: Option<Vec<usize>>,
    /// From the first state alone, as a decoder's step does.
    one_step: bool,
}

impl Layer for SelfAttending {
    fn forward(&self, xs: &Tensor, pass: &Pass) -> Result<Tensor> {
        let memory = self.attention.remember(xs, self.lengths.as_deref(), pass)?;
        let query = xs.narrow(1, 0, 2)?;
        let query = if self.one_step { query.narrow(1, 0, 1)?.squeeze(1)? } else { query };
        Ok(self.attention.attend(&query, &memory, pass)?.context)
    }
}

#[test]
fn contract() {
    for score in SCORES {
        for one_step in [false, true] {
            for lengths in [None, Some(vec![4, 2])] {
                let make = |vb: VarBuilder| {
                    let attention = EncoderAttention::new(score, 3, 3, vb)?;
                    Ok(SelfAttending { attention, lengths: lengths.clone(), one_step })
                };
                check_layer(make, &[2, 4, 3]);
            }
        }
    }
}

fn params() -> ParamStore {
    ParamStore::with_dtype(Seed(1), DType::F64, &Device::Cpu)
}

fn vectors(tensor: &Tensor) -> Vec<Vec<f64>> {
    tensor.to_vec2::<f64>().unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The score of one query with one key, by the papers' formulas.
fn score(params: &ParamStore, score: AttentionScore, query: &[f64], key: &[f64]) -> f64 {
    let matrix = |name: &str| vectors(&params.get(name).unwrap().value());
    let times = |name: &str, x: &[f64]| matrix(name).iter().map(|row| dot(row, x)).collect::<Vec<_>>();
    match score {
        AttentionScore::Additive(_) => {
            let bias = params.get("key.bias").unwrap().value().to_f64_vec().unwrap();
            let (q, k) = (times("query.weight", query), times("key.weight", key));
            let hidden: Vec<f64> = q.iter().zip(&k).zip(&bias).map(|((q, k), b)| (q + k + b).tanh()).collect();
            times("score.weight", &hidden)[0]
        }
        AttentionScore::Dot => dot(query, key),
        AttentionScore::General => dot(query, &times("key.weight", key)),
    }
}

#[test]
fn the_papers_formulas_with_padding() {
    for kind in SCORES {
        let (params, pass) = (params(), Pass::eval());
        let encoder_size = if kind == AttentionScore::Dot { 4 } else { 3 };
        let attention = EncoderAttention::new(kind, 4, encoder_size, params.root()).unwrap();
        let (states, query) = (values((2, 5, encoder_size), 1).unwrap(), values((2, 4), 2).unwrap());
        let lengths = [5, 3];
        let memory = attention.remember(&states, Some(&lengths), &pass).unwrap();
        let got = attention.attend(&query, &memory, &pass).unwrap();
        for (i, &length) in lengths.iter().enumerate() {
            let keys = vectors(&states.get(i).unwrap());
            let query = query.get(i).unwrap().to_f64_vec().unwrap();
            let powers: Vec<f64> = keys[..length].iter().map(|key| score(&params, kind, &query, key).exp()).collect();
            let total: f64 = powers.iter().sum();
            let weights = got.weights.get(i).unwrap().to_f64_vec().unwrap();
            for (step, &weight) in weights.iter().enumerate() {
                let want = powers.get(step).map_or(0.0, |power| power / total);
                assert!((weight - want).abs() < 1e-14, "{kind:?}: expected {want}, got {weight}");
            }
            for (feature, got) in got.context.get(i).unwrap().to_f64_vec().unwrap().into_iter().enumerate() {
                let want: f64 = keys.iter().zip(&weights).map(|(key, weight)| weight * key[feature]).sum();
                assert!((got - want).abs() < 1e-14, "{kind:?}: expected {want}, got {got}");
            }
        }
    }
}

/// Many queries at once give what each gives alone, from the same memory.
#[test]
fn many_steps_at_once() {
    for kind in SCORES {
        let (params, pass) = (params(), Pass::eval());
        let attention = EncoderAttention::new(kind, 3, 3, params.root()).unwrap();
        let (states, queries) = (values((2, 5, 3), 1).unwrap(), values((2, 4, 3), 2).unwrap());
        let memory = attention.remember(&states, Some(&[2, 5]), &pass).unwrap();
        let all = attention.attend(&queries, &memory, &pass).unwrap();
        assert_eq!((all.context.dims(), all.weights.dims()), (&[2, 4, 3][..], &[2, 4, 5][..]));
        for step in 0..4 {
            let at = |xs: &Tensor| xs.narrow(1, step, 1).unwrap().squeeze(1).unwrap();
            let one = attention.attend(&at(&queries), &memory, &pass).unwrap();
            for (got, want) in [(one.context, at(&all.context)), (one.weights, at(&all.weights))] {
                let pairs = got.to_f64_vec().unwrap().into_iter().zip(want.to_f64_vec().unwrap());
                pairs.into_iter().for_each(|(a, b)| assert!((a - b).abs() < 1e-14, "{kind:?}: expected {b}, got {a}"));
            }
        }
    }
}

#[test]
fn a_memory_for_each_beam() {
    let (params, pass) = (params(), Pass::eval());
    let attention = EncoderAttention::new(AttentionScore::General, 3, 3, params.root()).unwrap();
    let (states, query) = (values((2, 5, 3), 1).unwrap(), values((2, 3), 2).unwrap());
    let memory = attention.remember(&states, Some(&[2, 5]), &pass).unwrap();
    let ids = Tensor::new(&[1u32, 1, 0], &Device::Cpu).unwrap();
    let beams = attention.attend(&query.index_select(&ids, 0).unwrap(), &memory.select(&ids).unwrap(), &pass).unwrap();
    let plain = attention.attend(&query, &memory, &pass).unwrap();
    assert_eq!(vectors(&beams.context), vectors(&plain.context.index_select(&ids, 0).unwrap()));
    assert!(memory.select(&Tensor::new(&[2u32], &Device::Cpu).unwrap()).is_err());
}

#[test]
fn wrong_inputs_are_named() {
    fn fails<T>(result: Result<T>, expected: &str) {
        let error = result.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{error}");
    }
    let (params, pass) = (params(), Pass::eval());
    let new = |score, query, encoder| EncoderAttention::new(score, query, encoder, params.root().pp("attention"));
    let expected = "at `attention`: encoder_size: expected the query_size 4, for the dot product, got 3";
    fails(new(AttentionScore::Dot, 4, 3), expected);
    fails(new(AttentionScore::Additive(0), 4, 3), "attention_size: expected 1 or more, got 0");
    fails(new(AttentionScore::General, 4, 0), "encoder_size: expected 1 or more, got 0");
    let attention = new(AttentionScore::General, 4, 3).unwrap();
    let states = values((2, 5, 3), 1).unwrap();
    let expected = "at `attention`: encoder states: expected (batch, seq_len, 3) of a step or more, got [2, 0, 3]";
    fails(attention.remember(&states.narrow(1, 0, 0).unwrap(), None, &pass), expected);
    fails(attention.remember(&states, Some(&[5]), &pass), "lengths: expected 2, one for each sample, got 1");
    fails(attention.remember(&states, Some(&[5, 0]), &pass), "length of sample 1: expected from 1 to 5, got 0");
    fails(attention.remember(&states, Some(&[6, 1]), &pass), "length of sample 0: expected from 1 to 5, got 6");
    let memory = attention.remember(&states, None, &pass).unwrap();
    let query = values((3, 4), 1).unwrap();
    fails(attention.attend(&query, &memory, &pass), "query: expected (2, 4) or (2, steps, 4), got [3, 4]");
}
