//! `[[uplink]]`: each section by itself, then which of them share a device, a VPC, an address.

use super::draft::Draft;
use super::model::{At, OwnAddress, Uplink, UplinkHook};
use super::problem::Problem;
use super::reader::{Problems, Section, Value};
use super::subnets::SubnetDraft;
use super::{check, sandbox, values};
use miette::SourceSpan;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use weir_path::addr::{Address, Ip4, Ip6, Zone};
use weir_path::packet::VlanTag;

/// The shortest longest packet that IPv6 can do with (RFC 8200 section 5).
const LEAST_MTU_OF_IPV6: u32 = 1_280;
/// Link-local addresses (RFC 4291 section 2.5.6) are on every link.
pub(super) const LINK_LOCAL: (Ip6, u8) = (Ip6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 10);

pub(crate) struct UplinkDraft {
    pub(crate) interface: Option<At<String>>,
    pub(crate) vpc: Option<At<String>>,
    hook: Option<At<UplinkHook>>,
    senders_complete_checksums: bool,
    pub(crate) vlan: Option<At<VlanTag>>,
    mtu: Option<At<u32>>,
    own: Option<At<OwnAddress<Ip4>>>,
    own6: Option<At<OwnAddress<Ip6>>>,
}

impl UplinkDraft {
    /// The frames that it takes: those of a device that have this tag.
    pub(crate) fn frames(&self) -> Option<(&str, VlanTag)> {
        Some((&self.interface.as_ref()?.value, self.vlan.map_or(VlanTag::NONE, |vlan| vlan.value)))
    }

    /// The addresses that Weir has there, of either family.
    pub(crate) fn own_addresses(&self) -> impl Iterator<Item = At<OwnAddress<Ip6>>> {
        let own = self.own.map(|own| own.map(OwnAddress::mapped));
        own.into_iter().chain(self.own6)
    }
}

impl OwnAddress<Ip4> {
    fn mapped(self) -> OwnAddress<Ip6> {
        let Self { address, prefix_len, gateway } = self;
        OwnAddress { address: address.mapped(), prefix_len, gateway: gateway.map(Address::mapped) }
    }
}

// ---- each by itself ----

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> UplinkDraft {
    let interface = section.required(problems, "interface", "\"eth0\"", values::interface);
    let vpc = section.required(problems, "vpc", "\"prod\"", values::name);
    let hook = section.optional(problems, "hook", values::hook);
    let complete = section.optional(problems, "senders_complete_checksums", values::truth);
    let vlan = section.optional(problems, "vlan", values::vlan);
    let mtu = section.optional(problems, "mtu", values::mtu);
    let own = read_own(
        &mut section,
        problems,
        &OwnKeys {
            keys: ["address", "gateway"],
            example: "10.0.0.5/24",
            on_link: values::on_link,
            gateway: values::address,
            is_on_every_link: |_| false,
        },
    );
    let own6 = read_own(
        &mut section,
        problems,
        &OwnKeys {
            keys: ["address6", "gateway6"],
            example: "fd00::5/64",
            on_link: values::on_link6,
            gateway: values::address6,
            is_on_every_link: |gateway| covers(LINK_LOCAL, gateway),
        },
    );
    section.finish(problems);
    let senders_complete_checksums = complete.is_some_and(|it| it.value);
    UplinkDraft { interface, vpc, hook, senders_complete_checksums, vlan, mtu, own, own6 }
}

