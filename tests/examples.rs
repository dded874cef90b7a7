//! What the examples promise: their scores, their files, their last line.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

/// It shows how a layer of one's own is tested; cargo runs no tests of examples by itself, so they run here.
#[allow(dead_code)]
#[path = "../examples/custom_layer.rs"]
mod custom_layer;
mod support;

use std::path::Path;

use support::{example, output, result};

#[test]
fn cnn_digits_reads_at_least_985_of_1000_digits_it_has_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let run = output("cnn_digits", &[], folder.path());
    let scores = result(&run);
    assert!(scores["accuracy"].as_f64().unwrap() >= 0.985, "{scores}");
    assert!(scores["validation_loss"].as_f64().unwrap() < 0.1, "{scores}");
    for file in ["config.json", "metrics.jsonl", "model.safetensors", "checkpoints"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
    let text = String::from_utf8_lossy(&run.stdout);
    for part in ["multiply-adds", "trainable", "█", "read "] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    let quiet = output("cnn_digits", &["--quiet", "--steps", "2"], folder.path());
    assert_eq!(String::from_utf8_lossy(&quiet.stdout).lines().count(), 1);
    assert!(quiet.stderr.is_empty());
}

#[test]
fn mlp_tabular_tells_975_of_1000_tumours_apart() {
    let folder = tempfile::tempdir().unwrap();
    let scores = result(&output("mlp_tabular", &[], folder.path()));
    assert!(scores["accuracy"].as_f64().unwrap() >= 0.975, "{scores}");
    assert!(scores["roc_auc"].as_f64().unwrap() >= 0.99, "{scores}");
}

#[test]
fn rnn_forecast_beats_the_naive_forecast_and_draws_it() {
    let folder = tempfile::tempdir().unwrap();
    let scores = result(&output("rnn_forecast", &["--quiet", "--hidden-size", "64"], folder.path()));
    let score = |name: &str| scores[name].as_f64().unwrap();
    // 124 test steps less the horizon, and one.
    assert_eq!(score("num_windows"), 101.0);
    assert!(
        score("mse") < score("naive_mse") && score("mse").is_finite() && score("dlinear_mse").is_finite(),
        "{scores}"
    );
    for file in ["config.json", "metrics.jsonl", "model.safetensors", "dlinear/model.safetensors"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
    let svg = std::fs::read_to_string(folder.path().join("forecast.svg")).unwrap();
    for part in ["prefers-color-scheme: dark", "co2 (ppm)", "time, in steps of 1 month", "90 % interval", "2025-"] {
        assert!(svg.contains(part), "`{part}` is not in: {svg}");
    }
    let csv = std::fs::read_to_string(folder.path().join("forecast.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 24);
    assert!(csv.starts_with("time,\"co2 0.05\",\"co2 0.5\",\"co2 0.95\"\n2026-01,"), "{csv}");
}

#[test]
fn a_layer_and_a_loop_of_ones_own_learn_too() {
    for name in ["custom_layer", "custom_loop"] {
        let folder = tempfile::tempdir().unwrap();
        let scores = result(&output(name, &["--quiet"], folder.path()));
        assert!(scores["accuracy"].as_f64().unwrap() >= 0.95, "{name}: {scores}");
    }
}

#[test]
fn a_loop_of_ones_own_resumes_to_the_same_bytes() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    result(&output("custom_loop", &["--quiet", "--epochs", "4"], whole.path()));
    result(&output("custom_loop", &["--quiet", "--epochs", "2"], parts.path()));
    result(&output("custom_loop", &["--quiet", "--epochs", "4", "--resume"], parts.path()));
    let model = |folder: &tempfile::TempDir| std::fs::read(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(model(&whole), model(&parts));
}

/// Synthetic words, which say that the program works, not how well it hears.
#[test]
fn rnn_speech_learns_words_and_says_which_one_a_recording_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = output("rnn_speech", &["--epochs", "12"], folder.path());
    let scores = result(&run);
    assert!(scores["accuracy"].as_f64().unwrap() >= 0.95, "{scores}");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(text.contains("synthetic") && text.contains("330 recordings to train on, 150 to test on"), "{text}");
    let file = folder.path().join("melodies/7_low_0.wav");
    let heard = output("rnn_speech", &["--listen", &file.to_string_lossy()], folder.path());
    let text = String::from_utf8_lossy(&heard.stdout);
    assert!(heard.status.success());
    assert!(text.starts_with("7 ") && text.lines().count() == 10, "{text}");
}

#[test]
fn rnn_speech_reads_a_folder_per_class_and_leaves_speakers_out() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let scores = result(&output("rnn_speech", &["--quiet", "--steps", "2", "--speakers"], &out));
    assert!(scores["speakers_accuracy"].as_f64().is_some(), "{scores}");
    assert!(out.join("without-high/model.safetensors").exists());
    let melodies = out.join("melodies");
    for class in ["2", "5"] {
        std::fs::create_dir_all(folder.path().join("classes").join(class)).unwrap();
        for index in 0..5 {
            let (from, to) = (format!("{class}_low_{index}.wav"), format!("classes/{class}/{index}.wav"));
            std::fs::copy(melodies.join(from), folder.path().join(to)).unwrap();
        }
    }
    let data = folder.path().join("classes");
    let args = ["--quiet", "--steps", "2", "--data", &data.to_string_lossy()];
    assert!(result(&output("rnn_speech", &args, &out))["accuracy"].as_f64().is_some());
}

/// A small network and a short run.
const SMALL: &str = "--hidden-size 32 --embedding-dim 16 --num-layers 1 --dropout 0 --seq-len 16 --batch-size 8 --lr 0.02 \
                     --epochs 6";

/// A text that repeats itself.
fn small_text(folder: &Path) -> String {
    let path = folder.join("text.txt");
    std::fs::write(&path, "the cat sat on the mat and the dog sat on the cat.\n".repeat(120)).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn rnn_text_learns_a_text_and_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (text, out) = (small_text(folder.path()), folder.path().join("run"));
    let flags: Vec<&str> = ["--data", &text].into_iter().chain(SMALL.split_whitespace()).collect();
    let run = output("rnn_text", &flags, &out);
    let scores = result(&run);
    let value = |name: &str| scores[name].as_f64().unwrap();
    assert!(value("validation_loss") < 0.5, "{scores}");
    assert!((value("perplexity") - value("validation_loss").exp()).abs() < 1e-9, "{scores}");
    assert!((value("bits_per_character") - value("validation_loss").exp().log2()).abs() < 1e-9, "{scores}");
    let shown = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!((1..=6).all(|epoch| shown.contains(&format!("--- after epoch {epoch}\n"))), "{shown}");

    let generate =
        |more: &[&str]| output("rnn_text", &[&["--generate", "the dog ", "--length", "21"], more].concat(), &out);
    let written = generate(&["--temperature", "0"]);
    assert_eq!(String::from_utf8_lossy(&written.stdout), "the dog sat on the cat.\nthe c\n");
    let drawn = |seed| generate(&["--temperature", "3", "--top-k", "5", "--top-p", "0.9", "--seed", seed]).stdout;
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));

    let unknown = output("rnn_text", &["--generate", "the zebra"], &out);
    let error = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success() && error.contains("'z' (U+007A)"), "{error}");
    let untrained = output("rnn_text", &["--generate", "a"], &folder.path().join("none"));
    assert!(String::from_utf8_lossy(&untrained.stderr).contains("--generate needs the model"));
}

