use std::io::Write;
use std::path::PathBuf;

use glassbox_core::dataset::{Collate, DataLoader, Dataset, Position, VecDataset};
use glassbox_core::{Sample, Seed};

use super::*;
use candle_core::Device;

fn error<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    path
}

#[test]
fn text_that_is_not_utf8_names_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read_text(file(&folder, "a", "\u{feff}é\n".as_bytes())).unwrap(), "é\n");
    let message = error(read_text(file(&folder, "b", b"abc\xff\xfe")));
    assert!(message.ends_with("b: not UTF-8 text at byte 3, counted from 0"), "{message}");
    assert!(matches!(read_text(folder.path().join("none")), Err(Error::Io { .. })));
}

#[test]
fn a_split_is_by_position() {
    let tokens: Vec<u32> = (0..1_115_394).collect();
    let (train, validation) = split_by_position(&tokens, 0.9).unwrap();
    // As int(n * 0.9) in nanoGPT's preparation of the same text.
    assert_eq!((train.len(), validation.len(), validation[0]), (1_003_854, 111_540, 1_003_854));
    for fraction in [0.0, 1.0, f64::NAN] {
        assert!(error(split_by_position(&tokens, fraction)).starts_with("fraction of the split"));
    }
    assert_eq!(error(split_by_position(&[1], 0.5)), "split: expected at least one token in each part, got 0 and 1");
}

#[test]
fn characters_have_stable_ids_and_survive_json() {
    let vocab = CharVocab::from_text("zebra\n\u{1f600}é").unwrap();
    assert_eq!(vocab.characters().iter().collect::<String>(), "\naberzé\u{1f600}");
    assert_eq!(vocab, CharVocab::from_text("é\u{1f600}\narbez").unwrap());
    let ids = vocab.encode("bé\u{1f600}").unwrap();
    assert_eq!((ids.clone(), vocab.decode(&ids).unwrap()), (vec![2, 6, 7], "bé\u{1f600}".to_string()));
    assert_eq!(error(vocab.decode(&[0, 8])), "token id: expected below 8, the size of the vocabulary, got 8");
    assert_eq!(
        error(vocab.encode("é?")),
        "character 1 of the text: expected one of the vocabulary's 8, got '?' (U+003F)"
    );
    assert!(error(CharVocab::from_text("")).contains("at least one character"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.json");
    vocab.save(&path).unwrap();
    assert_eq!(CharVocab::load(&path).unwrap(), vocab);
    for bad in ["", "[]", r#"{"characters": "aba"}"#, r#"{"characters": ""}"#] {
        assert!(
            matches!(CharVocab::load(file(&folder, "bad.json", bad.as_bytes())), Err(Error::Format { .. })),
            "{bad}"
        );
    }
}

#[test]
fn words_are_sorted_by_frequency_and_survive_json() {
    let vocab = WordVocab::build(["b a <unk> c", "b  a\td", "b"], 1).unwrap();
    assert_eq!(vocab.words(), ["<pad>", "<unk>", "<bos>", "<eos>", "b", "a", "c", "d"]);
    assert_eq!(vocab.encode("a b x <unk>").unwrap(), [5, 4, 1, 1]);
    assert_eq!(vocab.decode(&[2, 5, 4, 0, 1, 3, 7]).unwrap(), "a b <unk>");
    assert_eq!(WordVocab::build(["b a <unk> c", "b  a\td", "b"], 2).unwrap().words()[4..], ["b", "a"]);
    assert!(error(vocab.decode(&[8])).ends_with("got 8"));
    assert!(error(WordVocab::build(["a"], 2)).contains("a word that comes 2 times"));
    assert!(WordVocab::build(Vec::<String>::new(), 0).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.json");
    vocab.save(&path).unwrap();
    assert_eq!(WordVocab::load(&path).unwrap(), vocab);
    for bad in [r#"{"words": ["a"]}"#, r#"{"words": ["<pad>", "<unk>", "<bos>", "<eos>", "a", "a"]}"#] {
        assert!(
            matches!(WordVocab::load(file(&folder, "bad.json", bad.as_bytes())), Err(Error::Format { .. })),
            "{bad}"
        );
    }
}

/// Byte-level, with merges and an added token: its pattern needs look-ahead.
#[cfg(feature = "tokenizers")]
const BYTE_LEVEL: &str = r#"{"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 6, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
              "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "z": 8}, "merges": [["a", "b"], ["Ġ", "ab"]]}}"#;

#[cfg(feature = "tokenizers")]
#[test]
fn a_tokenizer_file_encodes_and_decodes() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = TokenizerFile::open(file(&folder, "tokenizer.json", BYTE_LEVEL.as_bytes())).unwrap();
    let ids = tokenizer.encode("ab  ab b").unwrap();
    assert_eq!(ids, [3, 2, 4, 2, 1]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "ab  ab b");
    assert_eq!((tokenizer.token_id("<end>"), tokenizer.encode("<end>a").unwrap()), (Some(6), vec![6, 0]));
    assert_eq!(tokenizer.decode(&[6, 0]).unwrap(), "a");
    // Ids 5 and 7 are of no token.
    assert_eq!(tokenizer.vocab_size(), 9);
    assert!(error(tokenizer.decode(&[5])).ends_with("tokenizer.json, got 5"));
    for bad in ["", "{}", r#"{"model": 1}"#, &BYTE_LEVEL[..BYTE_LEVEL.len() - 2]] {
        assert!(matches!(TokenizerFile::parse(bad, "f"), Err(Error::Format { .. })), "{bad}");
    }
}

#[cfg(feature = "tokenizers")]
#[test]
fn mutated_tokenizer_files_never_panic() {
    let mut accepted = 0;
    for case in 0..5_000 {
        let mut rng = Seed(3).index(case).rng();
        let mut bytes = BYTE_LEVEL.as_bytes().to_vec();
        for _ in 0..=rng.below(2) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] = b"0123456789\"{}[],:abt"[rng.below(20)],
                1 => drop(bytes.drain(at..bytes.len().min(at + rng.below(12)))),
                _ => bytes.extend_from_within(at..),
            }
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if let Ok(tokenizer) = TokenizerFile::parse(&text, "f") {
            accepted += 1;
            let decoded = tokenizer.encode("ab ab<end>x").and_then(|ids| tokenizer.decode(&ids));
            drop(decoded);
        }
    }
    assert!(accepted > 100, "{accepted}");
}