/// How one family's addresses are written.
struct OwnKeys<A> {
    keys: [&'static str; 2],
    example: &'static str,
    on_link: fn(Value<'_>) -> Result<(A, u8), Problem>,
    gateway: fn(Value<'_>) -> Result<A, Problem>,
    is_on_every_link: fn(A) -> bool,
}

/// Weir's address of one family, and the gateway that goes with it.
fn read_own<A: Address + Display>(
    section: &mut Section<'_>,
    problems: &mut Problems,
    family: &OwnKeys<A>,
) -> Option<At<OwnAddress<A>>> {
    let [address_key, gateway_key] = family.keys;
    let has_address = section.has(address_key);
    let address = section.optional(problems, address_key, family.on_link);
    let gateway = section.optional(problems, gateway_key, family.gateway);
    match (address, gateway) {
        (Some(address), Some(gateway)) => {
            let problem = off_link(&address, &gateway, gateway_key);
            let is_reached = (family.is_on_every_link)(gateway.value);
            problem.filter(|_| !is_reached).into_iter().for_each(|problem| problems.add(problem));
        }
        (None, Some(gateway)) if !has_address => problems.add(Problem::new(
            gateway.at,
            format!("[[uplink]] has `{gateway_key}`, but no `{address_key}`"),
            "who would ask for its MAC?",
            format!(
                "add a line like `{address_key} = \"{}\"`: Weir's own address there, with the length of its prefix",
                family.example
            ),
        )),
        _ => {}
    }
    let gateway = gateway.map(|it| it.value);
    address.map(|it| it.map(|(address, prefix_len)| OwnAddress { address, prefix_len, gateway }))
}

/// The complaint about a gateway that can't be reached by the link, if it can't.
fn off_link<A: Address + Display>(
    address: &At<(A, u8)>,
    gateway: &At<A>,
    gateway_key: &str,
) -> Option<Problem> {
    let (own, len) = address.value;
    let wrong = |message: String, label: &str, help: String| {
        Some(Problem::new(gateway.at, message, label, help).and_at(address.at, "Weir's own address"))
    };
    if gateway.value == own {
        let help = format!("write the router's address as `{gateway_key}`, or give Weir another one");
        return wrong(format!("{own} is Weir's own address and its gateway"), "the same", help);
    }
    // An IPv4 address lies in the last 32 bits of what it is mapped into.
    let skipped = if own.mapped().as_ip4().is_some() { 96 } else { 0 };
    if covers((own.mapped(), skipped + len), gateway.value.mapped()) {
        return None;
    }
    let message = format!("the gateway {} is not on the link of {own}/{len}", gateway.value);
    let help = "write a router of this network, or the right prefix length behind Weir's address".to_owned();
    wrong(message, "another network", help)
}

/// Whether an address begins with the first `len` bits of a network's.
pub(super) fn covers((network, len): (Ip6, u8), address: Ip6) -> bool {
    let differs = u128::from_be_bytes(network.0) ^ u128::from_be_bytes(address.0);
    differs.checked_shr(u128::BITS - u32::from(len)).unwrap_or(0) == 0
}

// ---- together ----

/// The uplinks, as far as each is right by itself.
pub(super) fn check(
    draft: &Draft,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Vec<Option<Uplink>> {
    check_frames(draft, problems);
    check_hooks(draft, problems);
    check_addresses(draft, problems);
    draft
        .uplinks
        .iter()
        .map(|uplink| {
            check_mtu(uplink, draft, problems);
            check_uplink(uplink, draft, zones, problems)
        })
        .collect()
}

fn check_uplink(
    uplink: &UplinkDraft,
    draft: &Draft,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Option<Uplink> {
    let zone = check::known_vpc(uplink.vpc.as_ref()?, zones, problems)?;
    let interface = uplink.interface.clone()?;
    // The program is the device's: what one of its uplinks says about it holds for all.
    let of_device = || {
        let is_there =
            |it: &&UplinkDraft| it.interface.as_ref().is_some_and(|it| it.value == interface.value);
        draft.uplinks.iter().filter(is_there)
    };
    let (hook, senders_complete_checksums) = (
        uplink.hook.or_else(|| of_device().find_map(|it| it.hook)),
        of_device().any(|it| it.senders_complete_checksums),
    );
    Some(Uplink {
        zone,
        hook,
        senders_complete_checksums,
        vlan: uplink.vlan.map_or(VlanTag::NONE, |it| it.value),
        mtu: uplink.mtu.map(|it| it.value),
        own: uplink.own,
        own6: uplink.own6,
        interface,
    })
}

/// A frame belongs to one uplink: to the one of its device and its tag.
fn check_frames(draft: &Draft, problems: &mut Problems) {
    let mut seen: BTreeMap<(&str, VlanTag), SourceSpan> = BTreeMap::new();
    for uplink in &draft.uplinks {
        let (Some(frames), Some(interface)) = (uplink.frames(), &uplink.interface) else { continue };
        let at = uplink.vlan.map_or(interface.at, |vlan| vlan.at);
        let Entry::Occupied(first) = seen.entry(frames) else {
            seen.insert(frames, at);
            continue;
        };
        let (device, whose) = match frames {
            (device, VlanTag::NONE) => (device, "untagged frames".to_owned()),
            (device, VlanTag(vlan)) => (device, format!("frames of VLAN {vlan}")),
        };
        problems.add(
            Problem::new(
                at,
                format!("two uplinks take the {whose} of device \"{device}\""),
                "the second one",
                "name another device, or another `vlan`: a frame belongs to one uplink",
            )
            .and_at(*first.get(), "the first one"),
        );
    }
}

/// A device has one program, however many uplinks it carries.
fn check_hooks(draft: &Draft, problems: &mut Problems) {
    let mut hooks: BTreeMap<&str, At<UplinkHook>> = BTreeMap::new();
    for uplink in &draft.uplinks {
        let (Some(interface), Some(hook)) = (&uplink.interface, uplink.hook) else { continue };
        let first = hooks.entry(&interface.value).or_insert(hook);
        if first.value != hook.value {
            let [one, other] = [first.value.name(), hook.value.name()];
            problems.add(
                Problem::new(
                    hook.at,
                    format!("device \"{}\" can't have hook \"{one}\" and \"{other}\"", interface.value),
                    "another hook",
                    "write the same hook in all [[uplink]] sections of a device, or in one of them: the program is the device's",
                )
                .and_at(first.at, "one hook"),
            );
        }
    }
}

/// What may pass must be long enough for the families that are spoken there.
fn check_mtu(uplink: &UplinkDraft, draft: &Draft, problems: &mut Problems) {
    let (Some(mtu), Some(vpc)) = (uplink.mtu.filter(|it| it.value < LEAST_MTU_OF_IPV6), &uplink.vpc) else {
        return;
    };
    let is_here = |name: &At<String>| name.value == vpc.value;
    let listeners = draft.listeners.iter().filter(|it| it.vpc.as_ref().is_some_and(is_here));
    let vips = listeners.filter_map(|it| it.address).filter(|it| it.value.as_ip4().is_none());
    let subnets = draft.subnets.iter().filter(|it| it.vpc.as_ref().is_some_and(is_here));
    let in_subnets = || subnets.filter_map(SubnetDraft::v6_at).next();
    let at = vips.map(|it| it.at).next().or(uplink.own6.map(|it| it.at)).or_else(in_subnets);
    let Some(v6) = at else { return };
    problems.add(
        Problem::new(
            mtu.at,
            format!("mtu is {}, but IPv6 needs {LEAST_MTU_OF_IPV6} (RFC 8200 section 5)", mtu.value),
            "too short",
            format!("write {LEAST_MTU_OF_IPV6} or more, or take the IPv6 addresses out of this VPC"),
        )
        .and_at(v6, "IPv6 here"),
    );
}

/// Within a VPC each address is one machine's.
fn check_addresses(draft: &Draft, problems: &mut Problems) {
    let mut owners: BTreeMap<(&str, Ip6), (SourceSpan, &str)> = BTreeMap::new();
    for (vpc, address) in draft.listeners.iter().filter_map(|it| Some((it.vpc.as_ref()?, it.address?))) {
        owners.entry((&vpc.value, address.value)).or_insert((address.at, "a listener's address"));
    }
    let owned = || {
        let with_vpc = draft.uplinks.iter().filter_map(|it| Some((it, it.vpc.as_ref()?.value.as_str())));
        with_vpc.flat_map(|(uplink, vpc)| uplink.own_addresses().map(move |own| (vpc, own)))
    };
    for (vpc, own) in owned() {
        let address = own.value.address;
        if let Some(whose) = sandbox::owner(&draft.sandbox.values, address) {
            problems.add(Problem::new(
                own.at,
                format!("an uplink can't have {address}: it is {whose}"),
                whose,
                "write an address of the VPC here, or change the addresses in [sandbox]",
            ));
        }
        match owners.entry((vpc, address)) {
            Entry::Vacant(free) => {
                free.insert((own.at, "another uplink's address"));
            }
            Entry::Occupied(other) => problems.add(taken(own.at, address, vpc, *other.get())),
        }
    }
    for (vpc, own) in owned() {
        let gateway = own.value.gateway.filter(|gateway| *gateway != own.value.address);
        if let Some((gateway, other)) = gateway.and_then(|it| Some((it, *owners.get(&(vpc, it))?))) {
            problems.add(taken(own.at, gateway, vpc, other));
        }
    }
}

pub(super) fn taken(at: SourceSpan, address: Ip6, vpc: &str, (other, whose): (SourceSpan, &str)) -> Problem {
    let message = format!("{address} is {whose} in VPC \"{vpc}\" already");
    let help =
        "write an address that no listener, uplink or gateway of this VPC has: Weir answers for its own";
    Problem::new(at, message, "wanted here as well", help).and_at(other, whose)
}