#[test]
fn rnn_text_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let run = |out: &Path, more: &[&str]| {
        // Two layers, so that dropout is drawn, too; the schedule is that of the whole run either way.
        let args = ["--quiet", "--num-layers", "2", "--dropout", "0.2", "--seq-len", "32", "--hidden-size", "24"];
        example("rnn_text").args(args).args(["--batch-size", "8", "--epochs", "2", "--out"]).arg(out).args(more).spawn()
    };
    assert!(run(&whole, &[]).unwrap().wait().unwrap().success());
    let mut killed = run(&parts, &[]).unwrap();
    let is_whole = |file: std::io::Result<std::fs::DirEntry>| {
        file.is_ok_and(|file| file.path().extension().is_some_and(|extension| extension == "safetensors"))
    };
    while !parts.join("checkpoints").read_dir().is_ok_and(|mut files| files.any(is_whole)) {
        assert!(killed.try_wait().unwrap().is_none(), "it ended before its first checkpoint was seen");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(run(&parts, &["--resume"]).unwrap().wait().unwrap().success());
    let model = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert_eq!(model(&whole), model(&parts));
}

#[test]
fn help_says_what_each_flag_does_with_its_default() {
    let flags =
        ["--data", "--out", "--seed", "--epochs", "--steps", "--batch-size", "--lr", "--device", "--resume", "--quiet"];
    // With how many defaults of its own each has.
    let names = [
        ("cnn_digits", 0),
        ("cnn_mnist", 0),
        ("mlp_tabular", 0),
        ("rnn_text", 9),
        ("rnn_forecast", 0),
        ("rnn_speech", 0),
        ("custom_layer", 0),
        ("custom_loop", 0),
    ];
    for (name, own) in names {
        let help = support::example(name).arg("--help").output().unwrap();
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(help.status.success());
        flags.iter().for_each(|flag| assert!(text.contains(flag), "{name} {flag}: {text}"));
        assert_eq!(text.matches("[default: ").count(), 7 + own, "{name}: {text}");
    }
    let help = support::example("rnn_translate").arg("--help").output().unwrap();
    let text = String::from_utf8_lossy(&help.stdout);
    let own = ["--source", "--target", "--beam", "--length-penalty", "--translate"];
    flags.iter().chain(&own).for_each(|flag| assert!(text.contains(flag), "{flag}: {text}"));
    assert_eq!(text.matches("[default: ").count(), 11, "{text}");
}

