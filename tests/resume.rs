//! An example that is killed at random moments and resumed ends with the same bytes as one that never was.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use glassbox::Seed;
use support::example;

/// Short epochs, so that a kill lands before, in and after checkpoints.
fn digits(out: &Path) -> Command {
    let mut command = example("cnn_digits");
    command.args(["--quiet", "--epochs", "4", "--out"]).arg(out);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Two trainings, one after the other.
fn forecast(out: &Path) -> Command {
    let mut command = example("rnn_forecast");
    command.args(["--quiet", "--epochs", "4", "--steps", "40", "--hidden-size", "16", "--batch-size", "256", "--out"]);
    command.arg(out).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn model(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("model.safetensors")).unwrap()
}

#[test]
fn killed_at_ten_random_moments_and_resumed_it_ends_with_the_same_bytes() {
    kill_and_resume(digits, 10);
}

#[test]
fn so_does_a_forecaster_and_what_it_is_compared_with() {
    kill_and_resume(forecast, 4);
}

fn kill_and_resume(command: fn(&Path) -> Command, attempts: usize) {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let started = Instant::now();
    assert!(command(&whole).status().unwrap().success());
    let duration = started.elapsed();

    let mut rng = Seed(11).rng();
    let mut killed = 0;
    for attempt in 0..attempts {
        let out = folder.path().join(format!("killed-{attempt}"));
        let mut run = command(&out).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(duration.as_secs_f64() * rng.uniform()));
        killed += usize::from(run.try_wait().unwrap().is_none());
        // SIGKILL on Unix, TerminateProcess on Windows: nothing of the program's own runs after it.
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(command(&out).arg("--resume").status().unwrap().success());
        assert_eq!(model(&out), model(&whole), "attempt {attempt}");
    }
    // The moments are drawn over the time of one run; on a busy machine a later run may be quicker than the first.
    assert!(killed >= attempts / 2, "only {killed} of {attempts} runs were still going when they were to be killed");
}

#[test]
fn two_runs_with_the_same_seed_write_the_same_bytes_and_another_seed_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, seed: &str| {
        let out = folder.path().join(name);
        assert!(digits(&out).args(["--steps", "30", "--seed", seed]).status().unwrap().success());
        model(&out)
    };
    let first = run("a", "3");
    assert_eq!(first, run("b", "3"));
    assert_ne!(first, run("c", "4"));
}
