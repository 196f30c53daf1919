//! Security groups, as values that a test can vary; connectors that share a subnet; and what is told of both.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::error::Error;
use crate::topology::Testbed;
use crate::weir::Weir;

/// Who is at the other end of what a rule allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Far<'a> {
    /// Whose address begins so.
    Cidr(&'a str),
    /// Whose address begins as one of a list does.
    List(&'a str),
    /// Who is in a security group.
    Group(&'a str),
}

/// A rule, as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule(String);

impl Rule {
    /// All of a protocol's: `tcp`, `udp`, `icmp`, `icmpv6`, or `all`.
    #[must_use]
    pub fn of(protocol: &str, far: Far<'_>) -> Self {
        let (key, name) = match far {
            Far::Cidr(prefix) => ("cidr", prefix),
            Far::List(name) => ("prefix_list", name),
            Far::Group(name) => ("security_group", name),
        };
        Self(format!("protocol = \"{protocol}\"\n{key} = \"{name}\"\n"))
    }

    /// Of these ports alone: one, or `first-last`.
    #[must_use]
    pub fn ports(self, ports: impl Display) -> Self {
        Self(format!("{}ports = \"{ports}\"\n", self.0))
    }

    /// Of ICMP messages of this type alone.
    #[must_use]
    pub fn kind(self, kind: u8) -> Self {
        Self(format!("{}type = {kind}\n", self.0))
    }

    /// Everybody and everything, by both families.
    #[must_use]
    pub fn everything() -> [Self; 2] {
        ["0.0.0.0/0", "::/0"].map(|all| Self::of("all", Far::Cidr(all)))
    }
}

/// A security group of the VPC `prod`.
#[must_use]
pub fn group(name: &str, outbound: &[Rule], inbound: &[Rule]) -> String {
    let mut text = format!("\n[[security_group]]\nname = \"{name}\"\nvpc = \"prod\"\n");
    let ways = outbound.iter().map(|it| ("outbound", it)).chain(inbound.iter().map(|it| ("inbound", it)));
    for (way, Rule(rule)) in ways {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(text, "\n[[security_group.{way}]]\n{rule}");
    }
    text
}

/// A prefix list.
#[must_use]
pub fn prefix_list(name: &str, prefixes: &[&str]) -> String {
    format!("\n[[prefix_list]]\nname = \"{name}\"\nprefixes = {prefixes:?}\n")
}

/// A connector of a tenant in the subnet `out`, which is another connector's already, and the slots that have it.
#[must_use]
pub fn beside(
    bed: &Testbed,
    [tenant, name]: [&str; 2],
    sandboxes: RangeInclusive<usize>,
    groups: &[&str],
) -> String {
    let connector = format!(
        "\n[[connector]]\nname = \"{name}\"\ntenant = \"{tenant}\"\nsubnets = [\"out\"]\nsecurity_groups = {groups:?}\n"
    );
    let there = bed.sandboxes.iter().take(*sandboxes.end()).skip(sandboxes.start() - 1);
    there.fold(connector, |text, sandbox| {
        let netns = sandbox.netns.name();
        text + &format!("\n[[slot]]\nnetns = \"{netns}\"\ninterface = \"eth0\"\nconnector = \"{name}\"\n")
    })
}

/// How many flows were blocked, outwards and inwards, on the connectors of each group: by `weir get security-groups`.
pub fn blocked(weir: &Weir) -> Result<BTreeMap<String, [u64; 2]>, Error> {
    let shown = weir.shown(&["get", "security-groups"])?;
    let read = |group: &Value| {
        let count = |field: &str| group.get(field)?.as_u64();
        let name = group.get("name")?.as_str()?.to_owned();
        Some((name, [count("blocked_out")?, count("blocked_in")?]))
    };
    let groups = shown.as_array().and_then(|all| all.iter().map(read).collect());
    groups.ok_or_else(|| Error::Output {
        command: "weir get security-groups -o json".into(),
        why: "not the fields that security groups have".into(),
        output: shown.to_string(),
    })
}
