//! From the names in the configuration to the devices of the host, with everything that doesn't fit.

use super::{Device, Host, HostAddress, HostError, Kind, SlotDevice, Surroundings, device_named};
use crate::config::{At, Config, Listener, Problem, SlotName, TargetGroup, Uplink, UplinkHook};
use crate::plan::{Meters, Point, Wanted, WantedSlot, WantedUplink};
use miette::SourceSpan;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use weir_dataplane::others::Ours;
use weir_path::addr::{Address, IfIndex, Ip6, Zone};
use weir_path::layout::MAX_IFINDEX;
use weir_path::packet::VlanTag;
use weir_path::tables::{ConnectorId, Delivery};

/// The configuration's devices, found. What has a problem is left out of the rest.
#[derive(Debug, Default)]
pub struct Resolved {
    /// What the plan is made of.
    pub wanted: Wanted,
    /// The slots, by the names in the configuration.
    pub slots: BTreeMap<SlotName, SlotDevice>,
    /// What doesn't fit, at its place in the file.
    pub problems: Vec<Problem>,
}

/// The devices that were found, to be compared with those of another time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    wanted: Wanted,
    slots: BTreeMap<SlotName, SlotDevice>,
}

impl Resolved {
    /// The slots' devices that are down.
    pub fn down(&self) -> impl Iterator<Item = IfIndex> {
        let down: BTreeSet<_> =
            self.slots.values().filter(|it| !it.device.is_up).map(|it| it.device.ifindex).collect();
        down.into_iter()
    }

    /// The devices that were found.
    #[must_use]
    pub fn devices(&self) -> Devices {
        let mut slots = self.slots.clone();
        // One that is brought up, or down, is the same one.
        slots.values_mut().for_each(|slot| slot.device.is_up = true);
        Devices { wanted: self.wanted.clone(), slots }
    }
}

impl Host {
    /// Finds every device that the configuration names. One that is missing is a problem, not an error.
    ///
    /// # Errors
    /// [`HostError::Netlink`], [`HostError::Request`]: the host could not be asked at all.
    pub async fn resolve(&self, config: &Config) -> Result<Resolved, HostError> {
        let around = self.surroundings().await?;
        let mut resolved = Resolved::default();
        let pin_dir = &config.dataplane.pin_dir;
        for (place, uplink) in config.uplinks.iter().enumerate() {
            let wanted = wanted_uplink(place, uplink, &around.devices)
                .and_then(|(wanted, device)| has_room(uplink, &wanted, device, pin_dir).map(|()| wanted));
            match wanted {
                Ok(wanted) => resolved.wanted.uplinks.push(wanted),
                Err(problem) => resolved.problems.push(problem),
            }
        }
        let targets =
            config.groups.iter().flat_map(|group| &group.targets).filter_map(|target| target.place.slot());
        for slot in targets.chain(config.slots.iter().map(|binding| &binding.slot)) {
            if !resolved.slots.contains_key(&slot.value) {
                self.resolve_slot(slot, &around, &mut resolved);
            }
        }
        for group in &config.groups {
            twice_in_a_group(group, &mut resolved);
        }
        let addresses = self.addresses().await?;
        let vips = config.listeners.iter().map(Claimed::of_listener);
        for claimed in vips.chain(config.uplinks.iter().flat_map(Claimed::of_uplink)) {
            resolved.problems.extend(hosts_own(&claimed, &addresses, &resolved.wanted, &around.devices));
        }
        Ok(resolved)
    }

    fn resolve_slot(&self, slot: &At<SlotName>, around: &Surroundings, into: &mut Resolved) {
        let found = match self.slot(&slot.value, around) {
            Ok(found) => found,
            Err(error) => return into.problems.push(problem(slot.at, &error)),
        };
        let ifindex = found.device.ifindex;
        if let Err(problem) = index_fits(slot.at, &found.device) {
            return into.problems.push(problem);
        }
        if into.wanted.uplinks.iter().any(|uplink| uplink.ifindex == ifindex) {
            let message = format!("{} is an uplink and can't be a slot too", found.device.name);
            let help = "name the device that leads to the sandbox";
            return into.problems.push(Problem::new(slot.at, message, "this is an uplink", help));
        }
        let is_veth = matches!(found.device.kind, Kind::Veth { .. });
        let by_xdp = |uplink: &WantedUplink| uplink.point == Point::XdpNative;
        if is_veth && found.sandbox.is_none() && into.wanted.uplinks.iter().any(by_xdp) {
            let error = HostError::PeerNotFound { name: found.device.name };
            return into.problems.push(problem(slot.at, &error));
        }
        let delivery = if is_veth { Delivery::VETH_PEER } else { Delivery::TRANSMIT };
        if !into.wanted.slots.iter().any(|known| known.ifindex == ifindex) {
            into.wanted.slots.push(WantedSlot {
                ifindex,
                delivery,
                mtu: found.device.mtu,
                connector: ConnectorId::NONE,
                meters: Meters::default(),
            });
        }
        into.slots.insert(slot.value.clone(), found);
    }
}

/// An address that is to be Weir's.
struct Claimed {
    address: At<Ip6>,
    zone: Zone,
    /// What it would be, and what would come of it.
    what: &'static str,
}

impl Claimed {
    fn of_listener(listener: &Listener) -> Self {
        let what = "a listener there would take all of its traffic";
        Self { address: listener.address, zone: listener.zone, what }
    }

    fn of_uplink(uplink: &Uplink) -> impl Iterator<Item = Self> {
        let own = uplink.own.map(|own| At { value: own.value.address.mapped(), at: own.at });
        let own6 = uplink.own6.map(|own| At { value: own.value.address, at: own.at });
        let what = "Weir would answer for it and take all of its traffic";
        own.into_iter().chain(own6).map(|address| Self { address, zone: uplink.zone, what })
    }
}

