//! From what should be to the dataplane's tables. Pure: the same configuration and the same slots make the
//! same image, on every node.

pub mod maglev;

use crate::config::{Config, SlotName, TargetGroup};
use std::collections::BTreeMap;
use weir_dataplane::image::{GroupImage, Image};
use weir_path::addr::InterfaceId;
use weir_path::hash::HashKey;
use weir_path::tables::{Forward, GroupId, Listener, Target, Vip};

/// The tables for `config`. Targets whose slot isn't in `slots` are left out: their device is not there.
#[must_use]
pub fn compile(config: &Config, hash_key: HashKey, slots: &BTreeMap<SlotName, InterfaceId>) -> Image {
    let listeners: BTreeMap<_, _> = config
        .listeners
        .iter()
        .map(|listener| {
            let vip = Vip { address: listener.address.value, zone: listener.zone };
            let protocol = listener.protocol.number();
            let heard = Listener { vip, protocol, port: listener.port, zero: 0 };
            // At most MAX_GROUPS, as the configuration was checked.
            let group = GroupId(listener.group as u32);
            (heard, Forward { group, idle: listener.idle, zero: [0; 2] })
        })
        .collect();
    Image {
        hash_key,
        times: config.timeouts.times,
        vips: listeners.keys().map(|listener| listener.vip).collect(),
        listeners,
        groups: config.groups.iter().map(|group| compile_group(group, slots)).collect(),
    }
}

fn compile_group(group: &TargetGroup, slots: &BTreeMap<SlotName, InterfaceId>) -> GroupImage {
    let mut image = GroupImage::default();
    let mut names = Vec::new();
    for target in &group.targets {
        if let Some(slot) = slots.get(&target.slot.value) {
            image.targets.push(Target { slot: *slot, port: target.port, zero: [0; 2] });
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
        let heard = Listener { vip, protocol: 6, port: L4Port::new(80), zero: 0 };
        let forward = Forward { group: GroupId(0), idle: Times::TCP_IDLE, zero: [0; 2] };
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
        let slots = targets.map(|target| target.slot.value.clone());
        slots
            .filter(|slot| present.contains(&slot.to_string().as_str()))
            .enumerate()
            .map(|(number, slot)| (slot, InterfaceId(number as u32)))
            .collect()
    }
}
