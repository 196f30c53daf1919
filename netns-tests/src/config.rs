//! The daemon's configuration, as a value that a test can vary.

use std::fmt::{Display, Write as _};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::connectors::Connector;
use crate::ipv6::{GATEWAY6, OWN6, ROUTER6, SANDBOX6, VIP6};
use crate::topology::{OWN, ROUTER, Testbed, UPLINK, VIP};

/// More flows of IPv6 than any test has at once.
pub(crate) const MAX_FLOWS_V6: u32 = 1 << 12;

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
    /// Both on the same port.
    TcpUdp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::TcpUdp => "tcp_udp",
        }
    }
}

/// All ports of the VIP that no other listener has; in a sandbox, the one that the client asked for.
pub const ANY_PORT: u16 = 0;

/// A listener on the VIP with a target group of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// The name of the listener and of the group.
    pub name: &'static str,
    /// The protocol.
    pub protocol: Protocol,
    /// The VIP.
    pub address: IpAddr,
    /// The port on the VIP, or [`ANY_PORT`].
    pub port: u16,
    /// The port in each sandbox, or [`ANY_PORT`].
    pub target_port: u16,
    /// Which sandboxes serve, counted from 1.
    pub sandboxes: RangeInclusive<usize>,
    /// After how many seconds of silence its flows end, if not after what holds where nothing is said.
    pub idle_timeout_s: Option<u16>,
    /// Whether all that one client's address sends goes to one sandbox.
    pub is_sticky: bool,
    /// Whether both ends of a connection are told when it was silent for too long, and not only who sends next.
    pub tells_both_ends: bool,
}

impl Service {
    /// HTTP on port 80, served by nginx on [`crate::servers::HTTP_PORT`] of these sandboxes.
    #[must_use]
    pub fn web(sandboxes: RangeInclusive<usize>) -> Self {
        Self::tcp("web", 80, crate::servers::HTTP_PORT, sandboxes)
    }

    /// TCP on port 7, served by an echo server on [`crate::servers::ECHO_PORT`] of these sandboxes.
    #[must_use]
    pub fn echo(sandboxes: RangeInclusive<usize>) -> Self {
        Self::tcp("echo", 7, crate::servers::ECHO_PORT, sandboxes)
    }

    /// TCP on a port of the VIP, served on a port of these sandboxes.
    #[must_use]
    pub fn tcp(name: &'static str, port: u16, target_port: u16, sandboxes: RangeInclusive<usize>) -> Self {
        Self {
            name,
            protocol: Protocol::Tcp,
            address: VIP.into(),
            port,
            target_port,
            sandboxes,
            idle_timeout_s: None,
            is_sticky: false,
            tells_both_ends: false,
        }
    }

    /// The same on the VIP of IPv6, under another name.
    #[must_use]
    pub fn on_ipv6(self, name: &'static str) -> Self {
        Self { name, address: VIP6.into(), ..self }
    }

