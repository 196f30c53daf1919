//! Counters: Weir's, as `weir get counters` prints them, and the kernel's own.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use weir_path::reason::{Class, Reason};

use crate::error::Error;
use crate::netns::Netns;
use crate::process;

/// What one of Weir's hooks counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HookCounters {
    /// Packets that entered.
    pub entered: u64,
    /// Packets that left, by the name of the reason. Zeros are left out.
    pub reasons: BTreeMap<String, u64>,
}

/// What Weir counted, by hook.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// By the hook's name.
    pub hooks: BTreeMap<String, HookCounters>,
    /// Packets sent, by the interface's name.
    pub sent: BTreeMap<String, u64>,
    /// Flows that ended, by why. Zeros are left out.
    pub ended: BTreeMap<String, u64>,
    /// Ends that `weir events` was not told.
    pub events_lost: u64,
}

impl Counters {
    /// Reads what `weir get counters -o json` printed.
    pub(crate) fn read(printed: &Value) -> Option<Self> {
        let mut counters = Self::default();
        for hook in printed.get("hooks")?.as_array()? {
            let mut reasons = BTreeMap::new();
            for reason in hook.get("reasons")?.as_array()? {
                let packets = reason.get("packets")?.as_u64()?;
                if packets > 0 {
                    reasons.insert(reason.get("reason")?.as_str()?.to_owned(), packets);
                }
            }
            let entered = hook.get("entered")?.as_u64()?;
            counters.hooks.insert(hook.get("hook")?.as_str()?.to_owned(), HookCounters { entered, reasons });
        }
        for interface in printed.get("sent")?.as_array()? {
            let name = interface.get("name")?.as_str()?.to_owned();
            *counters.sent.entry(name).or_default() += interface.get("packets")?.as_u64()?;
        }
        for end in printed.get("ended")?.as_array()? {
            counters.ended.insert(end.get("reason")?.as_str()?.to_owned(), end.get("flows")?.as_u64()?);
        }
        counters.events_lost = printed.get("events_lost")?.as_u64()?;
        Some(counters)
    }

    /// Flows that ended for this reason.
    #[must_use]
    pub fn ended(&self, reason: &str) -> u64 {
        self.ended.get(reason).copied().unwrap_or(0)
    }

    /// Packets that left for this reason, over all hooks.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.hooks.values().filter_map(|hook| hook.reasons.get(reason.name())).sum()
    }

    /// Packets that entered, over all hooks.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.hooks.values().map(|hook| hook.entered).sum()
    }

    /// Packets that entered on the uplink, by whichever hook it has.
    #[must_use]
    pub fn entered_on_uplink(&self) -> u64 {
        self.hooks.iter().filter(|(name, _)| name.starts_with("uplink")).map(|(_, hook)| hook.entered).sum()
    }

    /// Packets sent out by the uplink.
    #[must_use]
    pub fn sent_by_uplink(&self) -> u64 {
        self.sent.get("uplink").copied().unwrap_or(0)
    }

    /// Packets that went on: forwarded, answered, or passed to the kernel.
    #[must_use]
    pub fn went_on(&self) -> u64 {
        let going_on = Reason::ALL.iter().filter(|reason| reason.class() != Class::Dropped);
        going_on.map(|reason| self.of(*reason)).sum()
    }

    /// Packets that were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let dropped = Reason::ALL.iter().filter(|reason| reason.class() == Class::Dropped);
        dropped.map(|reason| self.of(*reason)).sum()
    }

    /// Every reason that was given, over all hooks.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for (name, packets) in self.hooks.values().flat_map(|hook| &hook.reasons) {
            *sum.entry(name.clone()).or_default() += packets;
        }
        sum
    }

    /// By how many packets the hooks' entries differ from their exits: 0 at rest.
    #[must_use]
    pub fn conservation_diff(&self) -> u64 {
        self.hooks.values().map(|hook| hook.entered.abs_diff(hook.reasons.values().sum())).sum()
    }
}

/// Packets a device of a namespace has received, as the kernel counts them.
pub fn received(netns: &Netns, device: &str) -> Result<u64, Error> {
    packets(netns, device, "/stats64/rx/packets")
}

/// Packets a device of a namespace has sent, as the kernel counts them.
pub fn sent(netns: &Netns, device: &str) -> Result<u64, Error> {
    packets(netns, device, "/stats64/tx/packets")
}

fn packets(netns: &Netns, device: &str, field: &str) -> Result<u64, Error> {
    let link = netns.link(device)?;
    link.pointer(field).and_then(Value::as_u64).ok_or_else(|| Error::Output {
        command: format!("ip -n {} -j -s -d link show dev {device}", netns.name()),
        why: format!("no {field}"),
        output: link.to_string(),
    })
}

