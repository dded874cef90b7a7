//! Bad input to the examples: exit code 1, an error that says who, expected, got, where, and nothing half-written.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod support;

use std::path::Path;

use support::output;

/// Runs an example that must fail, and checks what its error says.
fn fails(name: &str, args: &[&str], out: &Path, says: &[&str]) {
    let output = output(name, args, out);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{name} {args:?}: {error}");
    assert!(error.contains("error: ") && !error.contains("panicked"), "{error}");
    for part in says {
        assert!(error.contains(part), "{name} {args:?}: `{part}` is not in: {error}");
    }
    assert!(!out.join("model.safetensors").exists(), "a failed run left a model");
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_string_lossy().into_owned()
}

#[test]
fn flags_that_cannot_be_met() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    fails("cnn_digits", &["--device", "tpu"], &out, &["device: expected cpu, cuda", "got `tpu`"]);
    fails("cnn_digits", &["--batch-size", "0"], &out, &["batch size: expected at least 1, got 0"]);
    fails("cnn_digits", &["--lr=-1"], &out, &["learning_rate", "-1"]);
    #[cfg(not(feature = "cuda"))]
    fails("cnn_digits", &["--device", "cuda:1"], &out, &["device `cuda:1`", "--features cuda"]);
    std::fs::write(folder.path().join("file"), "").unwrap();
    fails("cnn_digits", &[], &folder.path().join("file"), &["file"]);
    fails("cnn_digits", &[], &folder.path().join("file/below"), &["file/below"]);
}

#[test]
fn a_learning_rate_that_blows_up_names_the_step_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    fails("cnn_digits", &["--lr", "1e30", "--quiet"], &out, &["at step"]);
}

#[test]
fn the_checkpoint_of_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let first = output("custom_layer", &["--quiet", "--epochs", "1"], &out);
    assert!(first.status.success());
    std::fs::remove_file(out.join("model.safetensors")).unwrap();
    fails("cnn_digits", &["--resume"], &out, &["keys of", "step-", "don't fit: missing"]);
}

#[test]
fn idx_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (empty, cut, magic, label) =
        (path(&folder, "empty"), path(&folder, "cut"), path(&folder, "magic"), path(&folder, "label"));
    std::fs::create_dir(&empty).unwrap();
    fails("cnn_mnist", &[], &out, &["--data is needed"]);
    fails("cnn_mnist", &["--data", &empty], &out, &["train-images-idx3-ubyte"]);

    let images = |count: u32, bytes: usize| {
        let mut file = vec![0, 0, 8, 3];
        [count, 28, 28].iter().for_each(|n| file.extend(n.to_be_bytes()));
        file.extend(vec![7; bytes]);
        file
    };
    let labels = |values: &[u8]| [&[0, 0, 8, 1][..], &(values.len() as u32).to_be_bytes(), values].concat();
    let write = |folder: &str, images: &[u8], labels: &[u8]| {
        std::fs::create_dir(folder).unwrap();
        for part in ["train", "t10k"] {
            std::fs::write(format!("{folder}/{part}-images-idx3-ubyte"), images).unwrap();
            std::fs::write(format!("{folder}/{part}-labels-idx1-ubyte"), labels).unwrap();
        }
    };
    write(&cut, &images(3, 2 * 784 + 5), &labels(&[1, 2, 3]));
    fails("cnn_mnist", &["--data", &cut], &out, &["train-images-idx3-ubyte", "2 of 3"]);
    write(&magic, b"\x01\x02\x03\x04not an IDX file", &labels(&[1]));
    fails("cnn_mnist", &["--data", &magic], &out, &["train-images-idx3-ubyte"]);
    write(&label, &images(2, 2 * 784), &labels(&[3, 11]));
    fails("cnn_mnist", &["--data", &label], &out, &["train-labels-idx1-ubyte", "11"]);
}

#[test]
fn tables() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let file = path(&folder, "table.csv");
    let case = |text: &str, args: &[&str], says: &[&str]| {
        std::fs::write(&file, text).unwrap();
        fails("mlp_tabular", &[&["--data", &file], args].concat(), &out, says);
    };
    let target = ["--target", "c"];
    case("a,b,c\n1,2,x\n", &[], &["--target is needed"]);
    case("a,b,c\n1,2,x\n1,y\n", &target, &["table.csv:3", "row of 2 values, expected 3"]);
    case("a,b,c\n1,2,x\n1,tall,y\n", &target, &["table.csv:3", "b", "tall"]);
    case("a,b,d\n1,2,x\n", &target, &["c", "a, b, d"]);
    case("a,b,c\n", &target, &["table.csv", "row"]);
    case("a,b,c\n1,2,x\n3,4,y\n", &target, &["folds"]);
    std::fs::remove_file(&file).unwrap();
    fails("mlp_tabular", &["--data", &file, "--target", "c"], &out, &["table.csv"]);
}

