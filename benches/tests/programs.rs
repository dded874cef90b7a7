//! What the benchmark program promises of its last line.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::process::{Command, Output};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_glassbox-bench")).args(args).output().unwrap()
}

fn result(args: &[&str]) -> Value {
    let output = run(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn error(args: &[&str]) -> String {
    let output = run(args);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// One step of every workload, as small as it gets.
#[test]
fn every_workload_takes_a_step() {
    for name in ["cnn", "lstm", "gpt-small", "gpt-baby", "dcgan", "resnet18", "unet", "bigru", "seq2seq"] {
        let length: &[&str] =
            if matches!(name, "lstm" | "bigru" | "gpt-small" | "gpt-baby") { &["--length", "4"] } else { &[] };
        let line = ["--workload", name, "--steps", "1", "--batch", "2", "--threads", "2", "--json"];
        let result = result(&[&line[..], length].concat());
        assert_eq!((&result["workload"], &result["threads"]), (&Value::from(name), &Value::from(2)));
        for key in ["median_ms", "samples_per_second", "flops_per_second", "peak_share"] {
            assert!(result[key].as_f64().unwrap() > 0.0, "{name} {key}: {result}");
        }
        assert_eq!(result["quartiles_ms"].as_array().unwrap().len(), 2);
        let samples = result["samples_per_second"].as_f64().unwrap() * result["median_ms"].as_f64().unwrap() / 1e3;
        assert!((samples - 2.0).abs() < 1e-9, "{name}: {samples} samples a step");
        if cfg!(target_os = "linux") {
            assert!(result["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
        }
    }
}

#[test]
fn operations_are_those_of_the_products() {
    let cnn = 28 * 28 * 32 * 9 + 14 * 14 * 64 * 288 + 3136 * 128 + 1280;
    let lstm = 64 * (4 * 256 * 384 + 256 * 65);
    for (name, multiply_adds) in [("cnn", cnn), ("lstm", lstm)] {
        let result = result(&["--workload", name, "--steps", "1", "--batch", "1", "--json"]);
        let flops = result["flops_per_second"].as_f64().unwrap() * result["median_ms"].as_f64().unwrap() / 1e3;
        assert!((flops / f64::from(6 * multiply_adds) - 1.0).abs() < 1e-9, "{name}: {flops}");
    }
}

#[test]
fn what_cannot_be_is_said() {
    assert!(error(&["--workload", "nope"]).contains("possible values: cnn, lstm, gpt-small"));
    assert!(error(&["--workload", "cnn", "--length", "4"]).contains("cnn has no sequences"));
    assert!(error(&["--workload", "cnn", "--check", "nothing.safetensors"]).contains("nothing.safetensors"));
    assert!(error(&["--loading", "cifar", "--data", "nowhere"]).contains("nowhere"));
    assert!(error(&["--loading", "mnist"]).contains("--data"));
    assert!(error(&[]).contains("--workload"));
}
