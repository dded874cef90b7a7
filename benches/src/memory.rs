//! The most memory that this process had resident.

/// In bytes; none where the system does not tell. The kernel's mark in /proc begins anew with a program, where that of
/// `getrusage` goes on from the process that started it.
#[cfg(target_os = "linux")]
pub fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = mark.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// In bytes; none where the system does not tell.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn peak_rss() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let peak = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Apple's systems count bytes, the others kibibytes.
    Some(if cfg!(target_vendor = "apple") { peak } else { peak * 1024 })
}

/// None: this system is not asked.
#[cfg(not(unix))]
pub fn peak_rss() -> Option<u64> {
    None
}
