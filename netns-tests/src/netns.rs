//! A network namespace that lives as long as its guard.
//!
//! Programs enter it by `nsenter --net`, never by `ip netns exec`: the latter mounts a fresh `/sys`, and
//! then bpffs with all pins is gone. Sockets of this process are made in it by a thread that enters, because
//! a socket stays in the namespace it was made in.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::error::Error;
use crate::process::{json, output, run};

/// Where `ip netns` keeps its namespaces.
pub const NETNS_DIR: &str = "/run/netns";

/// How many CPUs the first word of an RPS mask has room for: as many as any test here can use.
const RPS_WORD_BITS: usize = 32;

/// A namespace made by this process. Dropping it deletes it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace. One of the same name that is there already is an error: it is not ours to take.
    ///
    /// IPv6 is off in it until it is allowed: what it says by itself would disturb exact counts.
    pub fn add(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        run("ip", &["netns", "add", &name])?;
        let netns = Self { name };
        netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        netns.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Turns IPv6 on at these devices, without what it does by itself: no address is made up or tested, no router
    /// is looked for.
    pub fn allow_ipv6(&self, devices: &[&str]) -> Result<(), Error> {
        const QUIET: [(&str, &str); 5] = [
            ("addr_gen_mode", "1"),
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("router_solicitations", "0"),
            ("disable_ipv6", "0"),
        ];
        self.sysctl("net.ipv6.conf.all.disable_ipv6", "0")?;
        for (device, (key, value)) in devices.iter().flat_map(|device| QUIET.map(|pair| (device, pair))) {
            self.sysctl(&format!("net.ipv6.conf.{device}.{key}"), value)?;
        }
        Ok(())
    }

    /// Its name under [`NETNS_DIR`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.name)
    }

    /// The number by which `/proc/PID/ns/net` tells it from others.
    pub fn inode(&self) -> Result<u64, Error> {
        let path = self.path();
        fs::metadata(&path).map(|file| file.ino()).map_err(Error::file("look at", path))
    }

    /// `ip -n NAME …`
    pub fn ip(&self, args: &[&str]) -> Result<String, Error> {
        output(Command::new("ip").args(["-n", &self.name]).args(args))
    }

    /// `ip -n NAME -json -statistics -details link show dev DEVICE`
    pub fn link(&self, device: &str) -> Result<Value, Error> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-j", "-s", "-d", "link", "show", "dev", device]);
        let mut links = json(&mut command)?;
        Ok(links.get_mut(0).map(Value::take).unwrap_or_default())
    }

    /// The MAC of a device.
    pub fn mac(&self, device: &str) -> Result<String, Error> {
        let link = self.link(device)?;
        let mac = link.get("address").and_then(Value::as_str).map(str::to_owned);
        mac.ok_or_else(|| Error::Output {
            command: format!("ip -n {} -j -s -d link show dev {device}", self.name),
            why: "no address".into(),
            output: link.to_string(),
        })
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `ethtool -K DEVICE FEATURE on|off`.
    pub fn set_offload(&self, device: &str, feature: &str, on: bool) -> Result<(), Error> {
        let state = if on { "on" } else { "off" };
        output(self.command("ethtool").args(["-K", device, feature, state])).map(drop)
    }

    /// Gives each flow that arrives on a device a CPU of its own, as a card with several queues does (RPS).
    ///
    /// Without it a packet is handled where its sender happened to run, and a sender that the scheduler moves
    /// between two packets reorders them: TCP then retransmits what was never lost.
    pub fn spread(&self, device: &str) -> Result<(), Error> {
        let cpus = thread::available_parallelism().map_or(1, NonZero::get).min(RPS_WORD_BITS);
        let mask = u32::MAX >> (RPS_WORD_BITS - cpus);
        // Here a fresh /sys is what is wanted: it shows the devices of the namespace.
        let write = format!("echo {mask:x} > /sys/class/net/{device}/queues/rx-0/rps_cpus");
        run("ip", &["netns", "exec", &self.name, "sh", "-c", &write]).map(drop)
    }

    /// Sets a kernel parameter inside.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), Error> {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        let value = value.to_owned();
        self.enter(move || fs::write(&path, value).map_err(Error::file("write to", path)))?
    }

    /// Does something inside, in a thread that lives just for it, and returns what came of it.
    pub fn enter<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        self.door().enter(act)
    }

    /// A way in for another thread, which does not keep the namespace alive.
    #[must_use]
    pub fn door(&self) -> Door {
        Door { path: self.path() }
    }

    /// Deletes it now, to hear of a refusal.
    pub fn delete(self) -> Result<(), Error> {
        run("ip", &["netns", "del", &self.name]).map(drop)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.path().exists() {
            // The leftover check says whether this worked.
            let _: Result<String, Error> = run("ip", &["netns", "del", &self.name]);
        }
    }
}

/// A way into a namespace, without a say in how long it lives.
#[derive(Clone, Debug)]
pub struct Door {
    path: PathBuf,
}

impl Door {
    /// Does something inside, in a thread that lives just for it, and returns what came of it.
    pub fn enter<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let path = self.path.clone();
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        let inside = thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).map_err(Error::io(format!("enter {}", path.display())))?;
            Ok(act())
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// One end of a veth pair, before it exists.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where the device is born.
    pub netns: &'a Netns,
    /// Its name there.
    pub device: &'a str,
}

/// Makes a veth pair, each end born in its namespace, both up.
pub fn veth(one: End<'_>, other: End<'_>) -> Result<(), Error> {
    #[rustfmt::skip]
    one.netns.ip(&[
        "link", "add", one.device, "type", "veth", "peer", "name", other.device, "netns", other.netns.name(),
    ])?;
    for end in [one, other] {
        end.netns.spread(end.device)?;
        end.netns.ip(&["link", "set", end.device, "up"])?;
    }
    Ok(())
}
