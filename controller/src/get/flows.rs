//! Flows as answers: one line each, as those who opened them see them.
//!
//! ```text
//!   who opens      what it asks for       who serves                     leaves from
//!   client         VIP                    a slot: binding                (its own address)
//!   client         VIP                    an address in a VPC            an ENI
//!   sandbox        VIP, or a service      a slot, or an address          an ENI
//!   sandbox        anybody in its VPC     that one: nobody is the target an ENI
//! ```

use super::names::Names;
use super::table::{endpoint, table};
use serde::Serialize;
use weir_dataplane::flows::Flow;
use weir_path::addr::{Ip6, Zone};
use weir_path::flow::{Account, Counts, Ends};
use weir_path::time::Now;
use weir_path::wire::protocol;

/// Whose a flow is and where it leads: what is said alike of one that lives and of one that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowEnds {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The client's address.
    pub client: String,
    /// The client's port.
    pub client_port: u16,
    /// The VIP, or the service; of a sandbox's own flow into its VPC, the address that it opened it to.
    pub vip: String,
    /// The port there.
    pub vip_port: u16,
    /// Who serves it; none where the configuration no longer names it, and of a sandbox's own flow into its VPC.
    pub target: Option<String>,
    /// The address of who serves it, where that is one in a VPC and not the one that was asked for.
    pub target_address: Option<String>,
    /// The port of whoever serves it.
    pub target_port: u16,
    /// The number of the binding of the slot that serves it; of the one that opened it, where no slot serves; none where
    /// no slot has to do with it.
    pub binding: Option<u32>,
    /// The number of the binding of the slot that opened it; none where a client did.
    pub client_binding: Option<u32>,
    /// The ENI's address that it leaves from; none where a client's own is kept.
    pub eni: Option<String>,
    /// The port there.
    pub eni_port: Option<u16>,
    /// Whose it is; none where nobody's, or whose name is no longer known.
    pub tenant: Option<String>,
}

/// What a flow carried. A GSO packet counts its segments; bytes are counted from the IP header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// Packets from the client.
    pub to_target_packets: u64,
    /// Bytes from the client.
    pub to_target_bytes: u64,
    /// Packets from the target.
    pub to_client_packets: u64,
    /// Bytes from the target.
    pub to_client_bytes: u64,
}

/// One flow, as its client sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowView {
    /// Whose it is and where it leads.
    #[serde(flatten)]
    pub ends: FlowEnds,
    /// How far it has come: `new`, `answered`, `established`, `reset` or `closing`.
    pub phase: &'static str,
    /// How long ago it was opened.
    pub age_seconds: f64,
    /// How long ago it was last heard, as far as that was written down: up to a sixty-fourth of its timeout and a
    /// second too much.
    pub idle_seconds: f64,
    /// How long it may be silent once it is established.
    pub idle_timeout_seconds: u16,
    /// What it carried.
    #[serde(flatten)]
    pub carried: Carried,
}

impl FlowEnds {
    pub(crate) fn new(
        number: u8,
        original: &Ends<Ip6>,
        reply: &Ends<Ip6>,
        zones: [Zone; 2],
        account: Account,
        names: &Names,
    ) -> Self {
        let [_, serving] = zones;
        let [client_binding, target_binding] = zones.map(|it| it.is_binding().then(|| it.number()));
        let is_elsewhere = (reply.src, reply.sport) != (original.dst, original.dport);
        let is_relayed = target_binding.is_none() && (client_binding.is_none() || is_elsewhere);
        let has_target = target_binding.is_some() || is_relayed;
        let is_enis = client_binding.is_some() || target_binding.is_none();
        Self {
            protocol: protocol_name(number),
            client: original.src.to_string(),
            client_port: original.sport.number(),
            vip: original.dst.to_string(),
            vip_port: original.dport.number(),
            target: names.target(serving, reply).filter(|_| has_target).map(str::to_owned),
            target_address: is_relayed.then(|| reply.src.to_string()),
            target_port: reply.sport.number(),
            binding: target_binding.or(client_binding),
            client_binding,
            eni: is_enis.then(|| reply.dst.to_string()),
            eni_port: is_enis.then(|| reply.dport.number()),
            tenant: names.tenant(account).map(str::to_owned),
        }
    }

