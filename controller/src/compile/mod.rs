//! From what should be to the dataplane's tables. Pure: the same configuration and the same slots make the
//! same image, on every node.

mod connectors;
pub mod maglev;
pub mod rulebook;
pub(crate) mod rules;
mod services;

use crate::config::{
    Config, Listener, OnIdle, Place, SlotName, Stickiness, TargetGroup, Tenant as TenantSection, Transport,
};
use crate::pool::{EniId, Facts, Pool};
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::{GroupImage, Image};
use weir_path::addr::{Address, InterfaceId};
use weir_path::hash::HashKey;
use weir_path::tables::{
    ConnectorId, Forward, GroupId, Listener as Heard, MAX_SHARES, Share, Target, Tenant, TenantId, Vip,
};

/// The numbers that the plan gave to what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Those of slots.
    pub slots: BTreeMap<SlotName, InterfaceId>,
    /// Those of uplinks, by their place in [`Config::uplinks`].
    pub uplinks: BTreeMap<usize, InterfaceId>,
    /// Those of ENIs.
    pub enis: BTreeMap<EniId, InterfaceId>,
    /// Those of tenants, by their names.
    pub tenants: BTreeMap<String, TenantId>,
}

/// The tables for `config` and what the pool has for it. What has no number is left out: its device is not there.
#[must_use]
pub fn compile(config: &Config, hash_key: HashKey, pool: &Pool, facts: &Facts, numbers: &Numbers) -> Image {
    let mut listeners = BTreeMap::new();
    for listener in &config.listeners {
        let vip = vip_of(listener);
        let port = listener.port.unwrap_or(Heard::ANY_PORT);
        for transport in listener.protocol.transports() {
            let heard = Heard { vip, port, protocol: transport.number(), zero: 0 };
            listeners.insert(heard, forward(listener, *transport, config));
        }
    }
    listeners.extend(fragments(&listeners));
    let vips = listeners.keys().map(|heard| heard.vip).chain(own_addresses(config)).collect();
    let groups = config.groups.iter().map(|group| compile_group(group, config, pool, &numbers.slots));
    let mut groups: Vec<GroupImage> = groups.collect();
    // Where services listen is nobody's address: they come after the VIPs.
    services::compile(config, pool, &mut listeners, &mut groups);
    Image {
        hash_key,
        times: config.timeouts.times,
        enis: connectors::owners(config, pool, facts, numbers, &vips),
        connectors: connectors::compile(config, pool, facts, numbers),
        routes: connectors::routes(config),
        vips,
        listeners,
        tenants: config.tenants.iter().filter_map(|it| tenant(it, numbers)).collect(),
        groups,
    }
}

fn tenant(tenant: &TenantSection, numbers: &Numbers) -> Option<(TenantId, Tenant)> {
    let id = numbers.tenants.get(&tenant.name.value)?;
    Some((*id, Tenant { all: tenant.all, each: tenant.each }))
}

/// The number of the connector at this place of the configuration.
fn connector_id(place: usize, config: &Config, pool: &Pool) -> Option<ConnectorId> {
    Some(pool.entry(&config.connectors.get(place)?.key)?.id)
}

fn vip_of(listener: &Listener) -> Vip {
    Vip { address: listener.address.value, zone: listener.zone }
}

/// Weir's own addresses are answered for as VIPs are.
fn own_addresses(config: &Config) -> impl Iterator<Item = Vip> {
    config.uplinks.iter().flat_map(|uplink| {
        let own = uplink.own.map(|own| own.value.address.mapped());
        let own6 = uplink.own6.map(|own| own.value.address);
        own.into_iter().chain(own6).map(|address| Vip { address, zone: uplink.zone })
    })
}

fn forward(listener: &Listener, transport: Transport, config: &Config) -> Forward {
    let mut up_to = 0;
    let mut shares = [Share::default(); MAX_SHARES];
    for (number, place) in shares.iter_mut().enumerate() {
        // Places that are not used repeat the last one.
        if let Some(share) = listener.shares.get(number) {
            up_to += share.weight;
        }
        let share = listener.shares.get(number).or(listener.shares.last());
        // At most MAX_GROUPS, as the configuration was checked.
        *place = Share { group: GroupId(share.map_or(0, |share| share.group) as u32), up_to };
    }
    let groups = listener.shares.iter().filter_map(|share| config.groups.get(share.group));
    let is_sticky = groups.into_iter().any(|group| group.stickiness == Stickiness::SourceIp);
    Forward {
        shares,
        idle: listener.idle(transport, &config.timeouts),
        is_sticky: u8::from(is_sticky),
        tells_idle: u8::from(listener.on_idle == OnIdle::BothEnds),
    }
}