#[test]
fn recordings() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let data = path(&folder, "data");
    let header = |codec: u16, bits: u16| {
        let mut file = b"RIFF\x34\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        [codec, 1].iter().for_each(|n| file.extend(n.to_le_bytes()));
        [8000, 8000 * u32::from(bits) / 8].iter().for_each(|n| file.extend(n.to_le_bytes()));
        [bits / 8, bits].iter().for_each(|n| file.extend(n.to_le_bytes()));
        file.extend(b"data\x10\0\0\0");
        file.extend([1; 16]);
        file
    };
    let case = |files: &[(&str, &[u8])], says: &[&str]| {
        std::fs::create_dir(&data).unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(format!("{data}/{name}"), bytes).unwrap());
        fails("rnn_speech", &["--data", &data], &out, says);
        std::fs::remove_dir_all(&data).unwrap();
    };
    let good = header(1, 16);
    case(&[], &["data", "no WAV files"]);
    case(&[("notes.txt", b"x")], &["data", "no WAV files"]);
    case(&[("seven.wav", &good)], &["seven.wav", "{class}_{speaker}_{index}"]);
    case(&[("7_ann_0.wav", b"not a recording at all")], &["7_ann_0.wav", "RIFF"]);
    case(&[("7_ann_0.wav", &good[..30])], &["7_ann_0.wav"]);
    case(&[("7_ann_0.wav", &header(85, 16))], &["7_ann_0.wav", "MP3"]);
    case(&[("7_ann_x.wav", &good), ("7_ann_9.wav", &good)], &["7_ann_x.wav", "whole number"]);
    case(&[("7_ann_0.wav", &good)], &["at least one recording in each part"]);
    // The class 8 has one recording: nothing to train on.
    let three = [("7_ann_0.wav", &*good), ("7_ann_5.wav", &good), ("8_ann_0.wav", &good)];
    case(&three, &["class `8`", "at least one recording to train on"]);
    fails("rnn_speech", &["--data", &data], &out, &["data"]);
    fails("rnn_speech", &["--listen", &data], &out, &["train first"]);
}

#[test]
fn series() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    fails("rnn_forecast", &["--horizon", "400"], &out, &["horizon: expected at most", "400"]);
    fails("rnn_forecast", &["--horizon", "0"], &out, &["at least 1"]);
    fails("rnn_forecast", &["--horizon", "18446744073709551615"], &out, &["horizon"]);
    fails("rnn_forecast", &["--input-len", "600"], &out, &["input_len + horizon", "600"]);
    fails("rnn_forecast", &["--period", "5000"], &out, &["--period", "5000"]);
    fails("rnn_forecast", &["--split", "10,20"], &out, &["--split", "three"]);
    fails("rnn_forecast", &["--split", "600,20,1"], &out, &["at most 620"]);
    let file = path(&folder, "series.csv");
    let case = |text: &str, args: &[&str], says: &[&str]| {
        std::fs::write(&file, text).unwrap();
        fails("rnn_forecast", &[&["--data", &file], args].concat(), &out, says);
    };
    case("day,x\n2024-01-01,1\n2024-01-02,2\n2024-01-04,3\n", &[], &["series.csv:4", "irregular", "2024-01-04"]);
    case("day,x\n2024-01-02,1\n2024-01-01,2\n", &[], &["series.csv:3", "out of order"]);
    case("day,x\n2024-01-01,1\n2024-01-02,\n", &[], &["series.csv:3", "column `x`"]);
    case("day,x\n2024-01-01,1\n2024-01-02,2\n", &["--columns", "y"], &["no value column `y`"]);
    let rows: String = (1..=28).map(|day| format!("2024-02-{day:02},{day}\n")).collect();
    case(&format!("day,x\n{rows}"), &["--horizon", "96"], &["horizon: expected at most", "96"]);
    std::fs::remove_file(&file).unwrap();
    fails("rnn_forecast", &["--data", &file], &out, &["series.csv"]);
}
