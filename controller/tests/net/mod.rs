//! The `weir` command in a network namespace of its own. Takes root, iproute2 and a bpffs.

use crate::daemon::{Running, Said};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// A configuration with pins of its own, and the namespace that it is run in.
pub(crate) struct Weir {
    namespace: String,
    folder: TempDir,
    pub(crate) pins: PathBuf,
    pub(crate) max_flows: u32,
}

impl Weir {
    pub(crate) fn new(namespace: &str) -> Self {
        let pins = format!("/sys/fs/bpf/weir-u-{}-{}", std::process::id(), number());
        let (folder, max_flows) = (TempDir::new().unwrap(), 2_048);
        Self { namespace: namespace.to_owned(), folder, pins: pins.into(), max_flows }
    }

    /// Writes the configuration, behind its `[dataplane]` section.
    pub(crate) fn write(&self, rest: &str) {
        let (pins, state) = (self.pins.display(), self.state_dir());
        let text = format!(
            "version = 1\n[dataplane]\npin_dir = \"{pins}\"\nstate_dir = \"{}\"\nmax_flows = {}\n\
             max_flows_v6 = 1024\n{rest}",
            state.display(),
            self.max_flows,
        );
        fs::write(self.file(), text).unwrap();
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("weir.toml")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = inside(&self.namespace, env!("CARGO_BIN_EXE_weir"));
        command.args(words).arg("--config").arg(self.file()).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn weir(&self, words: &[&str]) -> Said {
        Said::by(self.command(words))
    }

    /// The daemon, which may not have come far.
    pub(crate) fn start(&self) -> Running {
        Running::start(self.command(&["run"]))
    }

    /// The daemon, once it is ready.
    pub(crate) fn run(&self) -> Running {
        let mut daemon = self.start();
        daemon.wait_for("configuration applied");
        daemon
    }

    pub(crate) fn release(&self) {
        let released = self.weir(&["stop", "--release"]);
        assert!(std::thread::panicking() || released.code == 0, "{}", released.err);
        assert!(std::thread::panicking() || !self.pins.exists());
    }
}

fn number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn namespace(role: &str) -> String {
    let name = format!("weir-{role}-{}-{}", std::process::id(), number());
    run(Command::new("ip").args(["netns", "add", &name]));
    name
}

/// A command in a namespace, which still sees the bpffs: `ip netns exec` would hide it.
pub(crate) fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

pub(crate) fn ip(namespace: &str, words: &[&str]) {
    run(Command::new("ip").args(["-n", namespace]).args(words));
}

/// What a command says.
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}(these tests take root, iproute2 and ethtool)");
    String::from_utf8(done.stdout).unwrap()
}
