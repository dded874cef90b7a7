//! How many threads compute.

use std::process::Command;

use anyhow::Context;

/// The kernels' threads are rayon's. Candle has a pool of its own, and tells `gemm` how many threads a product takes; both
/// numbers it reads from the environment, at any time, with no other way to set them.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Returns where this process computes with `threads` threads. Otherwise the program runs once more, from its start, in an
/// environment that says so: changing one's own environment is not safe while other threads may read it.
pub fn compute_with(threads: usize) -> anyhow::Result<()> {
    let threads = threads.to_string();
    if VARIABLES.iter().all(|name| std::env::var(name).is_ok_and(|value| value == threads)) {
        return Ok(());
    }
    let program = std::env::current_exe().context("this program's own file is unknown")?;
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).envs(VARIABLES.map(|name| (name, &threads)));
    run_instead(again).context("the program could not start itself again")
}

/// Runs `command` in this process's place.
#[cfg(unix)]
fn run_instead(mut command: Command) -> anyhow::Result<()> {
    Err(std::os::unix::process::CommandExt::exec(&mut command).into())
}

/// Runs `command`, then ends as it did.
#[cfg(not(unix))]
fn run_instead(mut command: Command) -> anyhow::Result<()> {
    std::process::exit(command.status()?.code().unwrap_or(1))
}