fn rows(sample: &Sample) -> (Vec<u32>, Vec<u32>) {
    (sample.input.to_vec1().unwrap(), sample.target.to_vec1().unwrap())
}

#[test]
fn windows_cover_every_target_once() {
    let tokens: Vec<u32> = (0..11).collect();
    let get = |windows: &TokenWindows, i| rows(&windows.get(i, &mut Seed(0).rng()).unwrap());
    let windows = TokenWindows::new(&tokens, 3).unwrap();
    assert_eq!(windows.len(), 3);
    assert_eq!(get(&windows, 2), (vec![6, 7, 8], vec![7, 8, 9]));
    assert_eq!(error(windows.get(3, &mut Seed(0).rng())), "sample index: expected less than 3, got 3");
    let overlapping = windows.clone().stride(1).unwrap();
    assert_eq!((overlapping.len(), get(&overlapping, 7)), (8, (vec![7, 8, 9], vec![8, 9, 10])));
    assert_eq!(TokenWindows::new(&tokens, 10).unwrap().len(), 1);
    assert_eq!(error(TokenWindows::new(&tokens, 11)), "text: expected more tokens than seq_len 11, got 11 tokens");
    assert!(TokenWindows::new(&tokens, 0).is_err() && TokenWindows::new(&[], usize::MAX).is_err());
    assert!(windows.clone().stride(0).is_err() && windows.random(0).is_err());
}

