//! Debian's packages: only what is missing, and nothing started.

use super::{Found, Scope};
use crate::error::Error;
use crate::shell;
use crate::workspace::Workspace;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

struct Package {
    name: &'static str,
    scope: Scope,
    /// What stops working without it; said when it is installed.
    why: &'static str,
}

const fn package(name: &'static str, scope: Scope, why: &'static str) -> Package {
    Package { name, scope, why }
}

const PACKAGES: &[Package] = &[
    package("build-essential", Scope::Build, "Rust links with the C compiler; so does LLVM's static part"),
    package("pkg-config", Scope::Build, "finds libraries for crates that build C"),
    package(
        "llvm-22-dev",
        Scope::Build,
        "bpf-linker is linked against it; rustc 1.95 writes LLVM 22 bitcode",
    ),
    package("libpolly-22-dev", Scope::Build, "LLVM 22 was built with Polly and asks for it at link time"),
    package("zlib1g-dev", Scope::Build, "LLVM's compressed sections"),
    package("libzstd-dev", Scope::Build, "LLVM's compressed sections"),
    package("iproute2", Scope::Everything, "`ip`: namespaces, veths, addresses of the demo and the tests"),
    package("ethtool", Scope::Everything, "switches offloads off, so that checksums are real on the wire"),
    package(
        "util-linux",
        Scope::Everything,
        "`nsenter`: programs inside a namespace, with bpffs still in sight",
    ),
    package("nginx-light", Scope::Everything, "what the demo's sandboxes serve with"),
    package("curl", Scope::Everything, "the demo's client"),
    package("nftables", Scope::Everything, "what `bench wire` measures beside Weir"),
    package("iputils-ping", Scope::Everything, "asks VIPs and hosts whether they are there"),
    package("iputils-tracepath", Scope::Everything, "finds the narrowest link on the way to a VIP"),
    package("traceroute", Scope::Everything, "finds the hops on the way to a VIP"),
    package("bind9-dnsutils", Scope::Everything, "`dig`: questions whose answers come in fragments"),
    package("dnsmasq-base", Scope::Everything, "answers them in a sandbox"),
    package("iperf3", Scope::Everything, "as much traffic as fits, with packets of every size"),
    package("postgresql", Scope::Everything, "a database in a VPC, which sandboxes ask by `psql`"),
    package("redis-server", Scope::Everything, "another one"),
    package("redis-tools", Scope::Everything, "`redis-cli`, which asks it"),
    package("openssh-server", Scope::Everything, "connections that are idle for long"),
    package("openssh-client", Scope::Everything, "`ssh`, which opens them, and `ssh-keygen`"),
];

/// What packages would start at the next boot. The tests start their own, and this machine did not ask for any.
const SERVICES: &[(&str, &str)] = &[
    ("nginx-light", "nginx"),
    ("postgresql", "postgresql"),
    ("redis-server", "redis-server"),
    ("openssh-server", "ssh"),
];

pub(super) fn are_installed(_: &Workspace, scope: Scope) -> Found {
    match missing(scope) {
        missing if missing.is_empty() => Found::Yes,
        missing => Found::Instead(format!("not installed: {}", missing.join(" "))),
    }
}

/// Installs what is missing, in one go, and starts none of it.
pub(super) fn install(_: &Workspace, scope: Scope) -> Result<(), Error> {
    let missing = missing(scope);
    for package in PACKAGES.iter().filter(|package| missing.contains(&package.name)) {
        eprintln!("  {:<16} {}", package.name, package.why);
    }
    shell::run(Command::new("apt-get").arg("update"))?;
    let no_services = NoServices::from_now_on(Path::new(POLICY))?;
    let installed = shell::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "--no-install-recommends"])
            .args(&missing),
    );
    drop(no_services);
    if Path::new("/run/systemd/system").exists() {
        for (_, service) in SERVICES.iter().filter(|(package, _)| missing.contains(package)) {
            shell::run(Command::new("systemctl").args(["disable", "--quiet", service]))?;
        }
    }
    installed
}

/// The command that installs what is missing.
pub(super) fn command(scope: Scope) -> String {
    command_for(&missing(scope), super::machine::is_root())
}

fn command_for(missing: &[&str], is_root: bool) -> String {
    let names = missing.join(" ");
    let command = format!("apt-get update && apt-get install -y --no-install-recommends {names}");
    let command = if is_root { command } else { format!("sudo sh -c '{command}'") };
    if names.contains("llvm-22") {
        command
            + "\n    where the distribution has no LLVM 22, take LLVM's own packages first: https://apt.llvm.org"
    } else {
        command
    }
}