/// Packets that the devices of a namespace had no room for, on the way in and out, as the kernel counts them.
pub fn dropped(netns: &Netns) -> Result<u64, Error> {
    let mut command = Command::new("ip");
    let links = process::json(command.args(["-n", netns.name(), "-j", "-s", "link", "show"]))?;
    let of_link = |link: &Value| {
        let fields = ["/stats64/rx/dropped", "/stats64/tx/dropped"];
        fields.iter().filter_map(|field| link.pointer(field)?.as_u64()).sum::<u64>()
    };
    Ok(links.as_array().into_iter().flatten().map(of_link).sum())
}

/// How XDP runs on a device, as the kernel says.
pub fn xdp_mode(netns: &Netns, device: &str) -> Result<&'static str, Error> {
    // XDP_ATTACHED_* of the kernel's if_link.h.
    Ok(match netns.link(device)?.pointer("/xdp/mode").and_then(Value::as_u64) {
        None | Some(0) => "none",
        Some(1) => "native",
        Some(2) => "generic",
        Some(3) => "hardware",
        Some(_) => "several",
    })
}

/// A counter of `/proc/net/snmp` in a namespace, like `Tcp` `RetransSegs`.
pub fn snmp(netns: &Netns, protocol: &str, counter: &str) -> Result<u64, Error> {
    // Not /proc/net: that is the namespace of the process, and only this thread has entered another.
    counter_of("/proc/thread-self/net/snmp", netns, protocol, counter)
}

/// Segments sent from a namespace, those that were sent again included. A packet of many segments is as many.
pub fn segments_sent(netns: &Netns) -> Result<u64, Error> {
    Ok(snmp(netns, "Tcp", "OutSegs")? + snmp(netns, "Tcp", "RetransSegs")?)
}

/// Segments with data or a FIN that were sent again from a namespace: those of handshakes are left out.
pub fn retransmissions(netns: &Netns) -> Result<u64, Error> {
    let of_handshakes = handshake_retransmissions(netns)?;
    Ok(snmp(netns, "Tcp", "RetransSegs")?.saturating_sub(of_handshakes))
}

/// Segments sent again from a namespace that had really been lost: for one that came twice, since it was only late,
/// the receiver says so (RFC 2883).
pub fn losses(netns: &Netns) -> Result<u64, Error> {
    let came_twice = ["TCPDSACKRecv", "TCPDSACKOfoRecv"]
        .iter()
        .map(|counter| counter_of("/proc/thread-self/net/netstat", netns, "TcpExt", counter))
        .sum::<Result<u64, Error>>()?;
    Ok(retransmissions(netns)?.saturating_sub(came_twice))
}

/// SYNs and SYN-ACKs that were sent again from a namespace.
pub fn handshake_retransmissions(netns: &Netns) -> Result<u64, Error> {
    counter_of("/proc/thread-self/net/netstat", netns, "TcpExt", "TCPSynRetrans")
}

/// A counter of `/proc/net/snmp6` in a namespace, like `Udp6InCsumErrors`.
pub fn snmp6(netns: &Netns, counter: &str) -> Result<u64, Error> {
    const FILE: &str = "/proc/thread-self/net/snmp6";
    let text = netns.enter(|| fs::read_to_string(FILE))?.map_err(Error::file("read", FILE))?;
    let value = text.lines().find_map(|line| line.strip_prefix(counter)?.trim().parse().ok());
    value.ok_or_else(|| Error::Output {
        command: format!("{FILE} in {}", netns.name()),
        why: format!("no {counter}"),
        output: text,
    })
}

fn counter_of(file: &'static str, netns: &Netns, protocol: &str, counter: &str) -> Result<u64, Error> {
    let text = netns.enter(move || fs::read_to_string(file))?.map_err(Error::file("read", file))?;
    snmp_of(&text, protocol, counter).ok_or_else(|| Error::Output {
        command: format!("{file} in {}", netns.name()),
        why: format!("no {counter} of {protocol}"),
        output: text,
    })
}

/// Two lines for each protocol: the counters' names, then their values.
fn snmp_of(text: &str, protocol: &str, counter: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let names = lines.next()?.split_whitespace();
    let values = lines.next()?.split_whitespace();
    names.zip(values).find(|(name, _)| *name == counter)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_under_its_protocol() {
        let text = "Tcp: RtoMin RetransSegs InErrs\nTcp: 200 7 1\nUdp: InErrs RetransSegs\nUdp: 4 5\n";
        assert_eq!(snmp_of(text, "Tcp", "RetransSegs"), Some(7));
        assert_eq!(snmp_of(text, "Udp", "InErrs"), Some(4));
        assert_eq!(snmp_of(text, "Udp", "OutDatagrams"), None);
    }

    #[test]
    fn conservation_sees_a_packet_that_left_without_a_reason() {
        let hook = HookCounters {
            entered: 10,
            reasons: BTreeMap::from([("to_slot".into(), 8), ("opened".into(), 1)]),
        };
        let hooks = BTreeMap::from([("uplink-xdp".into(), hook)]);
        let counters = Counters { hooks, ..Counters::default() };
        assert_eq!(counters.conservation_diff(), 1);
    }
}
