//! What the tests of the examples share.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program of an example, which `cargo test` builds before it runs the tests.
pub fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let path: PathBuf = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is not built: run `cargo test --workspace`, or `cargo build --examples`",
        path.display()
    );
    Command::new(path)
}

/// Runs an example and gives what it printed.
pub fn output(name: &str, args: &[&str], out: &Path) -> Output {
    example(name).args(args).arg("--out").arg(out).output().unwrap()
}

/// The scores in the line `result {json}` at the end of standard output.
pub fn result(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let last = text.lines().last().unwrap_or_default();
    let json = last.strip_prefix("result ").unwrap_or_else(|| panic!("the last line is `{last}`"));
    serde_json::from_str(json).unwrap()
}
