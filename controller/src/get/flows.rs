//! Flows as answers: one line each, as those who opened them see them.
//!
//! A sandbox is the client of a flow that it opened through an ENI: its VIP is what it opened it to, and nobody is the
//! target.

use super::names::Names;
use super::table::{endpoint, table};
use serde::Serialize;
use weir_dataplane::flows::Flow;
use weir_path::addr::{Ip6, Zone};
use weir_path::flow::{Counts, Ends};
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
    /// The VIP; of a sandbox's own flow, the address that it opened it to.
    pub vip: String,
    /// The port there.
    pub vip_port: u16,
    /// Who serves it; none where the configuration no longer names it, and of a sandbox's own flow.
    pub target: Option<String>,
    /// The port of whoever serves it.
    pub target_port: u16,
    /// The number of the slot's binding.
    pub binding: u32,
    /// The ENI's address that a sandbox's own flow leaves from; none where a client opened the flow.
    pub eni: Option<String>,
    /// The port there.
    pub eni_port: Option<u16>,
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
        names: &Names,
    ) -> Self {
        let [opening, serving] = zones;
        let is_own = !serving.is_binding();
        let binding = if is_own { opening } else { serving }.number();
        Self {
            protocol: protocol_name(number),
            client: original.src.to_string(),
            client_port: original.sport.number(),
            vip: original.dst.to_string(),
            vip_port: original.dport.number(),
            target: names.target(binding, reply.sport).filter(|_| !is_own).map(str::to_owned),
            target_port: reply.sport.number(),
            binding,
            eni: is_own.then(|| reply.dst.to_string()),
            eni_port: is_own.then(|| reply.dport.number()),
        }
    }

    pub(crate) fn client(&self) -> String {
        endpoint(&self.client, self.client_port)
    }

    pub(crate) fn vip(&self) -> String {
        endpoint(&self.vip, self.vip_port)
    }

    pub(crate) fn target(&self) -> &str {
        self.target.as_deref().unwrap_or("-")
    }

    /// The ENI's end of a sandbox's own flow.
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
        ends: FlowEnds::new(flow.protocol, &flow.original, &flow.reply, flow.zones, names),
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
            it.ends.client(),
            it.ends.vip(),
            it.ends.target().into(),
            it.ends.target_port.to_string(),
            it.ends.binding.to_string(),
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
pub(crate) mod tests {
    use super::super::views::tests::{interfaces, json, slots};
    use super::*;
    use crate::config::tests::{SMALL, config};
    use weir_dataplane::flows::FlowId;
    use weir_path::addr::{Address, Ip4, L4Port};
    use weir_path::flow::{Account, Phase, PortUse, RecordId};
    use weir_path::time::Seconds;

    #[test]
    fn a_udp_mapping_is_named_and_not_taken_for_icmp() {
        let numbers = [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::ICMPV6, protocol::MAPPING];
        assert_eq!(numbers.map(protocol_name), ["tcp", "udp", "icmp", "icmp", "udp_mapping"]);
    }

    #[test]
    fn a_flow_is_shown_once_as_its_client_sees_it() {
        let counts = [Counts { packets: 3, bytes: 200 }, Counts { packets: 2, bytes: 1_500 }];
        let views = flows(&names(), vec![(flow(40_000, 7, 8_081), counts)], Now(800 + 4));
        assert_eq!(
            json(&views),
            concat!(
                r#"[{"protocol":"tcp","client":"203.0.113.9","client_port":40000,"vip":"198.51.100.10","vip_port":80,"#,
                r#""target":"sandbox-1","target_port":8081,"binding":7,"eni":null,"eni_port":null,"#,
                r#""phase":"established","age_seconds":100.5,"idle_seconds":0.5,"idle_timeout_seconds":350,"to_target_packets":3,"to_target_bytes":200,"#,
                r#""to_client_packets":2,"to_client_bytes":1500}]"#,
            )
        );
        let shown = as_table(&views);
        assert_eq!(
            shown.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
            [
                "tcp",
                "203.0.113.9:40000",
                "198.51.100.10:80",
                "sandbox-1",
                "8081",
                "7",
                "-",
                "established",
                "100.5s",
                "0.5s",
                "3p/200B",
                "2p/1500B"
            ]
        );
    }

    #[test]
    fn ipv6_addresses_are_shown_as_they_are_and_in_brackets_before_a_port() {
        let v6 = |last| Ip6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        let mut flow = flow(40_000, 7, 8_080);
        (flow.original.src, flow.original.dst) = (v6(9), v6(1));
        let views = flows(&names(), vec![(flow, [Counts::default(); 2])], Now(0));
        let ends = &views[0].ends;
        assert_eq!((ends.client.as_str(), ends.client()), ("2001:db8::9", "[2001:db8::9]:40000".into()));
        assert_eq!((ends.vip(), ends.target()), ("[2001:db8::1]:80".into(), "-"));
    }

    #[test]
    fn a_sandboxs_own_flow_shows_where_it_leads_and_the_enis_port_that_it_has() {
        let mut own = flow(40_000, 7, 443);
        own.original = Ends { dport: L4Port::new(443), ..own.original };
        let [remote, address] = [[198, 51, 100, 10], [10, 0, 1, 7]].map(|it| Ip4(it).mapped());
        own.reply = Ends { src: remote, dst: address, sport: L4Port::new(443), dport: L4Port::new(1_024) };
        own.zones.reverse();
        let views = flows(&names(), vec![(own, [Counts::default(); 2])], Now(0));
        let ends = &views[0].ends;
        assert_eq!((ends.vip().as_str(), ends.target(), ends.binding), ("198.51.100.10:443", "-", 7));
        assert_eq!(ends.eni().as_deref(), Some("10.0.1.7:1024"));
    }

    #[test]
    fn flows_are_in_the_order_of_their_clients() {
        let some = [40_001, 40_000, 39_999].map(|port| (flow(port, 7, 8_081), [Counts::default(); 2]));
        let views = flows(&names(), some.to_vec(), Now(0));
        let ports: Vec<_> = views.iter().map(|view| view.ends.client_port).collect();
        assert_eq!(ports, [39_999, 40_000, 40_001]);
    }

    pub(crate) fn names() -> Names {
        Names::new(&config(SMALL), &slots(), &interfaces())
    }

    /// An established connection from this client port, opened at the beginning and heard at 800.
    pub(crate) fn flow(client_port: u16, binding: u32, port: u16) -> Flow {
        let [client, vip, sandbox] =
            [[203, 0, 113, 9], [198, 51, 100, 10], [169, 254, 100, 2]].map(|it| Ip4(it).mapped());
        let (client_port, target_port) = (L4Port::new(client_port), L4Port::new(port));
        Flow {
            id: FlowId { is_v6: false, record: RecordId(1), incarnation: 1 },
            protocol: protocol::TCP,
            original: Ends { src: client, dst: vip, sport: client_port, dport: L4Port::new(80) },
            reply: Ends { src: sandbox, dst: client, sport: target_port, dport: client_port },
            zones: [Zone::of_vpc(1).unwrap(), Zone::of_binding(binding).unwrap()],
            phase: Phase::Established,
            opened: Now(0),
            seen: Now(800),
            idle: Seconds(350),
            port: PortUse::NONE,
            account: Account::default(),
        }
    }
}
