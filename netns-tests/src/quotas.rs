//! Quotas, as values that a test can vary; and what a sandbox or a tenant holds of them.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::topology::Sandbox;
use crate::weir::Weir;

/// What there may be only so much of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Flows.
    Flows,
    /// Those among them that are half-open.
    HalfOpen,
    /// Ports of ENIs.
    Ports,
    /// Flows that are opened in a second.
    NewFlows,
}

impl Kind {
    const fn key(self) -> &'static str {
        match self {
            Self::Flows => "max_flows",
            Self::HalfOpen => "max_half_open",
            Self::Ports => "max_ports",
            Self::NewFlows => "max_new_flows",
        }
    }
}

/// Whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// All sandboxes of a tenant have it together.
    Tenant,
    /// Each of its sandboxes has it.
    Sandbox,
}

/// The section of a tenant, with these quotas.
#[must_use]
pub fn tenant(name: &str, quotas: &[(Whose, Kind, u32)]) -> String {
    let mut text = format!("\n[[tenant]]\nname = \"{name}\"\n");
    let lines = |whose| -> String {
        let of = quotas.iter().filter(move |(of, ..)| *of == whose);
        of.map(|(_, kind, most)| format!("{} = {most}\n", kind.key())).collect()
    };
    text += &lines(Whose::Tenant);
    text += &format!("[tenant.sandbox]\n{}", lines(Whose::Sandbox));
    text
}

/// What is held, and how often more was refused, by `weir get tenants` and `weir get sandboxes`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
pub struct Held {
    /// Flows, half-open ones too.
    pub flows: u64,
    /// Half-open flows.
    pub half_open: u64,
    /// Ports.
    pub ports: u64,
    refused_flows: u64,
    refused_half_open: u64,
    refused_ports: u64,
    refused_new_flows: u64,
}

impl Held {
    /// Of a tenant.
    pub fn by_tenant(weir: &Weir, name: &str) -> Result<Self, Error> {
        Self::read(weir, "tenants", "name", name)
    }

    /// Of the sandbox in a slot.
    pub fn by_sandbox(weir: &Weir, sandbox: &Sandbox) -> Result<Self, Error> {
        Self::read(weir, "sandboxes", "slot", &format!("{}:eth0", sandbox.netns.name()))
    }

    fn read(weir: &Weir, what: &str, key: &str, name: &str) -> Result<Self, Error> {
        let shown = weir.shown(&["get", what])?;
        let one = shown.as_array().into_iter().flatten().find(|it| it.get(key) == Some(&Value::from(name)));
        let read = one.cloned().map(serde_json::from_value).and_then(Result::ok);
        read.ok_or_else(|| Error::Output {
            command: format!("weir get {what} -o json"),
            why: format!("nothing of {name}, or not the fields that it has"),
            output: shown.to_string(),
        })
    }

    /// How much there is of a kind; nothing is held of what is opened in a second.
    #[must_use]
    pub const fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Flows => self.flows,
            Kind::HalfOpen => self.half_open,
            Kind::Ports => self.ports,
            Kind::NewFlows => 0,
        }
    }

    /// How often more of a kind was refused.
    #[must_use]
    pub const fn refused(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Flows => self.refused_flows,
            Kind::HalfOpen => self.refused_half_open,
            Kind::Ports => self.refused_ports,
            Kind::NewFlows => self.refused_new_flows,
        }
    }

    /// How often anything was refused.
    #[must_use]
    pub const fn refused_at_all(&self) -> u64 {
        self.refused_flows + self.refused_half_open + self.refused_ports + self.refused_new_flows
    }

    /// Whether nothing is held.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.flows == 0 && self.half_open == 0 && self.ports == 0
    }
}
