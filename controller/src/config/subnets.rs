//! `[[subnet]]`: read, on which uplink each is, and what of it ENIs may be given.

use super::check::{known_vpc, unique};
use super::draft::Draft;
use super::model::{AddressRange, At, Prefix, Subnet, SubnetPrefix, address, number};
use super::problem::Problem;
use super::reader::{Problems, Section, Value, list};
use super::uplinks::{self, LINK_LOCAL, UplinkDraft};
use super::values;
use miette::SourceSpan;
use std::collections::BTreeMap;
use weir_path::addr::{Address, Ip6, Zone};
use weir_path::packet::VlanTag;

/// AWS keeps the first four addresses of a subnet and the last one: the network, its router, its resolver, one for later,
/// and broadcast.
const FIRST_RESERVED: u128 = 4;

pub(crate) struct SubnetDraft {
    at: SourceSpan,
    pub(crate) name: Option<At<String>>,
    pub(crate) vpc: Option<At<String>>,
    uplink: Option<At<String>>,
    vlan: Option<At<VlanTag>>,
    v4: Option<FamilyDraft>,
    v6: Option<FamilyDraft>,
    reserved: Vec<At<AddressRange>>,
    /// Whether all of it was right by itself.
    is_whole: bool,
}

#[derive(Clone, Copy)]
struct FamilyDraft {
    prefix: At<Prefix>,
    gateway: Option<At<Ip6>>,
    pool: Option<At<AddressRange>>,
}

impl SubnetDraft {
    fn families(&self) -> impl Iterator<Item = FamilyDraft> {
        self.v4.into_iter().chain(self.v6)
    }

    pub(crate) fn prefixes(&self) -> impl Iterator<Item = At<Prefix>> {
        self.families().map(|it| it.prefix)
    }

    /// Whether it is of this VPC.
    pub(crate) fn is_of(&self, vpc: &str) -> bool {
        self.vpc.as_ref().is_some_and(|name| name.value == vpc)
    }

    /// Whether something of it could not be read, so that it only seems to be missing.
    pub(crate) const fn is_broken(&self) -> bool {
        !self.is_whole
    }

    /// Where it says that IPv6 is spoken there.
    pub(crate) fn v6_at(&self) -> Option<SourceSpan> {
        self.v6.map(|it| it.prefix.at)
    }
}

// ---- each by itself ----

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> SubnetDraft {
    let (at, before) = (section.at(), problems.len());
    let name = section.required(problems, "name", "\"prod-a\"", values::name);
    let vpc = section.required(problems, "vpc", "\"prod\"", values::name);
    let uplink = section.optional(problems, "uplink", values::interface);
    let vlan = section.optional(problems, "vlan", values::vlan);
    let v4 = read_family(
        &mut section,
        problems,
        &FamilyKeys {
            keys: ["prefix", "gateway", "pool"],
            prefix: values::prefix4,
            gateway: |value| values::address(value).map(Address::mapped),
            pool: values::range4,
        },
    );
    let v6 = read_family(
        &mut section,
        problems,
        &FamilyKeys {
            keys: ["prefix6", "gateway6", "pool6"],
            prefix: values::prefix6,
            gateway: values::address6,
            pool: values::range6,
        },
    );
    if !section.has("prefix") && !section.has("prefix6") {
        problems.add(Problem::new(
            at,
            "[[subnet]] has no `prefix`, and no `prefix6`",
            "which addresses are on its link?",
            "add a line like `prefix = \"10.0.1.0/24\"`, or `prefix6 = \"fd00:1::/64\"`, or both",
        ));
    }
    let wanted = "a list, like `[\"10.0.1.10-10.0.1.20\", \"10.0.1.99\"]`";
    let reserved = section.list(problems, "reserved", wanted, values::range);
    section.finish(problems);
    let reserved = reserved.map(|it| it.value).unwrap_or_default();
    let is_whole = problems.len() == before;
    SubnetDraft { at, name, vpc, uplink, vlan, v4, v6, reserved, is_whole }
}

