//! The machine that figures come from: what it is, how busy it is, and how to have one of its CPUs.

use crate::Outcome;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::process::Command;

/// Thirty times the share of a thread that nobody said anything about.
const NICE: &str = "-15";

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

/// Lets the calling thread go before others on its CPU: what else the machine does is not to be measured.
///
/// # Errors
/// Where `renice` is missing, or the right to it.
pub fn go_first() -> Outcome<()> {
    let thread = fs::read_link("/proc/thread-self")?;
    let id = thread.file_name().ok_or("/proc/thread-self leads nowhere")?;
    let ended = Command::new("renice").args(["-n", NICE, "-p"]).arg(id).output()?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("`renice -n {NICE}`: {}", String::from_utf8_lossy(&ended.stderr).trim()).into())
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