/// What hears fragments that show no port: an address's UDP listeners, where it makes no difference which one. How
/// long flows may be silent is no difference, because such a fragment opens none.
fn fragments(listeners: &BTreeMap<Heard, Forward>) -> Vec<(Heard, Forward)> {
    let by_udp = |heard: &&Heard| heard.protocol == Transport::Udp.number();
    let vips: BTreeSet<Vip> = listeners.keys().filter(by_udp).map(|heard| heard.vip).collect();
    let agreed = vips.into_iter().filter_map(|vip| {
        let of_vip = listeners.iter().filter(|(heard, _)| heard.vip == vip && by_udp(heard));
        let mut forwards = of_vip.map(|(_, forward)| *forward);
        let first = forwards.next()?;
        let is_alike = |it: Forward| (it.shares, it.is_sticky) == (first.shares, first.is_sticky);
        let heard = Heard { vip, port: Heard::ANY_PORT, protocol: Heard::FRAGMENTS, zero: 0 };
        forwards.all(is_alike).then_some((heard, first))
    });
    agreed.collect()
}

fn compile_group(
    group: &TargetGroup,
    config: &Config,
    pool: &Pool,
    slots: &BTreeMap<SlotName, InterfaceId>,
) -> GroupImage {
    let by = group.connector.and_then(|place| connector_id(place, config, pool));
    let mut image = GroupImage::default();
    let mut names = Vec::new();
    for target in &group.targets {
        let port = target.port.unwrap_or(Heard::ANY_PORT);
        let compiled = match &target.place {
            Place::Slot(slot) => slots.get(&slot.value).map(|slot| Target::in_slot(*slot, port)),
            Place::Address(address) => by.map(|by| Target::at(address.value, port, by)),
        };
        if let Some(compiled) = compiled {
            image.targets.push(compiled);
            names.push(target.name.value.as_str());
        }
    }
    // By the number of targets in the file: the table keeps its size while a device comes and goes.
    let size = maglev::size_for(group.targets.len());
    image.cells = maglev::table(&names, size);
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{SMALL, config};
    use weir_path::addr::{Address, Ip4, L4Port};
    use weir_path::time::{Seconds, Times};

    #[test]
    fn a_listener_leads_to_its_groups_targets() {
        let image = compile(&config(SMALL), HashKey::default(), &slots(&["sb1:eth0", "veth-sb2"]));
        let vip = *image.vips.first().unwrap();
        assert_eq!(vip.address, Ip4([198, 51, 100, 10]).mapped());
        let heard = Heard { vip, protocol: 6, port: L4Port::new(80), zero: 0 };
        let forward = Forward::to(GroupId(0), Times::TCP_IDLE);
        assert_eq!(image.listeners, BTreeMap::from([(heard, forward)]));
        let ports: Vec<_> = image.groups[0].targets.iter().map(|it| (it.slot.0, it.port.number())).collect();
        assert_eq!(ports, [(0, 8081), (1, 8080)]);
        assert!(image.arena().is_ok());
    }

    #[test]
    fn timeouts_go_where_the_path_looks_for_them() {
        let text =
            SMALL.replace("version = 1\n", "version = 1\n[timeouts]\ntcp_idle = 90\ntcp_closing = 5\n");
        let image = compile(&config(&text), HashKey::default(), &BTreeMap::new());
        assert_eq!(image.times, Times { tcp_closing: Seconds(5), ..Times::DEFAULT });
        assert_eq!(image.listeners.values().map(|forward| forward.idle).collect::<Vec<_>>(), [Seconds(90)]);
    }

    /// The image without connectors.
    fn compile(config: &Config, hash_key: HashKey, slots: &BTreeMap<SlotName, InterfaceId>) -> Image {
        let numbers = Numbers { slots: slots.clone(), ..Numbers::default() };
        super::compile(config, hash_key, &Pool::default(), &Facts::default(), &numbers)
    }

    /// [`SMALL`] with a second group, and these lines for its listener's port, protocol and groups.
    fn listening(lines: &str) -> Image {
        let (head, _) = SMALL.split_once("port = 80\n").unwrap();
        let text = format!("{head}{lines}\n[[target_group]]\nname = \"new\"\nstickiness = \"source_ip\"\n");
        compile(&config(&text), HashKey::default(), &BTreeMap::new())
    }

    #[test]
    fn weights_add_up_and_places_that_are_not_used_repeat_the_last_one() {
        let image = listening(
            "port = 80\nprotocol = \"tcp\"\n\
             target_groups = [{ name = \"new\", weight = 10 }, { name = \"web\", weight = 90 }]",
        );
        let forward = image.listeners.values().next().unwrap();
        let shares = forward.shares.map(|share| (share.group.0, share.up_to));
        assert_eq!(shares, [(1, 10), (0, 100), (0, 100), (0, 100), (0, 100)]);
        assert_eq!(forward.is_sticky, 1, "one of its groups keeps clients");
        assert!(image.arena().is_ok());
    }

    #[test]
    fn a_weight_of_zero_is_never_chosen_and_where_all_are_zero_nobody_is() {
        let image = listening(
            "port = 80\nprotocol = \"tcp\"\n\
             target_groups = [{ name = \"new\", weight = 0 }, { name = \"web\", weight = 7 }]",
        );
        let forward = image.listeners.values().next().unwrap();
        let hashes = (0..=u32::MAX).step_by(1 << 20);
        assert!(hashes.into_iter().all(|hash| forward.choose(hash) == Some(GroupId(0))));
        let image =
            listening("port = 80\nprotocol = \"tcp\"\ntarget_groups = [{ name = \"new\", weight = 0 }]");
        assert_eq!(image.listeners.values().next().unwrap().choose(0), None);
    }

    #[test]
    fn a_listener_for_both_protocols_is_two_entries_each_with_its_own_silence() {
        let image = listening("port = \"any\"\nprotocol = \"tcp_udp\"\ntarget_group = \"web\"");
        let heard: Vec<_> = image
            .listeners
            .iter()
            .map(|(heard, to)| (heard.port.number(), heard.protocol, to.idle))
            .collect();
        let [tcp, udp] = [Times::TCP_IDLE, Times::UDP_IDLE];
        assert_eq!(heard, [(0, 6, tcp), (0, 17, udp), (0, Heard::FRAGMENTS, udp)]);
    }

    #[test]
    fn fragments_are_heard_where_all_udp_listeners_of_an_address_do_the_same() {
        let fragments = |second: &str| {
            let second = format!(
                "port = 53\nprotocol = \"udp\"\ntarget_group = \"web\"\n[[listener]]\nname = \"two\"\nvpc = \"prod\"\n\
                 address = \"198.51.100.10\"\nport = 54\nprotocol = \"udp\"\n{second}"
            );
            listening(&second).listeners.keys().any(|heard| heard.protocol == Heard::FRAGMENTS)
        };
        assert!(fragments("idle_timeout = 70\ntarget_group = \"web\""));
        assert!(!fragments("target_group = \"new\""));
        assert!(!fragments("target_groups = [{ name = \"web\", weight = 2 }]"));
        let tcp = listening("port = 80\nprotocol = \"tcp\"\ntarget_group = \"web\"");
        assert_eq!(tcp.listeners.len(), 1);
    }

    #[test]
    fn weirs_own_addresses_are_answered_for_in_their_vpc() {
        let own = "vpc = \"prod\"\naddress = \"10.0.0.5/24\"\naddress6 = \"fd00::5/64\"\n\n[[target_group]]";
        let text = SMALL.replacen("vpc = \"prod\"\n\n[[target_group]]", own, 1);
        let image = compile(&config(&text), HashKey::default(), &BTreeMap::new());
        let addresses: BTreeSet<_> = image.vips.iter().map(|vip| vip.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.5", "198.51.100.10", "fd00::5"].map(str::to_owned).into());
        assert!(image.vips.iter().all(|vip| vip.zone == config(&text).uplinks[0].zone));
    }

    #[test]
    fn a_target_without_a_port_is_given_the_clients() {
        let text = SMALL.replace("port = 8080\n", "");
        let image = compile(&config(&text), HashKey::default(), &slots(&["sb1:eth0", "veth-sb2"]));
        let ports: Vec<_> = image.groups[0].targets.iter().map(|target| target.port).collect();
        assert_eq!(ports, [L4Port::new(8_081), Heard::ANY_PORT]);
    }

    #[test]
    fn a_target_without_a_device_is_left_out_and_the_others_keep_their_cells() {
        let both = compile(&config(SMALL), HashKey::default(), &slots(&["sb1:eth0", "veth-sb2"]));
        let one = compile(&config(SMALL), HashKey::default(), &slots(&["sb1:eth0"]));
        assert_eq!(one.groups[0].targets.len(), 1);
        assert_eq!(one.groups[0].cells, vec![0; both.groups[0].cells.len()]);
    }

    #[test]
    fn a_group_without_any_device_has_no_cells() {
        let image = compile(&config(SMALL), HashKey::default(), &BTreeMap::new());
        assert_eq!(image.groups[0], GroupImage::default());
        assert_eq!(image.listeners.len(), 1);
    }

    fn slots(present: &[&str]) -> BTreeMap<SlotName, InterfaceId> {
        let config = config(SMALL);
        let targets = config.groups.iter().flat_map(|group| &group.targets);
        let slots = targets.filter_map(|target| Some(target.place.slot()?.value.clone()));
        slots
            .filter(|slot| present.contains(&slot.to_string().as_str()))
            .enumerate()
            .map(|(number, slot)| (slot, InterfaceId(number as u32)))
            .collect()
    }
}
