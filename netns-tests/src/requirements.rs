//! What the machine must have. A missing piece is an error with its name, never a skipped test.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::Uid;

use crate::error::Error;

/// Where bpffs is expected: the kernel's own place for it.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Programs that are run, with the Debian package each comes from.
const PROGRAMS: [(&str, &str); 19] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("nsenter", "util-linux"),
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("ping", "iputils-ping"),
    ("ss", "iproute2"),
    ("tracepath", "iputils-tracepath"),
    ("traceroute", "traceroute"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("iperf3", "iperf3"),
    ("nft", "nftables"),
    ("psql", "postgresql"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// Says the first thing that is missing.
pub fn check() -> Result<(), Error> {
    if !Uid::effective().is_root() {
        return Err(Error::Missing {
            what: "root".into(), by_hand: "sudo -E env PATH=$PATH cargo …".into()
        });
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            return Err(Error::Missing {
                what: format!("the program `{program}`"),
                by_hand: format!("apt-get install -y --no-install-recommends {package}"),
            });
        }
    }
    let is_bpffs = statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !is_bpffs {
        return Err(Error::Missing {
            what: format!("the BPF file system at {BPFFS}"),
            by_hand: format!("mount -t bpf bpf {BPFFS}"),
        });
    }
    Ok(())
}

/// The `weir` binary: named by `WEIR_BIN`, or built into the folder this program was built into.
pub fn weir_binary() -> Result<PathBuf, Error> {
    if let Some(named) = env::var_os("WEIR_BIN") {
        return Ok(named.into());
    }
    let me = env::current_exe().map_err(Error::io("find the running program's file"))?;
    // A binary is in target/PROFILE, a test in target/PROFILE/deps.
    me.ancestors().skip(1).take(2).map(|folder| folder.join("weir")).find(|file| file.is_file()).ok_or_else(
        || Error::Missing {
            what: format!("the `weir` binary beside {}", me.display()),
            by_hand: "cargo build -p weir-controller --bins".into(),
        },
    )
}

/// The folder of PostgreSQL's own programs, which Debian keeps out of the path: of the newest version that is there.
pub fn postgresql() -> Result<PathBuf, Error> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    folders.filter(|folder| folder.join("initdb").is_file()).max().ok_or_else(|| Error::Missing {
        what: "the program `initdb`".into(),
        by_hand: "apt-get install -y --no-install-recommends postgresql".into(),
    })
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| Path::is_file(file))
}
