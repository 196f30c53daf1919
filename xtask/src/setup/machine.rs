//! The machine itself: its kernel, its rights, its mounts.

use super::{Found, Scope};
use crate::error::Error;
use crate::shell;
use crate::workspace::Workspace;
use std::fs;
use std::path::Path;
use std::process::Command;

/// TCX links, by which the sandboxes' devices are attached, came with this one.
const OLDEST_KERNEL: (u32, u32) = (6, 6);

/// Built in or as modules. XDP itself has no option: it comes with networking and BPF.
const OPTIONS: [&str; 6] = [
    "CONFIG_BPF_SYSCALL",
    "CONFIG_BPF_JIT",
    "CONFIG_NET_XGRESS",
    "CONFIG_NET_NS",
    "CONFIG_VETH",
    "CONFIG_TUN",
];

/// By number, from `linux/capability.h`.
const CAPABILITIES: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

const BPFFS: &str = "/sys/fs/bpf";

/// Whether this runs with root's rights.
pub(crate) fn is_root() -> bool {
    // real, effective, saved, file system
    status_field("Uid").and_then(|ids| ids.split_whitespace().nth(1).map(|id| id == "0")).unwrap_or(false)
}

pub(super) fn kernel_is_new_enough(_: &Workspace, _: Scope) -> Found {
    let release = release();
    if version(&release).is_some_and(|version| version >= OLDEST_KERNEL) {
        Found::Yes
    } else {
        Found::Instead(format!("this is Linux {release}"))
    }
}

pub(super) fn has_btf(_: &Workspace, _: Scope) -> Found {
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() { Found::Yes } else { Found::Instead(format!("there is no {path}")) }
}

/// Judged where the kernel tells its configuration; elsewhere loading and attaching will tell.
pub(super) fn has_options(_: &Workspace, _: Scope) -> Found {
    let running = shell::stdout_of(Command::new("zcat").arg("/proc/config.gz"));
    let Some(config) = running.or_else(|| fs::read_to_string(format!("/boot/config-{}", release())).ok())
    else {
        return Found::Yes;
    };
    match options_lacking(&config) {
        lacking if lacking.is_empty() => Found::Yes,
        lacking => Found::Instead(format!("it was built without {}", lacking.join(", "))),
    }
}

pub(super) fn has_capabilities(_: &Workspace, _: Scope) -> Found {
    let effective = status_field("CapEff").and_then(|field| u64::from_str_radix(field.trim(), 16).ok());
    match capabilities_lacking(effective.unwrap_or(0)) {
        lacking if lacking.is_empty() => Found::Yes,
        lacking => Found::Instead(format!("this process has no {}", lacking.join(", "))),
    }
}

pub(super) fn bpffs_is_mounted(_: &Workspace, _: Scope) -> Found {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if is_bpffs(&mounts, BPFFS) { Found::Yes } else { Found::Instead("not mounted".into()) }
}

pub(super) fn mount_bpffs(_: &Workspace, _: Scope) -> Result<(), Error> {
    shell::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))
}

pub(super) fn can_make_namespaces(_: &Workspace, _: Scope) -> Found {
    let name = format!("weir-setup-{}", std::process::id());
    let ip = |verb| shell::succeeds(Command::new("ip").args(["netns", verb, &name]));
    if ip("add") && ip("delete") {
        Found::Yes
    } else {
        Found::Instead(format!("`ip netns add {name}` failed"))
    }
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn options_lacking(config: &str) -> Vec<&'static str> {
    let has = |option: &str| {
        config.lines().any(|line| matches!(line.split_once('='), Some((name, "y" | "m")) if name == option))
    };
    OPTIONS.into_iter().filter(|option| !has(option)).collect()
}

fn capabilities_lacking(effective: u64) -> Vec<&'static str> {
    CAPABILITIES
        .into_iter()
        .filter(|(number, _)| effective >> number & 1 == 0)
        .map(|(_, name)| name)
        .collect()
}

/// Whether the mount that is on top at `at` is a bpffs.
fn is_bpffs(mounts: &str, at: &str) -> bool {
    let mut kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == at).then_some(fields.next()?)
    });
    kinds.next_back() == Some("bpf")
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number_not_by_letter() {
        assert_eq!(version("6.18.44-custom"), Some((6, 18)));
        assert_eq!(version("6.1.0-40-amd64"), Some((6, 1)));
        assert!(version("6.10.2") >= Some(OLDEST_KERNEL));
        assert!(version("6.5.13") < Some(OLDEST_KERNEL));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn an_option_counts_built_in_or_as_a_module() {
        let config =
            "CONFIG_BPF_SYSCALL=y\nCONFIG_BPF_JIT=y\nCONFIG_NET_XGRESS=y\nCONFIG_NET_NS=y\nCONFIG_VETH=m\n";
        assert_eq!(options_lacking(config), ["CONFIG_TUN"]);
        assert!(options_lacking(&format!("{config}CONFIG_TUN=m\n")).is_empty());
        assert_eq!(options_lacking("# CONFIG_VETH is not set\n").len(), OPTIONS.len());
    }

    #[test]
    fn a_container_without_bpf_is_told_so() {
        assert_eq!(capabilities_lacking(0x0000_003f_ffff_ffff), ["CAP_PERFMON", "CAP_BPF"]);
        assert!(capabilities_lacking(u64::MAX).is_empty());
    }

    #[test]
    fn the_mount_on_top_is_the_one_that_counts() {
        let mounts = "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n";
        assert!(is_bpffs(mounts, BPFFS));
        assert!(!is_bpffs(&format!("{mounts}tmpfs /sys/fs/bpf tmpfs rw 0 0\n"), BPFFS));
        assert!(!is_bpffs("", BPFFS));
    }
}
