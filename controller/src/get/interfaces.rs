//! `weir get interfaces`: uplinks, ENIs and slots, as they are in force on their devices.

use super::GetError;
use super::pool::{eni_records, names};
use super::table::{joined, table};
use crate::config::Config;
use crate::host::{Device, devices_at_once};
use crate::pool::Pool;
use crate::store::SlotRecord;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use weir_dataplane::others::{Other, Ours};
use weir_dataplane::{AttachPoint, Attachment, Error, Tables};
use weir_path::addr::{Address, Ip4, Ip6, Mac};
use weir_path::packet::VlanTag;
use weir_path::tables::{ConnectorId, Interface, NextHopId};

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceView {
    /// Weir's number of it.
    pub interface: u32,
    /// `uplink`, the ENI, or the slot as the configuration names it.
    pub name: String,
    /// The device's name; none where the device is gone, or not in this namespace.
    pub device: Option<String>,
    /// The kernel's number of the device.
    pub ifindex: u32,
    /// The VPC that an uplink leads to.
    pub vpc: Option<String>,
    /// The number of a slot's binding.
    pub binding: Option<u32>,
    /// `active`, or `draining`: accepts nothing more, and is left by flows that are still there.
    pub state: &'static str,
    /// Where its program runs: `xdp`, `xdp-generic`, `tc`.
    pub hooks: Vec<&'static str>,
    /// The VLAN of its frames; none where they have no tag.
    pub vlan: Option<u16>,
    /// The longest IP packet that may leave.
    pub mtu: u32,
    /// How many answers a second are made.
    pub answers_per_second: u32,
    /// Weir's own IPv4 address there.
    pub address: Option<String>,
    /// Weir's own IPv6 address there.
    pub address6: Option<String>,
    /// The IPv4 gateway.
    pub gateway: Option<GatewayView>,
    /// The IPv6 gateway.
    pub gateway6: Option<GatewayView>,
    /// Other programs on the same hooks of the device.
    pub other_programs: Vec<ProgramView>,
    /// The connectors by whose ENIs a slot's sandbox opens connections, or whose ENI this is.
    pub connectors: Vec<String>,
}

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayView {
    /// Its address.
    pub address: String,
    /// Its MAC; none while it has not answered.
    pub mac: Option<String>,
}

/// A program that is not Weir's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramView {
    /// Where it runs.
    pub hook: &'static str,
    /// The kernel's number of it.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// What an interface's view is made of, but for its record.
pub(super) struct Around {
    /// The device's name.
    pub(super) device: Option<String>,
    /// Whether packets that come in find it.
    pub(super) is_in_force: bool,
    /// Who its gateways are.
    pub(super) stations: [Option<Mac>; 2],
    /// The programs of others.
    pub(super) others: Vec<ProgramView>,
    /// The connectors that it is of.
    pub(super) connectors: Vec<String>,
}

/// Every interface that is recorded.
pub(super) fn look(
    tables: &Tables,
    pin_dir: &Path,
    config: &Config,
    slots: &[SlotRecord],
    pool: &Pool,
) -> Result<Vec<InterfaceView>, GetError> {
    let (attached, ours) = (weir_dataplane::attachments(pin_dir)?, Ours::read(pin_dir)?);
    let (interfaces, devices) = (tables.interfaces()?, devices_at_once()?);
    let enis = eni_records(config, pool, &interfaces);
    let mut views = Vec::new();
    for interface in &interfaces {
        let (id, ifindex) = (interface.egress.id, interface.egress.ifindex);
        let device = devices.get(&ifindex);
        let around = Around {
            device: device.map(|device| device.name.clone()),
            // No frame that comes in finds an ENI.
            is_in_force: enis.get(&id).is_some_and(|(_, drains)| !drains) || tables.is_in_force(interface)?,
            stations: [tables.next_hop(NextHopId::gateway(id))?, tables.next_hop(NextHopId::gateway6(id))?],
            connectors: connectors(interface.connector, config, pool),
            others: device.map_or_else(|| Ok(Vec::new()), |device| others(device, &ours))?,
        };
        let name = super::views::sender(id, Some(interface), &interfaces, slots, &enis);
        views.push(view(interface, name, &around, &attached, config));
    }
    Ok(views)
}