    pub(crate) fn client(&self) -> String {
        endpoint(&self.client, self.client_port)
    }

    pub(crate) fn vip(&self) -> String {
        endpoint(&self.vip, self.vip_port)
    }

    /// The name of who serves it, or else the address.
    pub(crate) fn target(&self) -> &str {
        self.target.as_deref().or(self.target_address.as_deref()).unwrap_or("-")
    }

    /// The slots that have to do with it: who opened it, and who serves it.
    pub(crate) fn bindings(&self) -> String {
        match (self.client_binding, self.binding) {
            (Some(client), Some(target)) if client != target => format!("{client}>{target}"),
            (_, binding) => binding.map_or_else(|| "-".to_owned(), |binding| binding.to_string()),
        }
    }

    pub(crate) fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or("-")
    }

    /// The ENI's end of it.
    pub(crate) fn eni(&self) -> Option<String> {
        self.eni.as_ref().map(|address| endpoint(address, self.eni_port.unwrap_or_default()))
    }
}

impl Carried {
    pub(crate) const fn new([to_target, to_client]: [Counts; 2]) -> Self {
        Self {
            to_target_packets: to_target.packets,
            to_target_bytes: to_target.bytes,
            to_client_packets: to_client.packets,
            to_client_bytes: to_client.bytes,
        }
    }
}

pub(super) const fn protocol_name(number: u8) -> &'static str {
    match number {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::MAPPING => "udp_mapping",
        _ => "icmp",
    }
}

/// Seconds between two moments.
pub(crate) fn seconds(from: Now, to: Now) -> f64 {
    f64::from(to.since(from)) / f64::from(Now::IN_A_SECOND)
}

pub(super) fn flows(names: &Names, mut flows: Vec<(Flow, [Counts; 2])>, now: Now) -> Vec<FlowView> {
    flows.sort_unstable_by_key(|(flow, _)| (flow.original, flow.protocol, flow.zones));
    let view = |(flow, counts): (Flow, [Counts; 2])| FlowView {
        ends: FlowEnds::new(flow.protocol, &flow.original, &flow.reply, flow.zones, flow.account, names),
        phase: flow.phase.name(),
        age_seconds: seconds(flow.opened, now),
        idle_seconds: seconds(flow.seen, now),
        idle_timeout_seconds: flow.idle.0,
        carried: Carried::new(counts),
    };
    flows.into_iter().map(view).collect()
}

pub(super) fn as_table(views: &[FlowView]) -> String {
    let header = [
        "PROTOCOL",
        "TENANT",
        "CLIENT",
        "VIP",
        "TARGET",
        "PORT",
        "BINDING",
        "ENI",
        "PHASE",
        "AGE",
        "IDLE",
        "TO TARGET",
        "TO CLIENT",
    ];
    let rows = views.iter().map(|it| {
        let Carried { to_target_packets, to_target_bytes, to_client_packets, to_client_bytes } = it.carried;
        vec![
            it.ends.protocol.into(),
            it.ends.tenant().into(),
            it.ends.client(),
            it.ends.vip(),
            it.ends.target().into(),
            it.ends.target_port.to_string(),
            it.ends.bindings(),
            it.ends.eni().unwrap_or_else(|| "-".into()),
            it.phase.into(),
            format!("{:.1}s", it.age_seconds),
            format!("{:.1}s", it.idle_seconds),
            format!("{to_target_packets}p/{to_target_bytes}B"),
            format!("{to_client_packets}p/{to_client_bytes}B"),
        ]
    });
    table(&header, rows)
}

#[cfg(test)]
pub(crate) mod tests;
