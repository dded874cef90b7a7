//! Small models whose texts are known.

use std::sync::Mutex;

use candle_core::{Device, Tensor};
use glassbox_core::{Error, Pass, Result, Sampling, Seed};

use super::{EarlyStopping, Ended, GenerateConfig, Generated, generate, generate_from, stream, stream_from};
use crate::attention::Cache;
use crate::model::{CausalLm, EncoderDecoder};

/// Says the next token by the last one; notes what it was given.
struct Table {
    /// Probabilities, by last token and next one.
    next: Vec<Vec<f32>>,
    eos: Vec<u32>,
    max_positions: Option<usize>,
    given: Mutex<Vec<Given>>,
}

/// The ids of a call, and the mask.
type Given = (Vec<Vec<u32>>, Option<Vec<Vec<u8>>>);

impl Table {
    fn new(next: &[&[f32]]) -> Self {
        let next = next.iter().map(|row| row.to_vec()).collect();
        Self { next, eos: vec![0], max_positions: None, given: Mutex::default() }
    }

    fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let ids = ids.to_vec2::<u32>()?;
        let (batch, len) = (ids.len(), ids[0].len());
        let all: Vec<f32> =
            ids.iter().flatten().flat_map(|&id| self.next[id as usize].iter().map(|p| p.ln())).collect();
        Ok(Tensor::from_vec(all, (batch, len, self.next.len()), &Device::Cpu)?)
    }
}

impl CausalLm for Table {
    fn vocab_size(&self) -> usize {
        self.next.len()
    }

    fn max_positions(&self) -> Option<usize> {
        self.max_positions
    }

    fn eos_token_ids(&self) -> &[u32] {
        &self.eos
    }

    fn new_cache(&self) -> Cache {
        Cache::new(1)
    }

    fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, _: Option<&mut Cache>, _: &Pass) -> Result<Tensor> {
        let mask = mask.map(|mask| mask.to_vec2::<u8>()).transpose()?;
        self.given.lock().unwrap().push((ids.to_vec2()?, mask));
        self.rows(ids)
    }
}

/// The same, where the source's first token is said first.
struct Translator(Table);

impl EncoderDecoder for Translator {
    fn vocab_size(&self) -> usize {
        self.0.next.len()
    }

    fn max_target_positions(&self) -> Option<usize> {
        self.0.max_positions
    }

    fn start_token_id(&self) -> u32 {
        0
    }

    fn eos_token_ids(&self) -> &[u32] {
        &self.0.eos
    }

    fn new_cache(&self) -> Cache {
        Cache::new(1)
    }

    fn encode(&self, ids: &Tensor, mask: Option<&Tensor>, _: &Pass) -> Result<Tensor> {
        if let Some(mask) = mask {
            assert_eq!(mask.dims(), ids.dims());
        }
        Ok(ids.to_dtype(candle_core::DType::F32)?.unsqueeze(2)?)
    }

    fn decode(
        &self,
        ids: &Tensor,
        source: &Tensor,
        source_mask: Option<&Tensor>,
        _: Option<&mut Cache>,
        _: &Pass,
    ) -> Result<Tensor> {
        let first = source.narrow(1, 0, 1)?.flatten_all()?.to_vec1::<f32>()?;
        if let Some(mask) = source_mask {
            assert_eq!(mask.dims(), &source.dims()[..2]);
        }
        let ids = ids.to_vec2::<u32>()?;
        assert_eq!(first.len(), ids.len());
        let read =
            |(row, &first): (&Vec<u32>, &f32)| row.iter().map(|&id| if id == 0 { first as u32 } else { id }).collect();
        let read: Vec<Vec<u32>> = ids.iter().zip(&first).map(read).collect();
        self.0.rows(&Tensor::new(read, &Device::Cpu)?)
    }
}

/// 1 goes on with 2 (0.6) or 3 (0.4), 2 with anything alike, 3 nearly always ends: 0 is the end.
fn fork() -> Table {
    Table::new(&[
        &[0.25, 0.25, 0.25, 0.25],
        &[1e-30, 1e-30, 0.6, 0.4],
        &[0.28, 0.24, 0.24, 0.24],
        &[0.9, 0.04, 0.03, 0.03],
    ])
}

/// 1, 2, 3, 4 and again, mostly; else something that nobody says first.
fn circle() -> Table {
    Table::new(&[
        &[0.2, 0.2, 0.2, 0.2, 0.2],
        &[0.01, 0.01, 0.9, 0.05, 0.03],
        &[0.01, 0.03, 0.01, 0.9, 0.05],
        &[0.01, 0.05, 0.03, 0.01, 0.9],
        &[0.01, 0.9, 0.05, 0.03, 0.01],
    ])
}