/// The connectors of this number.
fn connectors(id: ConnectorId, config: &Config, pool: &Pool) -> Vec<String> {
    let entry = pool.entries.iter().find(|entry| entry.id == id);
    entry.map(|entry| names(config, &entry.key)).unwrap_or_default()
}

/// The programs of others on a device: of XDP, which run first, then of TC.
fn others(device: &Device, ours: &Ours) -> Result<Vec<ProgramView>, Error> {
    let on = |hook| move |other: Other| ProgramView { hook, id: other.id.0, name: other.name };
    let xdp = device.xdp.iter().filter_map(|program| ours.other(*program)).map(on("xdp"));
    Ok(xdp.chain(ours.others_on_tc(&device.name)?.into_iter().map(on("tc"))).collect())
}

pub(super) fn view(
    interface: &Interface,
    name: String,
    around: &Around,
    attached: &[Attachment],
    config: &Config,
) -> InterfaceView {
    let Interface { egress, zone, local, local6, .. } = *interface;
    let here = attached.iter().filter(|it| it.ifindex == egress.ifindex);
    let [station, station6] = around.stations;
    let vpc = config.vpcs.iter().find(|vpc| vpc.zone == zone).map(|vpc| vpc.name.value.clone());
    InterfaceView {
        interface: egress.id.0,
        name,
        device: around.device.clone(),
        ifindex: egress.ifindex.0,
        vpc,
        binding: zone.is_binding().then(|| zone.number()),
        state: if around.is_in_force { "active" } else { "draining" },
        hooks: here.map(|it| hook_name(it.point)).collect::<BTreeSet<_>>().into_iter().collect(),
        vlan: Some(interface.vlan.0).filter(|_| interface.vlan != VlanTag::NONE),
        mtu: interface.mtu,
        answers_per_second: interface.answers,
        address: (local != Ip4::default()).then(|| local.to_string()),
        address6: (local6 != Ip6::default()).then(|| local6.to_string()),
        gateway: gateway(interface.gateway.mapped(), interface.gateway != Ip4::default(), station),
        gateway6: gateway(interface.gateway6, interface.gateway6 != Ip6::default(), station6),
        other_programs: around.others.clone(),
        connectors: around.connectors.clone(),
    }
}

fn gateway(address: Ip6, is_there: bool, station: Option<Mac>) -> Option<GatewayView> {
    let mac = station.map(|station| station.to_string());
    is_there.then(|| GatewayView { address: address.to_string(), mac })
}

/// A slot's program is one of TC.
const fn hook_name(point: AttachPoint) -> &'static str {
    match point {
        AttachPoint::SlotTc => AttachPoint::UplinkTc.name(),
        uplink => uplink.name(),
    }
}

pub(super) fn as_table(views: &[InterfaceView]) -> String {
    table(
        &[
            "NAME",
            "DEVICE",
            "VPC",
            "HOOK",
            "VLAN",
            "MTU",
            "STATE",
            "OWN ADDRESS",
            "GATEWAY",
            "CONNECTORS",
            "OTHER PROGRAMS",
        ],
        views.iter().map(|it| {
            let none = || "-".to_owned();
            vec![
                it.name.clone(),
                it.device.clone().unwrap_or_else(|| format!("gone ({})", it.ifindex)),
                it.vpc.clone().unwrap_or_else(none),
                joined(it.hooks.iter().copied()),
                it.vlan.map_or_else(none, |vlan| vlan.to_string()),
                it.mtu.to_string(),
                it.state.into(),
                joined([&it.address, &it.address6].into_iter().flatten()),
                joined([&it.gateway, &it.gateway6].into_iter().flatten().map(gateway_cell)),
                joined(&it.connectors),
                joined(
                    it.other_programs
                        .iter()
                        .map(|program| format!("{} {} (id {})", program.hook, program.name, program.id)),
                ),
            ]
        }),
    )
}

