//! Timing a workload's steps.

use std::time::Instant;

use glassbox::on_pool;
use serde_json::{Value, json};

use crate::memory::peak_rss;
use crate::peak::peak_flops;
use crate::workloads::{Name, Workload};

const WARM_UP: usize = 3;

/// Takes `steps` steps after some to warm up, prints what they took, and gives it as a JSON object.
pub fn measure(name: Name, workload: &mut dyn Workload, steps: usize, threads: usize) -> anyhow::Result<Value> {
    let peak = peak_flops(threads);
    for _ in 0..WARM_UP {
        on_pool(|| workload.step())?;
    }
    let mut milliseconds = Vec::with_capacity(steps);
    for _ in 0..steps {
        let start = Instant::now();
        // Dropped within the measurement: freeing a step's results is a part of it.
        on_pool(|| workload.step().map(drop))?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds.sort_by(f64::total_cmp);
    let [first, median, third] = [0.25, 0.5, 0.75].map(|share| quantile(&milliseconds, share));

    let seconds = median / 1e3;
    let (samples, rate) = (workload.samples() as f64 / seconds, workload.flops()? / seconds);
    let tokens = workload.tokens().map(|tokens| tokens as f64 / seconds);
    let (share, memory) = (rate / peak, peak_rss());

    println!("{name}: {} samples a batch, {steps} steps, threads: {threads}", workload.samples());
    println!("  step        {median:.3} ms (quartiles {first:.3} and {third:.3})");
    println!("  throughput  {samples:.1} samples/s{}", tokens.map_or(String::new(), |t| format!(", {t:.0} tokens/s")));
    println!("  arithmetic  {:.1} GFLOP/s, {:.1} % of the peak of {:.1}", rate / 1e9, share * 1e2, peak / 1e9);
    println!(
        "  memory      {}",
        memory.map_or("unknown".into(), |bytes| format!("{:.1} MB at most", bytes as f64 / 1e6))
    );
    let mut result = json!({
        "workload": name.to_string(),
        "median_ms": median,
        "quartiles_ms": [first, third],
        "samples_per_second": samples,
        "flops_per_second": rate,
        "peak_flops_per_second": peak,
        "peak_share": share,
        "peak_rss_bytes": memory,
        "threads": threads,
    });
    if let Some(tokens) = tokens {
        result["tokens_per_second"] = json!(tokens);
    }
    Ok(result)
}

/// The value below which `share` of the `sorted` values lie, between the two nearest.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_lie_between_the_nearest_values() {
        assert_eq!([0.25, 0.5, 0.75].map(|share| quantile(&[1.0, 2.0, 3.0, 10.0], share)), [1.75, 2.5, 4.75]);
        assert_eq!(quantile(&[7.0], 0.75), 7.0);
    }
}