fn config() -> GenerateConfig {
    GenerateConfig { max_new_tokens: 6, ..Default::default() }
}

fn only(mut texts: Vec<Vec<Generated>>) -> Vec<Generated> {
    assert_eq!(texts.len(), 1);
    texts.remove(0)
}

fn tokens(model: &Table, prompt: &[u32], config: &GenerateConfig) -> Vec<u32> {
    let whole = only(generate(model, &[prompt], config).unwrap()).remove(0).tokens;
    if config.num_beams == 1 {
        let streamed: Vec<u32> = stream(model, prompt, config).unwrap().collect::<Result<_>>().unwrap();
        assert_eq!(streamed, whole);
    }
    let uncached = GenerateConfig { use_cache: false, ..config.clone() };
    assert_eq!(only(generate(model, &[prompt], &uncached).unwrap()).remove(0).tokens, whole);
    whole
}

fn close(got: f64, want: f64) {
    // The logits are f32.
    assert!((got - want).abs() < 1e-5, "{got} {want}");
}

#[test]
fn the_likeliest_token_each_time() {
    let texts = only(generate(&fork(), &[[1]], &config()).unwrap());
    assert_eq!((texts.len(), &texts[0].tokens[..], texts[0].ended), (1, &[2][..], Ended::Eos));
    close(texts[0].score, (0.6f64 * 0.28).ln() / 2.0);
    let text = only(generate(&circle(), &[[4]], &config()).unwrap()).remove(0);
    assert_eq!((&text.tokens[..], text.ended), (&[1, 2, 3, 4, 1, 2][..], Ended::Length));
    close(text.score, 0.9f64.ln());
}

