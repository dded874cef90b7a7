//! The fault zoo: defects that are planted must be found, in the right layer; healthy runs must not alarm.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod faults;
mod healthy;
mod run;

use faults::{FAULTS, Fault};

const SEEDS: u64 = 5;

/// Whether the fault is found, and in the right place.
fn examine(fault: &Fault, seed: u64) -> (bool, bool) {
    let findings = (fault.run)(seed);
    let told: Vec<_> = findings.iter().filter(|f| fault.rules.contains(&f.rule.as_str())).collect();
    let placed = match fault.layer {
        None => true,
        Some(layer) => {
            told.iter().any(|f| f.layer.as_deref() == Some(layer) || f.evidence.contains(&format!("`{layer}`")))
        }
    };
    if told.is_empty() || !placed {
        let seen: Vec<String> = findings.iter().map(|f| format!("{} {:?}: {}", f.rule, f.layer, f.evidence)).collect();
        eprintln!("{} (seed {seed}): expected {:?} in {:?}, found {seen:#?}", fault.name, fault.rules, fault.layer);
    }
    (!told.is_empty(), !told.is_empty() && placed)
}

/// 95 % of the planted defects are found, 90 % in the right layer.
#[test]
fn planted_defects_are_found() {
    assert!(FAULTS.len() >= 24, "{}", FAULTS.len());
    let results: Vec<(bool, bool)> =
        FAULTS.iter().flat_map(|fault| (0..SEEDS).map(|seed| examine(fault, seed))).collect();
    let share = |count: usize| count as f64 / results.len() as f64;
    let found = share(results.iter().filter(|r| r.0).count());
    let placed = share(results.iter().filter(|r| r.1).count());
    eprintln!("{} defects, {} runs: {found:.3} found, {placed:.3} in the right layer", FAULTS.len(), results.len());
    assert!(found >= 0.95, "found {found}");
    assert!(placed >= 0.90, "in the right layer {placed}");
}

/// At most one false alarm in twenty healthy runs.
#[test]
fn healthy_runs_do_not_alarm() {
    let mut alarms = 0;
    let mut runs = 0;
    for (name, run) in healthy::RUNS {
        for seed in 0..SEEDS {
            let findings = run(seed);
            runs += 1;
            if !findings.is_empty() {
                alarms += 1;
                let told: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.rule, f.evidence)).collect();
                eprintln!("false alarm in {name} (seed {seed}): {told:#?}");
            }
        }
    }
    assert!(runs >= 20, "{runs}");
    assert!(alarms <= 1, "{alarms} false alarms in {runs} runs");
}
