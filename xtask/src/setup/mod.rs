//! What a machine must have: a list, each item with why, a check, and how it is got.
//!
//! Checks are cheap (all of them together take a fraction of a second) and are believed: what is there is
//! left alone, so a second run does nothing. What cannot be had is reported all at once, with the command
//! that gets it, before anything is built.

mod compiler;
mod linker;
mod machine;
mod packages;

pub(crate) use compiler::rustup_has_core_source;

use crate::error::Error;
use crate::workspace::Workspace;
use std::time::Instant;

/// What the machine is to be made ready for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// Building, and tests that touch neither kernel nor network: needs no root where nothing is missing.
    Build,
    /// Namespaces, BPF programs, real traffic.
    Everything,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// It is there.
    Yes,
    /// It is not, and this is there instead.
    Instead(String),
}

/// One thing a machine must have.
struct Need {
    what: &'static str,
    why: &'static str,
    scope: Scope,
    check: fn(&Workspace, Scope) -> Found,
    get: Get,
    /// The command that gets it, for whoever has to do it by hand.
    how: fn(Scope) -> String,
}

/// How a thing is got.
enum Get {
    /// This tool can.
    Itself(fn(&Workspace, Scope) -> Result<(), Error>),
    /// Only whoever owns the machine can.
    ByHand,
}

/// Something that is not there and that could not be had.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) what: &'static str,
    pub(crate) why: &'static str,
    pub(crate) found: String,
    pub(crate) how: String,
}

/// What a machine has or has not: looked at first, because without it the rest would be installed for nothing.
const MACHINE: &[Need] = &[
    Need {
        what: "Linux 6.6 or newer",
        why: "sandboxes are attached by TCX links, which came with 6.6",
        scope: Scope::Everything,
        check: machine::kernel_is_new_enough,
        get: Get::ByHand,
        how: |_| "apt-get install -t bookworm-backports linux-image-amd64, then reboot".into(),
    },
    Need {
        what: "a kernel with BTF",
        why: "the BPF programs are loaded against the kernel's own type information",
        scope: Scope::Everything,
        check: machine::has_btf,
        get: Get::ByHand,
        how: |_| "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's linux-image-amd64 is".into(),
    },
    Need {
        what: "a kernel with BPF, TCX, veth and network namespaces",
        why: "they are what the dataplane hooks into and what the demo is made of",
        scope: Scope::Everything,
        check: machine::has_options,
        get: Get::ByHand,
        how: |_| "boot a kernel built with these options, as Debian's linux-image-amd64 is".into(),
    },
    Need {
        what: "the capabilities of root",
        why: "BPF programs, namespaces and mounts need them; in a container, root alone is not enough",
        scope: Scope::Everything,
        check: machine::has_capabilities,
        get: Get::ByHand,
        how: |_| "start the container with --privileged, or use a virtual machine".into(),
    },
];

/// In the order in which they are got: each may rely on those above it.
const INSTALLED: &[Need] = &[
    Need {
        what: "Debian packages",
        why: "the linker for BPF is built with LLVM 22; the demo and the tests use the others",
        scope: Scope::Build,
        check: packages::are_installed,
        get: Get::Itself(packages::install),
        how: packages::command,
    },
    Need {
        what: "the source of Rust's `core`",
        why: "the BPF target has no prebuilt `core`: it is compiled with the programs",
        scope: Scope::Build,
        check: compiler::has_core_source,
        get: Get::Itself(compiler::get_core_source),
        how: |_| "rustup component add rust-src".into(),
    },
    Need {
        what: linker::WHAT,
        why: "it links Rust's bitcode into BPF programs; its LLVM must be the compiler's",
        scope: Scope::Build,
        check: linker::is_installed,
        get: Get::Itself(linker::install),
        how: |_| crate::shell::text(&linker::command()),
    },
    Need {
        what: "bpffs at /sys/fs/bpf",
        why: "maps and links are pinned there, so that the dataplane outlives its daemon",
        scope: Scope::Everything,
        check: machine::bpffs_is_mounted,
        get: Get::Itself(machine::mount_bpffs),
        how: |_| "mount -t bpf bpf /sys/fs/bpf".into(),
    },
    Need {
        what: "network namespaces that can be made",
        why: "the demo and the tests live in their own, and touch nothing of yours",
        scope: Scope::Everything,
        check: machine::can_make_namespaces,
        get: Get::ByHand,
        how: |_| "sysctl -w user.max_net_namespaces=10000; in a container: start it with --privileged".into(),
    },
];