/// How one family of a subnet is written.
struct FamilyKeys {
    keys: [&'static str; 3],
    prefix: fn(Value<'_>) -> Result<Prefix, Problem>,
    gateway: fn(Value<'_>) -> Result<Ip6, Problem>,
    pool: fn(Value<'_>) -> Result<AddressRange, Problem>,
}

fn read_family(
    section: &mut Section<'_>,
    problems: &mut Problems,
    family: &FamilyKeys,
) -> Option<FamilyDraft> {
    let [prefix_key, gateway_key, pool_key] = family.keys;
    let has_prefix = section.has(prefix_key);
    let prefix = section.optional(problems, prefix_key, family.prefix);
    let gateway = section.optional(problems, gateway_key, family.gateway);
    let pool = section.optional(problems, pool_key, family.pool);
    let alone = [(gateway_key, gateway.map(|it| it.at)), (pool_key, pool.map(|it| it.at))];
    for (key, at) in alone.into_iter().filter(|_| !has_prefix).filter_map(|(key, at)| Some((key, at?))) {
        problems.add(Problem::new(
            at,
            format!("[[subnet]] has `{key}`, but no `{prefix_key}`"),
            "in which network?",
            format!("add a line with `{prefix_key}`, or remove this one"),
        ));
    }
    let prefix = prefix?;
    let outside = |at, what: String, help: &str| {
        let message = format!("{what} is not in the subnet {}", prefix.value);
        Problem::new(at, message, "another network", help).and_at(prefix.at, "this network")
    };
    let is_on_link = |it: Ip6| prefix.value.contains(it) || uplinks::covers(LINK_LOCAL, it);
    if let Some(gateway) = gateway.filter(|it| !is_on_link(it.value)) {
        let help =
            "write a router of this network, or leave the line out: then only what is on the link is reached";
        problems.add(outside(gateway.at, format!("the gateway {}", gateway.value), help));
    }
    let whole = prefix.value.range();
    if let Some(pool) = pool.filter(|it| it.value.first < whole.first || it.value.last > whole.last) {
        problems.add(outside(pool.at, format!("the pool {}", pool.value), "write a piece of this network"));
    }
    Some(FamilyDraft { prefix, gateway, pool })
}

// ---- together ----

/// The subnets, as far as each is right by itself.
pub(super) fn check(
    draft: &Draft,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Vec<Option<Subnet>> {
    unique(problems, "subnet", draft.subnets.iter().filter_map(|subnet| subnet.name.as_ref()));
    check_overlap(draft, problems);
    draft.subnets.iter().map(|subnet| check_subnet(subnet, draft, zones, problems)).collect()
}

fn check_subnet(
    subnet: &SubnetDraft,
    draft: &Draft,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Option<Subnet> {
    let vpc = subnet.vpc.as_ref()?;
    let zone = known_vpc(vpc, zones, problems)?;
    if subnet.is_broken() {
        return None;
    }
    for range in &subnet.reserved {
        if !subnet.prefixes().any(|prefix| prefix.value.range().overlaps(&range.value)) {
            problems.add(Problem::new(
                range.at,
                format!("{} is not in this subnet", range.value),
                "no ENI would be given it anyway",
                format!("write addresses of {}", list(subnet.prefixes().map(|it| it.value))),
            ));
        }
    }
    for gateway in subnet.families().filter_map(|it| it.gateway) {
        problems.extend(taken_by_weir(gateway, &vpc.value, draft));
    }
    let uplink = problems.keep(uplink_of(subnet, vpc, draft));
    let reserved = reserved(subnet, vpc, draft);
    for family in subnet.families() {
        let pool = pool_of(&family);
        if left_of(&pool, &reserved) == 0 {
            problems.add(nothing_left(&family, &pool));
        }
    }
    let prefix = |family: FamilyDraft| SubnetPrefix {
        prefix: family.prefix.value,
        gateway: family.gateway.map(|it| it.value),
        pool: pool_of(&family),
    };
    Some(Subnet {
        name: subnet.name.clone()?,
        vpc: vpc.value.clone(),
        zone,
        uplink: uplink?,
        v4: subnet.v4.map(prefix),
        v6: subnet.v6.map(prefix),
        reserved,
    })
}

fn pool_of(family: &FamilyDraft) -> AddressRange {
    family.pool.map_or_else(|| family.prefix.value.range(), |pool| pool.value)
}

fn nothing_left(family: &FamilyDraft, pool: &AddressRange) -> Problem {
    let (at, count) = (family.pool.map_or(family.prefix.at, |it| it.at), pool.count());
    Problem::new(
        at,
        format!("of the {count} addresses of {pool}, none is left for ENIs: all are reserved"),
        "nothing to give",
        format!(
            "write a larger one, or reserve less; the first {FIRST_RESERVED} addresses of a prefix and the last one are \
             never given"
        ),
    )
}

/// How many addresses of a pool are not reserved.
fn left_of(pool: &AddressRange, reserved: &[AddressRange]) -> u128 {
    let taken = reserved
        .iter()
        .filter(|it| it.overlaps(pool))
        .map(|it| AddressRange { first: it.first.max(pool.first), last: it.last.min(pool.last) }.count());
    pool.count().saturating_sub(taken.sum())
}

/// All that no ENI is given, in order and without overlaps.
fn reserved(subnet: &SubnetDraft, vpc: &At<String>, draft: &Draft) -> Vec<AddressRange> {
    let is_here = |name: &Option<At<String>>| name.as_ref().is_some_and(|name| name.value == vpc.value);
    let mut ranges: Vec<_> = subnet.reserved.iter().map(|it| it.value).collect();
    for prefix in subnet.prefixes() {
        let AddressRange { first, last } = prefix.value.range();
        let fourth = address(number(first).saturating_add(FIRST_RESERVED - 1)).min(last);
        ranges.extend([AddressRange { first, last: fourth }, AddressRange::one(last)]);
    }
    let subnets = draft.subnets.iter().filter(|it| is_here(&it.vpc));
    let gateways =
        subnets.flat_map(|it| it.families().filter_map(|family| family.gateway)).map(|it| it.value);
    let vips = draft.listeners.iter().filter(|it| is_here(&it.vpc)).filter_map(|it| it.address);
    let own = draft.uplinks.iter().filter(|it| is_here(&it.vpc)).flat_map(UplinkDraft::own_addresses);
    let own = own.flat_map(|it| [Some(it.value.address), it.value.gateway]).flatten();
    let routes = draft.vpcs.iter().filter(|it| is_here(&it.name)).flat_map(|it| &it.routes);
    let vias = routes.filter_map(|it| it.via).map(|it| it.value);
    let machines = gateways.chain(vips.map(|it| it.value)).chain(own).chain(vias);
    ranges.extend(machines.map(AddressRange::one));
    ranges.retain(|range| subnet.prefixes().any(|prefix| prefix.value.range().overlaps(range)));
    merged(ranges)
}

/// The same addresses, in order and without overlaps.
fn merged(mut ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    ranges.sort_unstable();
    let mut merged: Vec<AddressRange> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| range.first <= last.last) {
            Some(last) => last.last = last.last.max(range.last),
            None => merged.push(range),
        }
    }
    merged
}

/// The place of the uplink that a subnet is on.
fn uplink_of(subnet: &SubnetDraft, vpc: &At<String>, draft: &Draft) -> Result<usize, Problem> {
    let is_here = |it: &UplinkDraft| it.vpc.as_ref().is_some_and(|name| name.value == vpc.value);
    let here: Vec<_> = draft.uplinks.iter().enumerate().filter(|(_, it)| is_here(it)).collect();
    let known = list(here.iter().filter_map(|(_, it)| it.frames()).map(|(device, vlan)| match vlan {
        VlanTag::NONE => format!("uplink = \"{device}\""),
        VlanTag(vlan) => format!("uplink = \"{device}\", vlan = {vlan}"),
    }));
    let Some(device) = &subnet.uplink else {
        let at = subnet.vlan.map_or(subnet.at, |it| it.at);
        return match here.as_slice() {
            [(place, only)]
                if subnet.vlan.is_none_or(|vlan| only.vlan.is_some_and(|it| it.value == vlan.value)) =>
            {
                Ok(*place)
            }
            [] => Err(Problem::new(
                vpc.at,
                format!("VPC \"{}\" has no uplink, so a subnet can't be reached", vpc.value),
                "no [[uplink]] leads here",
                format!("add an [[uplink]] with `vpc = \"{}\"`", vpc.value),
            )),
            _ => Err(Problem::new(
                at,
                format!("[[subnet]] does not say which uplink of VPC \"{}\" it is on", vpc.value),
                "on which one?",
                format!("write one of {known}"),
            )),
        };
    };
    let tag = subnet.vlan.map_or(VlanTag::NONE, |vlan| vlan.value);
    let found = here.iter().find(|(_, it)| it.frames() == Some((device.value.as_str(), tag)));
    found.map(|(place, _)| *place).ok_or_else(|| {
        let shown = match tag {
            VlanTag::NONE => format!("the untagged frames of device \"{}\"", device.value),
            VlanTag(vlan) => format!("VLAN {vlan} of device \"{}\"", device.value),
        };
        Problem::new(
            device.at,
            format!("{shown} are no uplink of VPC \"{}\"", vpc.value),
            "no [[uplink]] of this VPC",
            format!("write one of {known}, or add an [[uplink]]"),
        )
    })
}

/// Within a VPC an address is of one subnet.
fn check_overlap(draft: &Draft, problems: &mut Problems) {
    let mut seen: Vec<(&str, At<Prefix>)> = Vec::new();
    for (vpc, subnet) in draft.subnets.iter().filter_map(|it| Some((it.vpc.as_ref()?, it))) {
        for prefix in subnet.prefixes() {
            let overlaps =
                |(other, it): &&(&str, At<Prefix>)| *other == vpc.value && it.value.overlaps(&prefix.value);
            if let Some((_, other)) = seen.iter().find(overlaps) {
                let message = format!(
                    "two subnets of VPC \"{}\" overlap: {} and {}",
                    vpc.value, other.value, prefix.value
                );
                let help =
                    "write prefixes without a common address, or put one of the subnets into another VPC";
                problems.add(
                    Problem::new(prefix.at, message, "the second one", help)
                        .and_at(other.at, "the first one"),
                );
            }
            seen.push((&vpc.value, prefix));
        }
    }
}

/// The complaint about a neighbour's address that is Weir's own in that VPC, if it is.
pub(super) fn taken_by_weir(neighbour: At<Ip6>, vpc: &str, draft: &Draft) -> Option<Problem> {
    let is_here = |name: &Option<At<String>>| name.as_ref().is_some_and(|name| name.value == vpc);
    let vips = draft.listeners.iter().filter(|it| is_here(&it.vpc)).filter_map(|it| it.address);
    let own = draft.uplinks.iter().filter(|it| is_here(&it.vpc)).flat_map(UplinkDraft::own_addresses);
    let vips = vips.map(|it| (it, "a listener's address"));
    let own = own.map(|it| (At { value: it.value.address, at: it.at }, "an uplink's address"));
    let (other, whose) = vips.chain(own).find(|(it, _)| it.value == neighbour.value)?;
    Some(uplinks::taken(neighbour.at, neighbour.value, vpc, (other.at, whose)))
}