#[test]
fn random_windows_are_uniform_and_resume_with_the_same_ones() {
    let tokens: Vec<u32> = (0..14).collect();
    let windows = TokenWindows::new(&tokens, 4).unwrap().random(5000).unwrap();
    let loader = DataLoader::new(windows, 100).seed(Seed(5));
    let starts = |epoch, batch| -> Vec<u32> {
        let batches = loader.batches(Position { epoch, batch }, &Device::Cpu).unwrap();
        batches.flat_map(|b| b.unwrap().input.to_vec2::<u32>().unwrap()).map(|row| row[0]).collect()
    };
    let all = starts(0, 0);
    for start in 0..10 {
        let count = all.iter().filter(|&&s| s == start).count() as f64;
        // 5000 draws at probability 1/10: a standard deviation of 21, five of which are allowed.
        assert!((count - 500.0).abs() < 106.0, "{start}: {count}");
    }
    assert_eq!(all.iter().max(), Some(&9));
    assert_eq!(all[4200..], starts(0, 42));
    assert_ne!(all, starts(1, 0));
}

#[test]
fn a_streams_rows_go_on_from_batch_to_batch() {
    let tokens: Vec<u32> = (0..24).collect();
    let loader = StreamBatches::new(&tokens, 3, 3).unwrap().into_loader();
    let batches: Vec<StreamBatch> =
        loader.batches(Position::default(), &Device::Cpu).unwrap().map(|b| b.unwrap()).collect();
    // 23 targets: 7 for each of 3 rows, as 3 + 3 + 1.
    assert_eq!(batches.iter().map(|b| (b.step, b.input.dims()[1])).collect::<Vec<_>>(), [(0, 3), (1, 3), (2, 1)]);
    for row in 0..3 {
        let joined = |part: fn(&StreamBatch) -> &candle_core::Tensor| -> Vec<u32> {
            batches.iter().flat_map(|b| part(b).to_vec2::<u32>().unwrap().swap_remove(row)).collect()
        };
        let start = 7 * row as u32;
        assert_eq!(joined(|b| &b.input), (start..start + 7).collect::<Vec<_>>());
        assert_eq!(joined(|b| &b.target), (start + 1..start + 8).collect::<Vec<_>>());
    }
    let resumed: Vec<usize> =
        loader.batches(Position { epoch: 4, batch: 1 }, &Device::Cpu).unwrap().map(|b| b.unwrap().step).collect();
    assert_eq!(resumed, [1, 2]);
}

#[test]
fn documents_are_packed_with_a_separator_after_each() {
    let documents = [vec![1, 2, 3], vec![], vec![4], vec![5, 6]];
    let windows = TokenWindows::packed(&documents, 9, 4).unwrap();
    let read = |index| {
        let sample = windows.get(index, &mut Seed(0).rng()).unwrap();
        (sample.input.to_vec1::<u32>().unwrap(), sample.target.to_vec1::<u32>().unwrap())
    };
    assert_eq!(windows.len(), 2);
    assert_eq!(read(0), (vec![1, 2, 3, 9], vec![2, 3, 9, 4]));
    assert_eq!(read(1), (vec![4, 9, 5, 6], vec![9, 5, 6, 9]));
    assert!(TokenWindows::packed(&documents[..1], 9, 4).is_err());
}

