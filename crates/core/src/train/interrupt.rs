//! Ctrl-C as a wish to end after the current step.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::{Error, Result};

/// A flag that the first Ctrl-C (or termination signal) sets, for [`Trainer::stop_when`](super::Trainer::stop_when). The
/// second one ends the process at once with exit code 130.
///
/// # Errors
/// Another handler of Ctrl-C is installed already.
pub fn flag() -> Result<Arc<AtomicBool>> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(Arc::clone(flag));
    }
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let handler = move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping after this step; once more to stop at once");
    };
    ctrlc::set_handler(handler).map_err(|e| Error::invalid("Ctrl-C", "no other handler", e))?;
    Ok(Arc::clone(FLAG.get_or_init(|| flag)))
}