#[test]
fn cnn_mnist_reads_idx_files() {
    let folder = tempfile::tempdir().unwrap();
    // 100 images of one bright column each; its place tells the class.
    let labels: Vec<u8> = (0..100).map(|i| i % 10).collect();
    let pixels = labels
        .iter()
        .flat_map(|&label| (0..28 * 28).map(move |at| if at % 28 / 2 == usize::from(label) + 2 { 255 } else { 0 }));
    let header = |kind: u8, dims: &[u32]| {
        let dims = dims.iter().flat_map(|n| n.to_be_bytes());
        [0, 0, 8, kind].into_iter().chain(dims).collect::<Vec<u8>>()
    };
    let images: Vec<u8> = header(3, &[100, 28, 28]).into_iter().chain(pixels).collect();
    let labels = [header(1, &[100]), labels].concat();
    for part in ["train", "t10k"] {
        std::fs::write(folder.path().join(format!("{part}-images-idx3-ubyte")), &images).unwrap();
        std::fs::write(folder.path().join(format!("{part}-labels-idx1-ubyte")), &labels).unwrap();
    }
    let out = folder.path().join("run");
    let data = folder.path().to_string_lossy();
    let run = ["--quiet", "--data", &data, "--batch-size", "20", "--epochs", "8"];
    let scores = result(&output("cnn_mnist", &run, &out));
    assert!(scores["accuracy"].as_f64().unwrap() >= 0.9, "{scores}");
    assert!(out.join("model.safetensors").exists());
}

#[test]
fn rnn_translate_learns_from_files_and_translates() {
    let folder = tempfile::tempdir().unwrap();
    // Words in reverse: so few that a short run learns them, and four in a line, which BLEU needs at least.
    let words = [["eins", "one"], ["zwei", "two"], ["drei", "three"], ["vier", "four"]];
    let lines = |language: usize| {
        let line = |i: usize| {
            let mut line: Vec<&str> = (0..4).map(|place| words[i / [1, 4, 16, 1][place] % 4][language]).collect();
            if language == 1 {
                line.reverse();
            }
            line.join(" ") + "\n"
        };
        (0..64).map(line).collect::<String>()
    };
    for (language, name) in ["de", "en"].iter().enumerate() {
        for part in ["train.lc.norm.tok", "val", "test_2016"] {
            std::fs::write(folder.path().join(format!("{part}.{name}")), lines(language)).unwrap();
        }
        std::fs::write(folder.path().join(format!("train.{name}.gz")), "not read").unwrap();
    }
    let (data, out) = (folder.path().to_string_lossy(), folder.path().join("run"));
    let run = ["--quiet", "--data", &data, "--batch-size", "16", "--epochs", "12"];
    let scores = result(&output("rnn_translate", &run, &out));
    assert!(scores["bleu"].as_f64().unwrap() > 90.0, "{scores}");
    assert!(scores["perplexity"].as_f64().unwrap() < 2.0, "{scores}");
    let lines = |name: &str| std::fs::read_to_string(out.join(name)).unwrap().lines().count();
    assert_eq!((lines("hypotheses.en"), lines("references.en")), (64, 64));

    let translation = output("rnn_translate", &["--translate", "Zwei vier DREI zwei"], &out);
    let text = String::from_utf8_lossy(&translation.stdout);
    // The search ends when no longer hypothesis can be better, so there may be fewer than its width.
    assert!((1..=5).contains(&text.lines().count()), "{text}");
    assert!(text.lines().next().unwrap().ends_with("two three four two"), "{text}");
}

#[test]
fn rnn_translate_names_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = |args: &[&str], expected: &str| {
        let run = output("rnn_translate", args, &folder.path().join("run"));
        let text = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && text.contains(expected), "{text}");
    };
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let data = folder.path().to_string_lossy();
    let run = ["--quiet", "--data", &data, "--steps", "1"];
    error(&run, "no file train*.de or train*.de.gz");
    ["train.de", "val.de", "test.de", "val.en"].iter().for_each(|name| write(name, "a b\na b\n"));
    write("train.en", "a b\n");
    write("test.en", "a b\na b\n");
    error(&run, "train.de: 2 lines, but ");
    write("train.en", "a b\na b\n");
    write("test.de", "a b\n \n");
    error(&run, "test.de:2: empty line");
    error(&["--translate", "a"], "no trained model: ");
    error(&["--quiet", "--steps", "1", "--source", "fr"], "no file train*.fr");
}