#[test]
fn pairs_come_by_a_budget_of_tokens() {
    let pair = |i: u32| (vec![i; 1 + i as usize % 7], vec![i; 1 + i as usize % 5]);
    let pairs = TokenPairs::new((0..60).map(pair).collect()).unwrap();
    let lengths = pairs.num_tokens();
    let loader = DataLoader::new(pairs, usize::MAX).max_tokens(&lengths, 24, Seed(1)).unwrap();
    let mut seen = vec![];
    for batch in loader.batches(Position::default(), &Device::Cpu).unwrap() {
        let (source, target) = batch.unwrap();
        assert!(source.values.elem_count() <= 24 && target.values.elem_count() <= 24);
        seen.extend(source.values.to_vec2::<u32>().unwrap().iter().map(|row| row[0]));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
}

#[test]
fn streams_that_cannot_be_are_errors() {
    assert_eq!(error(StreamBatches::new(&[1, 2], 2, 1)), "text: expected more tokens than batch_size 2, got 2 tokens");
    assert!(StreamBatches::new(&[1, 2], 0, 1).is_err() && StreamBatches::new(&[1, 2], 1, 0).is_err());
    assert!(StreamBatches::new(&[], 1, usize::MAX).is_err());
    let stream = StreamBatches::new(&[1, 2, 3], 1, 1).unwrap();
    assert!(stream.get(2, &mut Seed(0).rng()).is_err());
    let two = DataLoader::new(stream, 2).batches(Position::default(), &Device::Cpu).unwrap().next().unwrap();
    assert_eq!(error(two), "batch size of a stream's loader: expected 1: a sample is a whole batch, got 2");
    assert!(StreamBatch::collate(vec![]).is_err());
}

fn corpus(source: &str, target: &str, empty: EmptyLines) -> Result<ParallelCorpus> {
    let folder = tempfile::tempdir().unwrap();
    file(&folder, "train.tok.de", source.as_bytes());
    file(&folder, "train.tok.en", target.as_bytes());
    ParallelCorpus::open(folder.path().join("train.tok"), "de", "en", empty)
}

#[test]
fn a_corpus_is_aligned_line_by_line() {
    let read = corpus("ein hund\r\nzwei katzen .\n", "a dog\ntwo cats .", EmptyLines::Error).unwrap();
    assert_eq!(
        (read.source(), read.target()),
        (&["ein hund".into(), "zwei katzen .".into()][..], &["a dog".into(), "two cats .".into()][..])
    );
    let de = WordVocab::build(read.source(), 1).unwrap();
    let en = WordVocab::build(read.target(), 1).unwrap();
    let pairs = read.encode(&de, &en).unwrap();
    assert_eq!((pairs.lengths(), pairs.len()), (vec![(3, 4), (4, 5)], 2));
    let loader = DataLoader::new(pairs, 2).bucket_by_length(&[(3, 4), (4, 5)], Seed(1)).unwrap();
    let (source, target) = loader.batches(Position::default(), &Device::Cpu).unwrap().next().unwrap().unwrap();
    assert_eq!((source.lengths, target.lengths), (vec![3, 4], vec![4, 5]));
    let target = target.values.to_vec2::<u32>().unwrap();
    assert_eq!((target[0][0], target[0][3], target[0][4]), (WordVocab::BOS, WordVocab::EOS, WordVocab::PAD));
    assert_eq!(en.decode(&target[1]).unwrap(), "two cats .");
}

#[test]
fn lines_that_do_not_match_are_errors() {
    let message = error(corpus("a\nb\n", "a\n", EmptyLines::Skip));
    assert!(message.contains("train.tok.de: 2 lines, but ") && message.ends_with("train.tok.en has 1"), "{message}");
    let message = error(corpus("a\n \n", "a\nb\n", EmptyLines::Error));
    assert!(message.ends_with("train.tok.de:2: empty line"), "{message}");
    assert!(error(corpus("a\nb\n", "\nb\n", EmptyLines::Error)).ends_with("train.tok.en:1: empty line"));
    assert_eq!(corpus("a\n\nc", "x\ny\nz", EmptyLines::Skip).unwrap().target(), ["x", "z"]);
    assert!(error(corpus("", "", EmptyLines::Skip)).ends_with("no lines"));
    assert!(error(corpus("\n", "\n", EmptyLines::Skip)).ends_with("no lines"));
    assert_eq!(
        error(TokenPairs::new(vec![(vec![1], vec![])])),
        "pair 0: expected at least one token on each side, got none"
    );
}

#[test]
fn tokens_of_a_vocabulary_train_from_a_dataset_of_ones_own() {
    let vocab = CharVocab::from_text("abc").unwrap();
    let words = ["ab", "c", "abca"]
        .map(|w| (glassbox_core::dataset::Sequence::from_ids(&vocab.encode(w).unwrap()).unwrap(), 1u32));
    let loader = DataLoader::new(VecDataset(words.to_vec()), 3);
    let (padded, classes) = loader.batches(Position::default(), &Device::Cpu).unwrap().next().unwrap().unwrap();
    assert_eq!((padded.values.dims(), padded.lengths, classes.dims()), (&[3, 4][..], vec![2, 1, 4], &[3][..]));
}