/// An address of Weir's is its alone: were it the host's as well, the host would lose its SSH sessions to it. An
/// address on an uplink of another VPC is another address.
fn hosts_own(
    claimed: &Claimed,
    addresses: &[HostAddress],
    wanted: &Wanted,
    devices: &BTreeMap<IfIndex, Device>,
) -> Option<Problem> {
    let At { value: address, at } = claimed.address;
    // The host has it on the device itself, so on its untagged frames.
    let is_of_another_vpc =
        |it: &WantedUplink, on| it.ifindex == on && it.vlan == VlanTag::NONE && it.zone != claimed.zone;
    let elsewhere = |on: IfIndex| wanted.uplinks.iter().any(|it| is_of_another_vpc(it, on));
    let HostAddress { device: on, .. } =
        addresses.iter().find(|known| known.address == address && !elsewhere(known.device))?;
    let device = devices.get(on).map_or("another device", |device| &device.name);
    Some(Problem::new(
        at,
        format!("{address} is the host's own address, on {device}: {}", claimed.what),
        format!("{device} has this address"),
        format!(
            "write an address that no machine has, or take it off the host: `ip address del {address} dev {device}`"
        ),
    ))
}

fn wanted_uplink<'d>(
    place: usize,
    uplink: &Uplink,
    devices: &'d BTreeMap<IfIndex, Device>,
) -> Result<(WantedUplink, &'d Device), Problem> {
    let at = uplink.interface.at;
    let device = device_named(&uplink.interface.value, devices).map_err(|error| problem(at, &error))?;
    index_fits(at, device)?;
    let software = device.kind.is_software();
    let default = if software { UplinkHook::Tc } else { UplinkHook::Xdp };
    let hook = uplink.hook.map_or(default, |hook| hook.value);
    if software && hook != UplinkHook::Tc && !uplink.senders_complete_checksums {
        let hook_at = uplink.hook.map_or(at, |hook| hook.at);
        let message = format!(
            "{} is a {}, where packets may arrive with checksums that are yet to be completed; XDP can't tell",
            device.name, device.kind
        );
        let help = "set hook = \"tc\"; or, if whatever sends there completes them (`ethtool -K … tx off`), \
                    add senders_complete_checksums = true";
        return Err(Problem::new(hook_at, message, "XDP on a software device", help));
    }
    let point = match hook {
        UplinkHook::Xdp => Point::XdpNative,
        UplinkHook::XdpGeneric => Point::XdpGeneric,
        UplinkHook::Tc => Point::Tc,
    };
    let wanted = WantedUplink {
        place,
        ifindex: device.ifindex,
        mac: device.mac,
        zone: uplink.zone,
        point,
        vlan: uplink.vlan,
        mtu: uplink.mtu.map_or(device.mtu, |most| most.min(device.mtu)),
        own: uplink.own.map(|own| own.value),
        own6: uplink.own6.map(|own| own.value),
        gateway: None,
        gateway6: None,
    };
    Ok((wanted, device))
}

/// A device has room for one XDP program.
fn has_room(uplink: &Uplink, wanted: &WantedUplink, device: &Device, pin_dir: &Path) -> Result<(), Problem> {
    if device.xdp.is_empty() || wanted.point == Point::Tc {
        return Ok(());
    }
    let at = uplink.hook.map_or(uplink.interface.at, |hook| hook.at);
    // Where the pins can't be read, opening the dataplane says why.
    let Ok(ours) = Ours::read(pin_dir) else { return Ok(()) };
    let Some(other) = device.xdp.iter().find_map(|program| ours.other(*program)) else { return Ok(()) };
    Err(Problem::new(
        at,
        format!("{} has an XDP program that is not Weir's: {other}", device.name),
        "room for one",
        format!(
            "detach it (by what put it there, or `ip link set dev {} xdp off`), or set hook = \"tc\", which runs behind it",
            device.name
        ),
    ))
}

fn index_fits(at: SourceSpan, device: &Device) -> Result<(), Problem> {
    if device.ifindex.0 < MAX_IFINDEX {
        return Ok(());
    }
    let message =
        format!("{} has index {}; the tables hold indices below {MAX_IFINDEX}", device.name, device.ifindex);
    let help = "make the device again with a lower index: `ip link add … index N`";
    Err(Problem::new(at, message, "its index is too large", help))
}

/// Two names for one place would get two shares of the connections and look like two targets.
fn twice_in_a_group(group: &TargetGroup, into: &mut Resolved) {
    let mut seen: BTreeMap<_, &At<String>> = BTreeMap::new();
    for target in &group.targets {
        let slot = target.place.slot().and_then(|slot| into.slots.get(&slot.value));
        let Some(found) = slot else { continue };
        let place = (found.device.ifindex, target.port);
        if let Some(first) = seen.insert(place, &target.name) {
            let message = format!(
                "targets {} and {} of group {} are the same port of the same slot",
                first.value, target.name.value, group.name.value
            );
            let problem =
                Problem::new(target.name.at, message, "the same place again", "remove one of the two");
            into.problems.push(problem.and_at(first.at, "first named here"));
        }
    }
}

/// An error of the host, shown at its place in the file: what failed, then what to do.
fn problem(at: SourceSpan, error: &HostError) -> Problem {
    let text = error.to_string();
    let (what, remedy) = text.split_once("; ").unwrap_or((&text, "see the message"));
    Problem::new(at, what, "named here", remedy)
}