fn gateway_cell(gateway: &GatewayView) -> String {
    let mac = gateway.mac.as_deref().unwrap_or("unresolved");
    format!("{} {mac}", gateway.address)
}

#[cfg(test)]
mod tests {
    use super::super::views::tests::json;
    use super::*;
    use crate::config::tests::{SMALL, config};
    use weir_path::addr::{IfIndex, InterfaceId, Zone};
    use weir_path::tables::{Delivery, Egress};

    fn uplink() -> Interface {
        Interface {
            egress: Egress { ifindex: IfIndex(2), id: InterfaceId(4), delivery: Delivery::TRANSMIT },
            zone: config(SMALL).vpcs[0].zone,
            mtu: 1_400,
            vlan: VlanTag(7),
            answers: 1_000,
            local: Ip4([10, 0, 0, 5]),
            gateway: Ip4([10, 0, 0, 1]),
            ..Interface::default()
        }
    }

    fn shown(interface: &Interface, name: &str, around: &Around) -> InterfaceView {
        let on = |ifindex, point| Attachment { ifindex: IfIndex(ifindex), point };
        let attached = [on(2, AttachPoint::UplinkXdpNative), on(5, AttachPoint::SlotTc)];
        view(interface, name.to_owned(), around, &attached, &config(SMALL))
    }

    #[test]
    fn an_uplink_says_where_it_leads_what_is_in_force_and_who_else_is_there() {
        let others = vec![ProgramView { hook: "tc", id: 77, name: "cil_from_netdev".into() }];
        let stations = [Some(Mac([2, 0, 0, 0, 0, 1])), None];
        let around =
            Around { device: Some("eth0".into()), is_in_force: true, stations, others, connectors: vec![] };
        let view = shown(&uplink(), "uplink", &around);
        assert_eq!(
            json(&view),
            concat!(
                r#"{"interface":4,"name":"uplink","device":"eth0","ifindex":2,"vpc":"prod","binding":null,"#,
                r#""state":"active","hooks":["xdp"],"vlan":7,"mtu":1400,"answers_per_second":1000,"#,
                r#""address":"10.0.0.5","address6":null,"#,
                r#""gateway":{"address":"10.0.0.1","mac":"02:00:00:00:00:01"},"gateway6":null,"#,
                r#""other_programs":[{"hook":"tc","id":77,"name":"cil_from_netdev"}],"connectors":[]}"#,
            )
        );
        let table = as_table(&[view]);
        for said in
            ["uplink", "eth0", "prod", "xdp", "10.0.0.1 02:00:00:00:00:01", "tc cil_from_netdev (id 77)"]
        {
            assert!(table.contains(said), "{said:?} is not in\n{table}");
        }
    }

    #[test]
    fn a_slot_and_what_is_not_there_are_said_too() {
        let slot = Interface {
            egress: Egress { ifindex: IfIndex(5), id: InterfaceId(1), delivery: Delivery::VETH_PEER },
            zone: Zone::of_binding(9).unwrap(),
            vlan: VlanTag::NONE,
            gateway: Ip4::default(),
            ..uplink()
        };
        let around = Around {
            device: None,
            is_in_force: false,
            stations: [None; 2],
            others: vec![],
            connectors: vec!["web-fn".into()],
        };
        let view = shown(&slot, "sb1:eth0", &around);
        assert_eq!((view.binding, &view.vpc, view.vlan, &view.gateway), (Some(9), &None, None, &None));
        assert_eq!((view.hooks.as_slice(), view.state), (&["tc"][..], "draining"));
        let shown_slot = as_table(&[view]);
        assert!(shown_slot.contains("gone (5)") && shown_slot.contains("web-fn"), "{shown_slot}");
        let unresolved = Around { is_in_force: true, ..around };
        assert!(as_table(&[shown(&uplink(), "uplink", &unresolved)]).contains("10.0.0.1 unresolved"));
    }
}