    /// The same without targets.
    #[must_use]
    pub fn of_nobody(self) -> Self {
        // One more sandbox than there can be.
        Self { sandboxes: usize::MAX..=usize::MAX, ..self }
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
    /// How many flows of IPv4 there is room for.
    pub max_flows: u32,
    /// How many of them may be half-open, if not as many as Weir takes for a table of that size.
    pub max_half_open: Option<u32>,
    /// The same for IPv6.
    pub max_half_open_v6: Option<u32>,
    /// Seconds of `[timeouts]`, by their key, where they are not those of a real host.
    pub timeouts: Vec<(&'static str, u16)>,
    /// Keys of the uplink with their values, like `mtu` and `1400`.
    pub uplink: Vec<(&'static str, String)>,
    /// How many answers a second are made, if not as many as Weir makes where nothing is said.
    pub answers_per_second: Option<u32>,
    /// The listeners.
    pub services: Vec<Service>,
    /// How sandboxes open connections.
    pub connectors: Vec<Connector>,
    /// Whatever else is to be in the file, as it is written there.
    pub more: String,
}

impl Config {
    /// With a flow table that is quickly made, and large enough for a test.
    #[must_use]
    pub fn new(hook: Hook, services: impl Into<Vec<Service>>) -> Self {
        let services = services.into();
        Self {
            hook,
            max_flows: 1 << 14,
            max_half_open: None,
            max_half_open_v6: None,
            timeouts: Vec::new(),
            uplink: Vec::new(),
            answers_per_second: None,
            services,
            connectors: Vec::new(),
            more: String::new(),
        }
    }

    /// With another key in the uplink's section.
    #[must_use]
    pub fn with_uplink(mut self, key: &'static str, value: impl Display) -> Self {
        self.uplink.push((key, value.to_string()));
        self
    }

    /// With addresses of Weir's own on the uplink, and the router as the gateway of both families.
    #[must_use]
    pub fn with_own_addresses(self) -> Self {
        self.with_uplink("address", format!("\"{OWN}/24\""))
            .with_uplink("gateway", format!("\"{ROUTER}\""))
            .with_uplink("address6", format!("\"{OWN6}/64\""))
            .with_uplink("gateway6", format!("\"{ROUTER6}\""))
    }

    /// The file's text.
    #[must_use]
    pub fn toml(&self, bed: &Testbed) -> String {
        let mut text = String::from("version = 1\n\n") + &self.dataplane(bed);
        if !self.timeouts.is_empty() {
            let keys = self.timeouts.iter().map(|(key, seconds)| format!("{key} = {seconds}\n"));
            text += &format!("\n[timeouts]\n{}", keys.collect::<String>());
        }
        let speaks_v6 = self.connectors.iter().any(|it| it.families.v6);
        if speaks_v6 || self.services.iter().any(|service| service.address.is_ipv6()) {
            text += &format!("\n[sandbox]\naddress6 = \"{SANDBOX6}\"\ngateway6 = \"{GATEWAY6}\"\n");
        }
        if let Some(answers) = self.answers_per_second {
            text += &format!("\n[answers]\nper_second = {answers}\n");
        }
        text += "\n[[vpc]]\nname = \"prod\"\n";
        text += &self.uplink_toml();
        let text = self.services.iter().fold(text, |text, service| text + &service.toml(bed));
        self.connectors.iter().fold(text, |text, connector| text + &connector.toml(bed)) + &self.more
    }

    fn uplink_toml(&self) -> String {
        let hook = match self.hook {
            Hook::Xdp => "hook = \"xdp\"\nsenders_complete_checksums = true",
            Hook::Tc => "hook = \"tc\"",
        };
        let keys: String = self.uplink.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("\n[[uplink]]\ninterface = \"{UPLINK}\"\nvpc = \"prod\"\n{hook}\n{keys}")
    }

    fn dataplane(&self, bed: &Testbed) -> String {
        let [pin_dir, state_dir] = [bed.pin_dir.clone(), bed.dir().join("state")];
        let line = |key: &str, flows: Option<u32>| flows.map(|flows| format!("{key} = {flows}\n"));
        let budgets = [("max_half_open", self.max_half_open), ("max_half_open_v6", self.max_half_open_v6)];
        format!(
            "[dataplane]\npin_dir = \"{}\"\nstate_dir = \"{}\"\nmax_flows = {}\nmax_flows_v6 = {MAX_FLOWS_V6}\n{}",
            pin_dir.display(),
            state_dir.display(),
            self.max_flows,
            budgets.iter().filter_map(|(key, flows)| line(key, *flows)).collect::<String>(),
        )
    }
}

impl Service {
    fn toml(&self, bed: &Testbed) -> String {
        let Self { name, address, .. } = self;
        let port = if self.port == ANY_PORT { "\"any\"".to_owned() } else { self.port.to_string() };
        let protocol = self.protocol.name();
        let idle = self.idle_timeout_s.map(|seconds| format!("idle_timeout = {seconds}\n"));
        let on_idle = if self.tells_both_ends { "on_idle = \"both_ends\"\n" } else { "" };
        self.group_toml(bed)
            + &format!(
                "\n[[listener]]\nname = \"{name}\"\nvpc = \"prod\"\naddress = \"{address}\"\nport = {port}\n\
             protocol = \"{protocol}\"\ntarget_group = \"{name}\"\n{}{on_idle}",
                idle.unwrap_or_default()
            )
    }

    fn group_toml(&self, bed: &Testbed) -> String {
        let mut text = format!("\n[[target_group]]\nname = \"{}\"\n", self.name);
        if self.target_port != ANY_PORT {
            text += &format!("port = {}\n", self.target_port);
        }
        if self.is_sticky {
            text += "stickiness = \"source_ip\"\n";
        }
        for sandbox in bed.sandboxes.iter().take(*self.sandboxes.end()).skip(self.sandboxes.start() - 1) {
            // Writing to a String cannot fail.
            let _: std::fmt::Result = write!(
                text,
                "\n  [[target_group.target]]\n  name = \"{}\"\n  netns = \"{}\"\n  interface = \"eth0\"\n",
                sandbox.name,
                sandbox.netns.name(),
            );
        }
        text
    }
}