fn missing(scope: Scope) -> Vec<&'static str> {
    let wanted = || PACKAGES.iter().filter(|package| scope == Scope::Everything || package.scope == scope);
    // It fails as soon as one of them is unknown, and still prints the others.
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(wanted().map(|package| package.name))
        .output();
    let listed = query.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    not_installed(&wanted().map(|package| package.name).collect::<Vec<_>>(), &listed)
}

fn not_installed(wanted: &[&'static str], listed: &str) -> Vec<&'static str> {
    let is_installed =
        |name: &str| listed.lines().any(|line| line.split_once(' ') == Some((name, "installed")));
    wanted.iter().copied().filter(|name| !is_installed(name)).collect()
}

/// Debian starts a service when it installs one, unless this file forbids it. A machine that has the file
/// has its own opinion, which is left alone.
struct NoServices<'a> {
    /// The file, where it is ours.
    ours: Option<&'a Path>,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
const OURS: &str = "\
#!/bin/sh
# Put here by `cargo xtask setup` of Weir while it installs packages; if that is over, delete this file.
exit 101
";

impl<'a> NoServices<'a> {
    fn from_now_on(policy: &'a Path) -> Result<Self, Error> {
        let file = |source| Error::File { path: policy.to_path_buf(), source };
        // One of ours that is there already is left of an earlier run that was killed.
        let is_anothers = fs::read(policy).is_ok_and(|text| text != OURS.as_bytes());
        if is_anothers {
            return Ok(Self { ours: None });
        }
        fs::write(policy, OURS).map_err(file)?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).map_err(file)?;
        Ok(Self { ours: Some(policy) })
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        let Some(policy) = self.ours else { return };
        if let Err(error) = fs::remove_file(policy) {
            eprintln!(
                "set-up: {}: {error}; delete it, or Debian starts nothing it installs",
                policy.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_but_still_configured_is_not_installed() {
        let listed = "curl installed\nethtool config-files\n";
        assert_eq!(not_installed(&["curl", "ethtool", "nginx-light"], listed), ["ethtool", "nginx-light"]);
    }

    #[test]
    fn whatever_the_tests_of_real_traffic_ask_for_is_installed() {
        let asked =
            fs::read_to_string(Workspace::here().root().join("netns-tests/src/requirements.rs")).unwrap();
        let (_, programs) = asked.split_once("const PROGRAMS").unwrap();
        let (programs, _) = programs.split_once("];").unwrap();
        // ("program", "package"),
        let packages: Vec<_> = programs.split('"').skip(3).step_by(4).collect();
        assert!(packages.contains(&"iproute2"), "{packages:?}");
        for asked in packages {
            assert!(PACKAGES.iter().any(|package| package.name == asked), "{asked} is not in the list");
        }
    }

    #[test]
    fn the_command_can_be_pasted_as_it_is() {
        let (curl, llvm) = (["curl", "ethtool"], ["llvm-22-dev"]);
        let install = "apt-get update && apt-get install -y --no-install-recommends curl ethtool";
        assert_eq!(command_for(&curl, true), install);
        assert_eq!(command_for(&curl, false), format!("sudo sh -c '{install}'"));
        assert!(command_for(&llvm, true).contains("llvm-22-dev\n    where"));
    }

    #[test]
    fn no_package_is_named_twice() {
        let mut names: Vec<_> = PACKAGES.iter().map(|package| package.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
    }

    #[test]
    fn services_are_of_packages_in_the_list() {
        for (package, _) in SERVICES {
            assert!(PACKAGES.iter().any(|it| it.name == *package), "{package}");
        }
    }

    #[test]
    fn services_are_forbidden_only_while_packages_are_installed() {
        let policy = std::env::temp_dir().join(format!("weir-policy-{}", std::process::id()));
        let guard = NoServices::from_now_on(&policy).unwrap();
        assert_eq!(fs::read_to_string(&policy).unwrap(), OURS);
        drop(guard);
        assert!(!policy.exists());
    }

    #[test]
    fn a_policy_that_the_machine_has_is_left_alone() {
        let policy = std::env::temp_dir().join(format!("weir-policy-of-another-{}", std::process::id()));
        fs::write(&policy, "exit 0").unwrap();
        drop(NoServices::from_now_on(&policy).unwrap());
        assert_eq!(fs::read_to_string(&policy).unwrap(), "exit 0");
        fs::remove_file(&policy).unwrap();
    }
}
