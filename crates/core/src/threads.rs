//! Where the work is done.

/// Runs `work` on a thread of the pool (rayon's) that the kernels compute on.
///
/// From there a parallel operation starts at once; from any other thread each one is handed over to the pool while that
/// thread sleeps, which costs some ten microseconds an operation. The trainer runs its steps so; a training loop of one's
/// own gains by running its forward and backward in here.
///
/// ```
/// assert_eq!(glassbox_core::on_pool(|| 6 * 7), 42);
/// ```
pub fn on_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
