//! The rights that the daemon needs, looked at before the kernel refuses something half-way.

use std::fs;

/// Each right with its bit (include/uapi/linux/capability.h) and what it is for.
const NEEDED: [(u32, &str, &str); 4] = [
    (12, "CAP_NET_ADMIN", "attach to devices"),
    (21, "CAP_SYS_ADMIN", "enter the namespaces of sandboxes"),
    (38, "CAP_PERFMON", "load programs that compare packet pointers"),
    (39, "CAP_BPF", "load programs and make tables"),
];

/// Which rights are missing.
#[derive(Debug, thiserror::Error)]
#[error("the daemon lacks {missing}; run it as root, or with AmbientCapabilities= as in weir.service")]
pub struct CapabilityError {
    missing: String,
}

/// Whether this process has every right it needs.
///
/// # Errors
/// [`CapabilityError`], with those that are missing and what for.
pub(super) fn check() -> Result<(), CapabilityError> {
    // Where there is nothing to read, the kernel's own refusals must do.
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    match effective(&status) {
        Some(held) => check_held(held),
        None => Ok(()),
    }
}

/// The effective set in the text of a process's status file (proc_pid_status(5)).
fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn check_held(held: u64) -> Result<(), CapabilityError> {
    let missing: Vec<_> = NEEDED
        .into_iter()
        .filter(|(bit, ..)| held & (1 << bit) == 0)
        .map(|(_, name, purpose)| format!("{name} (to {purpose})"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(CapabilityError { missing: missing.join(", ") }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_rights_are_named_with_what_they_are_for() {
        let all_but_two = effective("Name:\tweir\nCapEff:\t000001ff7fffffff\n").unwrap();
        assert!(check_held(all_but_two).is_ok());
        let error = check_held(all_but_two & !(1 << 39 | 1 << 21)).unwrap_err().to_string();
        assert!(
            error.contains("lacks CAP_SYS_ADMIN (to enter the namespaces of sandboxes), CAP_BPF (to "),
            "{error}"
        );
    }

    #[test]
    fn a_status_without_the_set_says_nothing() {
        assert_eq!(effective("Name:\tweir\n"), None);
    }

    #[test]
    fn the_service_asks_for_exactly_these_rights() {
        let service = include_str!("../../weir.service");
        let mut needed = NEEDED.map(|(_, name, _)| name);
        needed.sort_unstable();
        for setting in ["CapabilityBoundingSet=", "AmbientCapabilities="] {
            let line = service.lines().find_map(|line| line.strip_prefix(setting)).unwrap();
            let mut asked: Vec<_> = line.split(' ').collect();
            asked.sort_unstable();
            assert_eq!(asked, needed, "{setting}");
        }
    }
}
