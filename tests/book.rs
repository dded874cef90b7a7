//! What the book says: its figures are there, its links lead somewhere, the numbers that it computes by hand are right.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/book/src")
}

fn chapter(name: &str) -> String {
    std::fs::read_to_string(source().join(name)).unwrap()
}

fn chapters() -> Vec<String> {
    let files = std::fs::read_dir(source()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    names
}

/// The targets of the links and pictures of a text.
fn links(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_string()).collect()
}

/// The rows `| `name` | how | value |` of a chapter.
fn numbers(text: &str) -> BTreeMap<String, f64> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells.first()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_string(), cells.last()?.parse().ok()?))
    };
    text.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

/// Everything in plain f64, apart from the project.
#[test]
fn backpropagation_by_hand_is_right() {
    let said = numbers(&chapter("backpropagation.md"));
    let (x, t, w1, w2) = (1.0f64, 2.0f64, 0.5f64, 2.0f64);
    let forward = |w1: f64, w2: f64| {
        let z = w1 * x;
        let h = z.tanh();
        let y = w2 * h;
        (z, h, y, (y - t).powi(2))
    };
    let (z, h, y, loss) = forward(w1, w2);
    let dy = 2.0 * (y - t);
    let (dw2, dh) = (dy * h, dy * w2);
    let dz = dh * (1.0 - h * h);
    let dw1 = dz * x;
    let (after1, after2) = (w1 - 0.1 * dw1, w2 - 0.1 * dw2);
    let (_, _, y_after, loss_after) = forward(after1, after2);
    let right = [
        ("z", z),
        ("h", h),
        ("y", y),
        ("L", loss),
        ("dL/dy", dy),
        ("dL/dw2", dw2),
        ("dL/dh", dh),
        ("dL/dz", dz),
        ("dL/dw1", dw1),
        ("w1 after", after1),
        ("w2 after", after2),
        ("y after", y_after),
        ("L after", loss_after),
    ];
    assert_eq!(said.len(), right.len(), "{said:?}");
    for (name, value) in right {
        // Six digits after the point are printed.
        assert!((said[name] - value).abs() < 5.1e-7, "{name}: {} in the book, {value}", said[name]);
    }
    // The derivatives themselves, by differences.
    let slope = |f: &dyn Fn(f64) -> f64| (f(1e-6) - f(-1e-6)) / 2e-6;
    assert!((slope(&|e| forward(w1 + e, w2).3) - dw1).abs() < 1e-6);
    assert!((slope(&|e| forward(w1, w2 + e).3) - dw2).abs() < 1e-6);
}

#[test]
fn every_link_and_figure_is_there_and_every_chapter_is_listed() {
    let listed: BTreeSet<String> = links(&chapter("SUMMARY.md")).into_iter().collect();
    let (mut shown, names) = (BTreeSet::new(), chapters());
    for name in &names {
        assert!(name == "SUMMARY.md" || listed.contains(name), "{name} is not in the summary");
        for link in links(&chapter(name)) {
            assert!(link.starts_with("https://") || source().join(&link).exists(), "{name}: {link}");
            shown.extend(link.strip_prefix("figures/").map(str::to_string));
        }
    }
    let files = std::fs::read_dir(source().join("figures")).unwrap();
    let made: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(made, shown, "figures made and figures shown");
}