#[test]
fn the_cache_is_given_what_is_new_and_without_one_everything() {
    let model = circle();
    let two = GenerateConfig { max_new_tokens: 2, ..config() };
    let given = |config: &GenerateConfig| {
        generate(&model, &[[1, 2]], config).unwrap();
        std::mem::take(&mut *model.given.lock().unwrap()).into_iter().map(|(ids, _)| ids[0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(given(&two), [vec![1, 2], vec![3]]);
    assert_eq!(given(&GenerateConfig { use_cache: false, ..two.clone() }), [vec![1, 2], vec![1, 2, 3]]);
}

#[test]
fn a_beam_finds_what_greed_misses() {
    let two = GenerateConfig { num_beams: 2, ..config() };
    let texts = only(generate(&fork(), &[[1]], &two).unwrap());
    let found: Vec<_> = texts.iter().map(|text| (&text.tokens[..], text.ended)).collect();
    assert_eq!(found, [(&[3][..], Ended::Eos), (&[2][..], Ended::Eos)]);
    close(texts[0].score, (0.4f64 * 0.9).ln() / 2.0);
    close(texts[1].score, (0.6f64 * 0.28).ln() / 2.0);
    // An exponent of 0 leaves the log-probability.
    let plain = only(generate(&fork(), &[[1]], &GenerateConfig { length_penalty: 0.0, ..two.clone() }).unwrap());
    close(plain[0].score, (0.4f64 * 0.9).ln());
}

#[test]
fn early_stopping_ends_with_the_first_texts_that_end() {
    // Two texts have ended after two steps; one that goes on is better than the worse of them, and gets better.
    let model = Table::new(&[
        &[1.0, 0.0, 0.0, 0.0, 0.0],
        &[0.45, 0.0, 0.55, 0.0, 0.0],
        &[0.5, 0.0, 0.0, 0.0, 0.5],
        &[1.0, 0.0, 0.0, 0.0, 0.0],
        &[0.05, 0.0, 0.0, 0.0, 0.95],
    ]);
    let search = |early_stopping| {
        let config = GenerateConfig { num_beams: 2, early_stopping, max_new_tokens: 12, ..config() };
        only(generate(&model, &[[1]], &config).unwrap())
    };
    let early = search(EarlyStopping::True);
    assert_eq!(early.iter().map(|text| &text.tokens[..]).collect::<Vec<_>>(), [&[2][..], &[]]);
    let late = search(EarlyStopping::False);
    assert!(late[0].tokens.len() > 6 && late[0].score > early[0].score, "{late:?}");
    assert_eq!(search(EarlyStopping::Never), late);
}

#[test]
fn a_batch_says_what_each_prompt_would_alone() {
    for num_beams in [1, 3] {
        let model = circle();
        let config = GenerateConfig { num_beams, ..config() };
        let prompts: [&[u32]; 3] = [&[3], &[1, 2, 3, 4], &[2, 2]];
        let texts = generate(&model, &prompts, &config).unwrap();
        let calls = std::mem::take(&mut *model.given.lock().unwrap());
        let (ids, mask) = &calls[0];
        assert_eq!(ids, &[[0, 0, 0, 3], [1, 2, 3, 4], [0, 0, 2, 2]]);
        assert_eq!(mask.as_ref().unwrap(), &[[0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 1]]);
        let (ids, mask) = &calls[1];
        assert!(ids.iter().all(|row| row.len() == 1) && mask.as_ref().unwrap().iter().all(|row| row.len() == 5));
        for (prompt, texts) in prompts.iter().zip(texts) {
            assert_eq!(texts.len(), num_beams);
            assert_eq!(texts, only(generate(&model, &[prompt], &config).unwrap()));
        }
    }
}

#[test]
fn a_text_that_ends_leaves_the_batch() {
    let model = Table::new(&[&[1.0, 0.0, 0.0], &[0.1, 0.9, 0.0], &[0.9, 0.1, 0.0]]);
    let texts = generate(&model, &[[1], [2], [1]], &config()).unwrap();
    assert_eq!(texts[1][0], Generated { tokens: vec![], score: texts[1][0].score, ended: Ended::Eos });
    assert_eq!((&texts[0][0].tokens[..], &texts[2][0].tokens[..]), (&[1; 6][..], &[1; 6][..]));
    let sizes: Vec<usize> = model.given.lock().unwrap().iter().map(|(ids, _)| ids.len()).collect();
    assert_eq!(sizes, [3, 2, 2, 2, 2, 2]);
}

#[test]
fn drawn_tokens_follow_their_seed_and_their_limits() {
    let row: &[f32] = &[0.0, 0.4, 0.3, 0.2, 0.1];
    let even = Table::new(&[row; 5]);
    let draw = |seed, sampling: Sampling, min_p| {
        let sampling = Sampling { seed: Seed(seed), ..sampling };
        tokens(&even, &[1], &GenerateConfig { max_new_tokens: 60, sampling, min_p, ..config() })
    };
    let all = Sampling::default();
    assert_eq!(draw(1, all, 0.0), draw(1, all, 0.0));
    assert_ne!(draw(1, all, 0.0), draw(2, all, 0.0));
    let seen = |tokens: Vec<u32>| {
        let mut tokens = tokens;
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    };
    assert_eq!(seen(draw(1, all, 0.0)), [1, 2, 3, 4]);
    assert_eq!(seen(draw(1, Sampling { top_k: Some(2), ..all }, 0.0)), [1, 2]);
    assert_eq!(seen(draw(1, Sampling { top_p: Some(0.75), ..all }, 0.0)), [1, 2, 3]);
    // Half of the likeliest one's share, 0.2, is just reached by 3, were it not for rounding.
    assert_eq!(seen(draw(1, all, 0.49)), [1, 2, 3]);
    assert_eq!(seen(draw(1, all, 0.51)), [1, 2]);
    // At temperature 2 shares are square roots: 0.1 is half of 0.4.
    assert_eq!(seen(draw(1, Sampling { temperature: 2.0, ..all }, 0.49)), [1, 2, 3, 4]);
    let config = GenerateConfig { sampling: all, max_new_tokens: 30, ..config() };
    let texts = generate(&even, &[[1], [1]], &config).unwrap();
    assert_ne!(texts[0], texts[1]);
}

#[test]
fn repetition_is_penalised_or_forbidden() {
    let model = circle();
    assert_eq!(tokens(&model, &[1], &config()), [2, 3, 4, 1, 2, 3]);
    // ln 0.9 · 40 is below ln 0.05 · 1, and that of a token that was there is multiplied, too.
    let penalised = GenerateConfig { repetition_penalty: 40.0, ..config() };
    assert_eq!(tokens(&model, &[1], &penalised)[..3], [2, 3, 4]);
    assert_eq!(tokens(&model, &[2, 1], &penalised)[0], 3);
    // (1, 2) is there: after 1 comes 3.
    let once = GenerateConfig { no_repeat_ngram_size: 2, ..config() };
    assert_eq!(tokens(&model, &[1], &once), [2, 3, 4, 1, 3, 1]);
    let never = GenerateConfig { no_repeat_ngram_size: 1, ..config() };
    assert_eq!(tokens(&model, &[1], &never), [2, 3, 4]);
    let suppressed = GenerateConfig { suppress_tokens: vec![2], ..config() };
    assert_eq!(tokens(&model, &[1], &suppressed), [3, 4, 1, 3, 4, 1]);
    for num_beams in [1, 2] {
        let forced = GenerateConfig { forced_eos_token_id: Some(0), num_beams, ..config() };
        assert_eq!(only(generate(&model, &[[1]], &forced).unwrap())[0].ended, Ended::Eos);
    }
}

#[test]
fn stop_sequences_and_other_ends() {
    let model = circle();
    let stop = |stop_sequences: Vec<Vec<u32>>| {
        let config = GenerateConfig { stop_sequences, max_new_tokens: 12, ..config() };
        only(generate(&model, &[[2]], &config).unwrap()).remove(0)
    };
    let text = stop(vec![vec![4, 4], vec![4, 1]]);
    assert_eq!((&text.tokens[..], text.ended), (&[3, 4, 1][..], Ended::StopSequence));
    // The prompt does not count.
    assert_eq!(stop(vec![vec![2, 3]]).tokens, [3, 4, 1, 2, 3]);
    let ends = GenerateConfig { eos_token_ids: Some(vec![1, 0]), ..config() };
    assert_eq!(tokens(&model, &[2], &ends), [3, 4]);
    let limited = Table { max_positions: Some(4), ..circle() };
    assert_eq!(tokens(&limited, &[1, 2], &config()), [3, 4, 1]);
    let mut all = stream(&limited, &[1, 2], &config()).unwrap();
    assert_eq!((all.by_ref().count(), all.ended()), (3, Some(Ended::Length)));
}

#[test]
fn targets_are_written_for_their_sources() {
    let model = Translator(circle());
    let sources: [&[u32]; 2] = [&[2, 1, 1], &[4]];
    for num_beams in [1, 2] {
        let texts = generate_from(&model, &sources, &GenerateConfig { num_beams, ..config() }).unwrap();
        assert_eq!(texts[0][0].tokens, [3, 4, 1, 2, 3, 4]);
        assert_eq!(texts[1][0].tokens, [1, 2, 3, 4, 1, 2]);
    }
    let streamed: Vec<u32> = stream_from(&model, sources[0], &config()).unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(streamed, [3, 4, 1, 2, 3, 4]);
}

#[test]
fn bad_input_is_named() {
    let model = Table { max_positions: Some(4), ..circle() };
    let message = |error: Error| error.to_string();
    let prompt = |prompt: &[u32]| message(generate(&model, &[prompt], &config()).unwrap_err());
    assert_eq!(prompt(&[]), "prompt: expected at least one token, got an empty prompt");
    assert_eq!(prompt(&[1, 5]), "token of the prompt: expected an id below vocab_size 5, got 5");
    assert_eq!(prompt(&[1; 5]), "prompt: expected at most 4 tokens, the model's context, got 5");
    let none: [&[u32]; 0] = [];
    assert_eq!(
        message(generate(&model, &none, &config()).unwrap_err()),
        "prompt: expected at least one token, got no prompt"
    );
    let empty: &[u32] = &[];
    let error = generate_from(&Translator(circle()), &[empty], &config()).unwrap_err();
    assert_eq!(message(error), "source: expected at least one token, got an empty source");
    let bad = |config: GenerateConfig| message(generate(&model, &[[1]], &config).unwrap_err());
    assert_eq!(bad(GenerateConfig { num_beams: 0, ..config() }), "num_beams: expected at least 1, got 0");
    assert_eq!(bad(GenerateConfig { max_new_tokens: 0, ..config() }), "max_new_tokens: expected at least 1, got 0");
    assert_eq!(bad(GenerateConfig { min_p: 1.5, ..config() }), "min_p: expected from 0 to 1, got 1.5");
    assert!(
        bad(GenerateConfig { repetition_penalty: 0.0, ..config() })
            .starts_with("repetition_penalty: expected a number above 0")
    );
    assert!(bad(GenerateConfig { stop_sequences: vec![vec![]], ..config() }).starts_with("stop_sequences"));
    assert!(bad(GenerateConfig { suppress_tokens: vec![9], ..config() }).contains("below 5, got 9"));
    let drawn = GenerateConfig { num_beams: 2, sampling: Sampling::default(), ..config() };
    assert!(bad(drawn).starts_with("sampling: expected greedy"));
    assert!(stream(&model, &[1], &GenerateConfig { num_beams: 2, ..config() }).is_err());
    let broken = Table::new(&[&[f32::NAN; 2], &[f32::NAN; 2]]);
    assert!(message(generate(&broken, &[[1]], &config()).unwrap_err()).contains("finite numbers, got NaN"));
    let mut tokens = stream(&broken, &[1], &config()).unwrap();
    assert!(tokens.next().unwrap().is_err() && tokens.next().is_none());
    let silent = GenerateConfig { suppress_tokens: (0..5).collect(), num_beams: 2, ..config() };
    assert_eq!(bad(silent), "beam search: expected a token that may be said, got none");
}
