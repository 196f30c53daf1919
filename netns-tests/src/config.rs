//! The daemon's configuration, as a value that a test can vary.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::topology::{Testbed, UPLINK, VIP};

/// Where the uplink's program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// XDP in the driver.
    Xdp,
    /// TC.
    Tc,
}

/// A listener's protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A listener on the VIP with a target group of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// The name of the listener and of the group.
    pub name: &'static str,
    /// The protocol.
    pub protocol: Protocol,
    /// The port on the VIP.
    pub port: u16,
    /// The port in each sandbox.
    pub target_port: u16,
    /// Which sandboxes serve, counted from 1.
    pub sandboxes: RangeInclusive<usize>,
}

impl Service {
    /// HTTP on port 80, served by nginx on [`crate::servers::HTTP_PORT`] of these sandboxes.
    #[must_use]
    pub fn web(sandboxes: RangeInclusive<usize>) -> Self {
        let target_port = crate::servers::HTTP_PORT;
        Self { name: "web", protocol: Protocol::Tcp, port: 80, target_port, sandboxes }
    }

    /// TCP on port 7, served by an echo server on [`crate::servers::ECHO_PORT`] of these sandboxes.
    #[must_use]
    pub fn echo(sandboxes: RangeInclusive<usize>) -> Self {
        let target_port = crate::servers::ECHO_PORT;
        Self { name: "echo", protocol: Protocol::Tcp, port: 7, target_port, sandboxes }
    }

    /// UDP on port 7, served by an echo server on [`crate::servers::ECHO_PORT`] of these sandboxes.
    #[must_use]
    pub fn echo_udp(sandboxes: RangeInclusive<usize>) -> Self {
        Self { name: "echo-udp", protocol: Protocol::Udp, ..Self::echo(sandboxes) }
    }
}

/// What the daemon is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where the uplink's program runs.
    pub hook: Hook,
    /// How many flow entries the table has room for.
    pub max_flows: u32,
    /// The listeners.
    pub services: Vec<Service>,
}

impl Config {
    /// With a flow table that is quickly made, and large enough for a test.
    #[must_use]
    pub fn new(hook: Hook, services: impl Into<Vec<Service>>) -> Self {
        Self { hook, max_flows: 1 << 16, services: services.into() }
    }

    /// The file's text.
    #[must_use]
    pub fn toml(&self, bed: &Testbed) -> String {
        let hook = match self.hook {
            Hook::Xdp => "hook = \"xdp\"\nsenders_complete_checksums = true",
            Hook::Tc => "hook = \"tc\"",
        };
        let mut text = format!(
            "version = 1\n\n[dataplane]\npin_dir = \"{}\"\nstate_dir = \"{}\"\nmax_flows = {}\n\n\
             [[vpc]]\nname = \"prod\"\n\n[[uplink]]\ninterface = \"{UPLINK}\"\nvpc = \"prod\"\n{hook}\n",
            bed.pin_dir.display(),
            bed.dir().join("state").display(),
            self.max_flows,
        );
        for service in &self.services {
            text += &service.toml(bed);
        }
        text
    }
}

impl Service {
    fn toml(&self, bed: &Testbed) -> String {
        let Self { name, port, target_port, .. } = self;
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let mut text = format!("\n[[target_group]]\nname = \"{name}\"\nport = {target_port}\n");
        for sandbox in bed.sandboxes.iter().take(*self.sandboxes.end()).skip(self.sandboxes.start() - 1) {
            // Writing to a String cannot fail.
            let _: std::fmt::Result = write!(
                text,
                "\n  [[target_group.target]]\n  name = \"{}\"\n  netns = \"{}\"\n  interface = \"eth0\"\n",
                sandbox.name,
                sandbox.netns.name(),
            );
        }
        text + &format!(
            "\n[[listener]]\nname = \"{name}\"\nvpc = \"prod\"\naddress = \"{VIP}\"\nport = {port}\n\
             protocol = \"{protocol}\"\ntarget_group = \"{name}\"\n"
        )
    }
}
