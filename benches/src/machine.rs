//! The machine that figures come from: what it is, how busy it is, and how to stay on one of its CPUs.

use crate::Outcome;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;

/// Keeps the calling thread on this CPU.
///
/// # Errors
/// Where there is no such CPU.
pub fn stay_on(cpu: usize) -> Outcome<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus)?;
    Ok(())
}

/// The CPU, the kernel, and the load: a line for the top of a table.
#[must_use]
pub fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(": ").nth(1)).unwrap_or("?").to_owned()
    };
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let (model, family, number) = (field("model name"), field("cpu family"), field("model\t"));
    format!(
        "{cpus} CPUs {model} (family {family} model {number}), Linux {}, load {}",
        kernel.trim(),
        load.split(' ').next().unwrap_or("?")
    )
}
