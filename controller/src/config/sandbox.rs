//! `[sandbox]`: whether its parts fit together, and whether listeners keep off its addresses.

use super::draft::SandboxDraft;
use super::listeners::ListenerDraft;
use super::model::Sandbox;
use super::problem::Problem;
use super::reader::Problems;
use miette::SourceSpan;
use std::fmt::Display;
use weir_path::addr::{Address, Ip6};

pub(super) fn check(draft: &SandboxDraft, problems: &mut Problems) {
    let (Some(at), sandbox) = (draft.at, draft.values) else { return };
    if sandbox.address == sandbox.gateway {
        problems.add(same(at, "address", &sandbox.address, "write two different addresses of one subnet"));
    }
    if sandbox.mac == sandbox.gateway_mac {
        problems.add(same(at, "MAC address", &sandbox.mac, "write two different MAC addresses"));
    }
    if let Some(v6) = sandbox.v6.filter(|v6| v6.address == v6.gateway) {
        problems.add(same(at, "IPv6 address", &v6.address, "write two different addresses of one subnet"));
    }
    let alone = match (draft.address6, draft.gateway6) {
        (Some(address), None) => Some((address.at, "address6", "gateway6")),
        (None, Some(gateway)) => Some((gateway.at, "gateway6", "address6")),
        _ => None,
    };
    if let Some((at, there, missing)) = alone.filter(|_| !draft.has_bad_v6) {
        problems.add(Problem::new(
            at,
            format!("[sandbox] has `{there}`, but no `{missing}`"),
            "one without the other",
            format!("add a line like `{missing} = \"fd00:7765:6972::1\"`, or remove `{there}`"),
        ));
    }
}

fn same(at: SourceSpan, what: &str, value: &dyn Display, help: &str) -> Problem {
    let message = format!("the sandbox and its gateway have the same {what}, {value}");
    Problem::new(at, message, "in this section", help)
}

/// A listener's address is nobody else's, and sandboxes can be reached by its family, where they are to serve it.
pub(super) fn check_vip(
    listener: &ListenerDraft,
    by_sandboxes: bool,
    draft: &SandboxDraft,
    problems: &mut Problems,
) {
    let (Some(vip), sandbox) = (listener.address, draft.values) else { return };
    if let Some(whose) = owner(&sandbox, vip.value) {
        problems.add(Problem::new(
            vip.at,
            format!("a listener can't have {}: it is {whose}", vip.value),
            whose,
            "write an address of the VPC here, or change the addresses in [sandbox]",
        ));
    }
    if vip.value.as_ip4().is_none() && by_sandboxes && !draft.has_v6() {
        problems.add(Problem::new(
            vip.at,
            format!("{} is an IPv6 address, but sandboxes have none, so nobody can serve it", vip.value),
            "an IPv6 listener",
            "add `address6` and `gateway6` to [sandbox], or write an IPv4 address",
        ));
    }
}

/// What this address is in every sandbox, if it is anything there.
pub(super) fn owner(sandbox: &Sandbox, vip: Ip6) -> Option<&'static str> {
    let v6 = sandbox.v6;
    if is_own(sandbox, vip) {
        return Some("every sandbox's own address");
    }
    let is_gateway = vip == sandbox.gateway.mapped() || v6.is_some_and(|v6| vip == v6.gateway);
    is_gateway.then_some("every sandbox's gateway")
}

/// Whether this is what every sandbox has itself.
pub(super) fn is_own(sandbox: &Sandbox, address: Ip6) -> bool {
    address == sandbox.address.mapped() || sandbox.v6.is_some_and(|v6| address == v6.address)
}