/// Makes the machine ready, or says what is missing before anything is built.
///
/// `again` is what the user typed after `cargo xtask`.
pub(crate) fn make_ready(workspace: &Workspace, scope: Scope, again: &str) -> Result<(), Error> {
    let started = Instant::now();
    if scope == Scope::Everything && !machine::is_root() {
        return Err(Error::NotRoot { command: again.to_owned() });
    }
    let refuse = |missing: Vec<Missing>| {
        if missing.is_empty() { Ok(()) } else { Err(Error::Missing { missing, again: again.to_owned() }) }
    };
    refuse(get_all(MACHINE, workspace, scope))?;
    refuse(get_all(INSTALLED, workspace, scope))?;
    eprintln!("set-up: everything is there ({:.1} s)", started.elapsed().as_secs_f32());
    Ok(())
}

/// Gets what is lacking, in order; returns what could not be had.
///
/// Once something could not be had, the rest is only named: nothing is built on half a machine.
fn get_all(needs: &[Need], workspace: &Workspace, scope: Scope) -> Vec<Missing> {
    let mut missing = Vec::new();
    for need in needs.iter().filter(|need| scope == Scope::Everything || need.scope == Scope::Build) {
        let Some(lack) = need.lacking(workspace, scope) else { continue };
        match need.get {
            Get::Itself(get) if missing.is_empty() => {
                eprintln!("set-up: {}: {}; getting it", lack.what, lack.found);
                if let Err(error) = get(workspace, scope) {
                    eprintln!("set-up: {error}");
                }
                missing.extend(need.lacking(workspace, scope));
            }
            _ => missing.push(lack),
        }
    }
    missing
}

impl Need {
    fn lacking(&self, workspace: &Workspace, scope: Scope) -> Option<Missing> {
        match (self.check)(workspace, scope) {
            Found::Yes => None,
            Found::Instead(found) => {
                Some(Missing { what: self.what, why: self.why, found, how: (self.how)(scope) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

    fn there(_: &Workspace, _: Scope) -> Found {
        Found::Yes
    }

    fn not_there(_: &Workspace, _: Scope) -> Found {
        Found::Instead("not there".into())
    }

    fn need(what: &'static str, check: fn(&Workspace, Scope) -> Found, get: Get) -> Need {
        Need { what, why: "", scope: Scope::Build, check, get, how: |_| "get it".into() }
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let get = |_: &Workspace, _| panic!("it was there");
        let needs = [need("a thing", there, Get::Itself(get))];
        assert!(get_all(&needs, &Workspace::here(), Scope::Everything).is_empty());
    }

    #[test]
    fn what_is_lacking_is_got_and_looked_at_again() {
        static IS_THERE: AtomicBool = AtomicBool::new(false);
        let check = |_: &Workspace, _| {
            if IS_THERE.load(SeqCst) { Found::Yes } else { Found::Instead("not there".into()) }
        };
        let get = |_: &Workspace, _| {
            IS_THERE.store(true, SeqCst);
            Ok(())
        };
        let needs = [need("a thing", check, Get::Itself(get))];
        assert!(get_all(&needs, &Workspace::here(), Scope::Everything).is_empty());
        assert!(IS_THERE.load(SeqCst));
    }

    #[test]
    fn after_one_thing_could_not_be_had_the_rest_is_only_named() {
        static TRIES: AtomicU32 = AtomicU32::new(0);
        let get = |_: &Workspace, _| {
            TRIES.fetch_add(1, SeqCst);
            Ok(())
        };
        let needs = [
            need("first", not_there, Get::Itself(get)),
            need("second", not_there, Get::Itself(get)),
            need("third", not_there, Get::ByHand),
        ];
        let missing = get_all(&needs, &Workspace::here(), Scope::Everything);
        assert_eq!(missing.iter().map(|lack| lack.what).collect::<Vec<_>>(), ["first", "second", "third"]);
        assert_eq!(TRIES.load(SeqCst), 1);
        let text = Error::Missing { missing, again: "demo".into() }.to_string();
        assert!(text.contains("second: not there") && text.contains("get it:  get it"), "{text}");
    }

    #[test]
    fn building_asks_for_nothing_that_only_the_demo_needs() {
        let needs = [Need { scope: Scope::Everything, ..need("bpffs", not_there, Get::ByHand) }];
        assert!(get_all(&needs, &Workspace::here(), Scope::Build).is_empty());
        assert_eq!(get_all(&needs, &Workspace::here(), Scope::Everything).len(), 1);
    }
}
