//! The rate of every step.

use glassbox_core::optim::{
    Constant, Cosine, CosineRestarts, Exponential, InverseSqrt, MultiStep, OneCycle, Polynomial, ReduceOnPlateau,
    StepDecay, Warmup,
};
use glassbox_core::{Progress, Schedule, Seed};

use crate::{Fixtures, assert_close, assert_message, through_files};

const BASE: f64 = 0.1;

fn at(step: u64, total_steps: Option<u64>) -> Progress {
    Progress { step, epoch: 1, steps_per_epoch: 10, total_steps, last_of_epoch: false, seed: Seed(0) }
}

/// The rates of the steps 1, 2, …, `steps` of a run of that length.
fn rates(schedule: &impl Schedule, steps: usize) -> Vec<f64> {
    let total = Some(steps as u64);
    (1..=steps as u64).map(|step| schedule.rate(BASE, &at(step, total)).unwrap()).collect()
}

/// In f64. PyTorch multiplies its last rate at every step where these are closed formulas: up to 100 roundings of 1e-16,
/// which its recursive cosine enlarges near the end, where 1 + cos loses digits. Rates are below 1: the tolerance is
/// absolute.
#[test]
fn rates_are_pytorchs() {
    let fixtures = Fixtures::load();
    let cases: Vec<(&str, Box<dyn Schedule>)> = vec![
        ("step", Box::new(StepDecay::new(7, 0.3))),
        ("multi_step", Box::new(MultiStep::new([21, 4, 20], 0.2))),
        ("exponential", Box::new(Exponential::new(0.95))),
        ("cosine", Box::new(Cosine::new().eta_min(0.003))),
        ("cosine_restarts", Box::new(CosineRestarts::new(10).eta_min(0.003))),
        ("cosine_restarts_doubled", Box::new(CosineRestarts::new(5).t_mult(2))),
        ("polynomial", Box::new(Polynomial::new(2.5).total_steps(40))),
        ("linear", Box::new(Polynomial::new(1.0))),
        ("one_cycle", Box::new(OneCycle::new(0.5))),
        ("one_cycle_set", Box::new(OneCycle::new(0.5).pct_start(0.15).div_factor(10.0).final_div_factor(100.0))),
        ("inverse_sqrt", Box::new(InverseSqrt::new(12))),
        ("warmup_cosine", Box::new(Warmup::new(8, Cosine::new()))),
        ("warmup_step", Box::new(Warmup::new(5, StepDecay::new(6, 0.5)))),
    ];
    for (name, schedule) in cases {
        let want = fixtures.values(&format!("schedule/{name}"));
        assert_close(&rates(&schedule, want.len()), &want, 1e-12, name);
    }
    assert_eq!(rates(&Constant, 3), [BASE; 3]);
}

#[test]
fn plateaus_are_pytorchs_and_resume() {
    let fixtures = Fixtures::load();
    let losses = fixtures.values("losses");
    let set = ReduceOnPlateau::new().factor(0.3).patience(1).threshold(0.01).cooldown(3).min_lr(0.002);
    for (name, mut schedule) in [("plateau", ReduceOnPlateau::new().factor(0.5).patience(2)), ("plateau_set", set)] {
        let fresh = schedule;
        let mut got = Vec::new();
        for &loss in &losses {
            got.push(schedule.rate(BASE, &at(1, None)).unwrap());
            schedule.observe(loss);
            // A new one with the saved state takes over after every observation.
            let state = through_files(&schedule.state().unwrap());
            schedule = fresh;
            schedule.load_state(&state).unwrap();
        }
        assert_close(&got, &fixtures.values(&format!("schedule/{name}")), 1e-12, name);
    }
}

#[test]
fn rates_hold_after_the_end() {
    for (schedule, want) in [
        (Box::new(Cosine::new().eta_min(0.01).total_steps(10)) as Box<dyn Schedule>, 0.01),
        (Box::new(OneCycle::new(0.5).total_steps(10)), 0.5 / 25.0 / 1e4),
        (Box::new(Polynomial::new(1.0).total_steps(10)), 0.0),
    ] {
        assert_close(&[schedule.rate(BASE, &at(1000, None)).unwrap()], &[want], 1e-15, "after the end");
    }
}

#[test]
fn the_shortest_runs_have_finite_rates() {
    let schedules: Vec<Box<dyn Schedule>> = vec![
        Box::new(OneCycle::new(0.5)),
        Box::new(OneCycle::new(0.5).pct_start(0.0)),
        Box::new(OneCycle::new(0.5).pct_start(1.0)),
        Box::new(Cosine::new()),
        Box::new(Warmup::new(5, OneCycle::new(0.5))),
        Box::new(CosineRestarts::new(1).t_mult(u64::MAX)),
    ];
    for schedule in &schedules {
        for steps in 1..12 {
            assert!(rates(schedule, steps).iter().all(|rate| (0.0..=0.5).contains(rate)));
        }
    }
    assert!(schedules[5].rate(BASE, &at(u64::MAX, None)).unwrap().is_finite());
}

#[test]
fn wrong_settings_are_errors() {
    let unlimited = at(1, None);
    for schedule in [Box::new(OneCycle::new(0.5)) as Box<dyn Schedule>, Box::new(Warmup::new(2, Cosine::new()))] {
        assert_message(schedule.rate(BASE, &unlimited), "expected a run limited by steps or epochs");
    }
    let wrong: Vec<(Box<dyn Schedule>, &str)> = vec![
        (Box::new(StepDecay::new(0, 0.5)), "StepDecay step_size: expected 1 or more, got 0"),
        (Box::new(StepDecay::new(1, f64::NAN)), "StepDecay gamma"),
        (Box::new(MultiStep::new([1], -1.0)), "MultiStep gamma"),
        (Box::new(Exponential::new(f64::INFINITY)), "Exponential gamma"),
        (Box::new(Cosine::new().eta_min(-1.0)), "Cosine eta_min"),
        (Box::new(Cosine::new().total_steps(0)), "Cosine total_steps"),
        (Box::new(CosineRestarts::new(0)), "CosineRestarts t_0"),
        (Box::new(CosineRestarts::new(1).t_mult(0)), "CosineRestarts t_mult"),
        (Box::new(Polynomial::new(-1.0)), "Polynomial power"),
        (Box::new(InverseSqrt::new(0)), "InverseSqrt warmup_steps"),
        (Box::new(OneCycle::new(-1.0)), "OneCycle max_lr"),
        (Box::new(OneCycle::new(0.5).pct_start(1.5)), "OneCycle pct_start"),
        (Box::new(OneCycle::new(0.5).div_factor(0.0)), "OneCycle div_factor"),
        (Box::new(Warmup::new(0, Constant)), "Warmup steps"),
        (Box::new(ReduceOnPlateau::new().factor(1.0)), "ReduceOnPlateau factor"),
    ];
    for (schedule, message) in wrong {
        assert_message(schedule.rate(BASE, &at(1, Some(10))), message);
    }
}
