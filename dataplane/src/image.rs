//! The configuration as the packet path reads it, before it is written into the kernel's tables.
//!
//! Pure data: the controller compiles one, tests build one by hand, [`crate::Dataplane`] writes it into the
//! idle half of the tables and makes it live by one word.

use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{Ip6, Zone};
use weir_path::hash::HashKey;
pub use weir_path::layout::{
    MAX_CELLS, MAX_CONNECTORS, MAX_GROUPS, MAX_IFINDEX, MAX_INTERFACES, MAX_LISTENERS, MAX_ROUTES, MAX_RULES,
    MAX_RULES_IN_CONNECTOR, MAX_RULES_IN_GROUP, MAX_SOURCES, MAX_SOURCES_IN_CONNECTOR, MAX_TARGETS,
    MAX_TENANTS, MAX_VIPS,
};
use weir_path::tables::{
    Connector, ConnectorId, Forward, Group, GroupId, Listener, Owner, Rule, Rules, Source, Sources, Target,
    Tenant, TenantId, Vip,
};
use weir_path::time::Times;

/// Most targets in one group: a cell of a Maglev table is 16 bits, and a table has at least 100 a target.
pub const MAX_TARGETS_IN_GROUP: u32 = 10_000;

/// One target group: its targets, and the Maglev table whose cells index them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupImage {
    /// The targets.
    pub targets: Vec<Target>,
    /// The Maglev table. Each cell is below `targets.len()`; empty where there are no targets.
    pub cells: Vec<u16>,
}

/// One connector, and the addresses that its new flows are spread over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectorImage {
    /// The connector; where its addresses lie is filled in when it is written.
    pub connector: Connector,
    /// Its IPv4 addresses.
    pub v4: Vec<Source>,
    /// Its IPv6 addresses.
    pub v6: Vec<Source>,
    /// What its sandboxes may reach; everything where nothing is said.
    pub rules_out: Option<Vec<Rule>>,
    /// Who may reach its sandboxes by a VIP; everybody where nothing is said.
    pub rules_in: Option<Vec<Rule>>,
}

/// Where a route leads from: all addresses of a VPC that share the first bits of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route {
    /// The VPC.
    pub zone: Zone,
    /// The prefix; an IPv4 address is mapped.
    pub destination: Ip6,
    /// How many bits of it count; of an IPv4 prefix, 96 more than people write.
    pub bits: u8,
}

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The secret of the hash that places flows.
    pub hash_key: HashKey,
    /// How long flows may be silent, where their listener does not say it.
    pub times: Times,
    /// The addresses that are Weir's, but for those of ENIs.
    pub vips: BTreeSet<Vip>,
    /// The addresses of ENIs, each with its [`Owner`]: the ENI, or the host.
    pub enis: BTreeMap<Vip, Owner>,
    /// The connectors by number; 0 is nobody's.
    pub connectors: BTreeMap<ConnectorId, ConnectorImage>,
    /// What tenants may have, by number; who isn't here has no limit.
    pub tenants: BTreeMap<TenantId, Tenant>,
    /// The routes of VPCs, and the neighbour that each leads to; IPv4 addresses are mapped.
    pub routes: BTreeMap<Route, Ip6>,
    /// The listeners, and what each one does with a new flow.
    pub listeners: BTreeMap<Listener, Forward>,
    /// The groups, in the order of their [`GroupId`].
    pub groups: Vec<GroupImage>,
}

/// Why a configuration does not fit the tables.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageError {
    /// A published maximum is exceeded.
    #[error("{count} {what} are more than the {max} that fit the dataplane's tables; use fewer {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many fit.
        max: u32,
    },
    /// A connector has a number that no connector can have.
    #[error("a connector has the number {}, but connectors are numbered from 1 to {max}", id.0)]
    NoSuchConnector {
        /// The number.
        id: ConnectorId,
        /// The largest one.
        max: u32,
    },
    /// A tenant has a number that no tenant can have.
    #[error("a tenant has the number {}, but tenants are numbered from 1 to {max}", id.0)]
    NoSuchTenant {
        /// The number.
        id: TenantId,
        /// The largest one.
        max: u32,
    },
    /// A listener forwards to a group that isn't there.
    #[error("a listener forwards to target group {group:?}, but there are only {groups} groups")]
    NoSuchGroup {
        /// The group's number.
        group: GroupId,
        /// How many groups there are.
        groups: usize,
    },
    /// A Maglev cell names a target that its group doesn't have.
    #[error("a Maglev cell of target group {group} names target {target}, but it has only {targets}")]
    NoSuchTarget {
        /// The group's number.
        group: usize,
        /// What the cell says.
        target: u16,
        /// How many targets the group has.
        targets: usize,
    },
}

/// The groups laid end to end, as the tables hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arena {
    /// Where each group lies.
    pub groups: Vec<Group>,
    /// All targets.
    pub targets: Vec<Target>,
    /// All cells.
    pub cells: Vec<u16>,
    /// Each connector under its number.
    pub connectors: Vec<(ConnectorId, Connector)>,
    /// The addresses that flows leave from, connector by connector.
    pub sources: Vec<Source>,
    /// The rules; connectors whose lists are equal have one.
    pub rules: Vec<Rule>,
}

impl Image {
    /// Lays the groups end to end, after checking that everything fits and points at something.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn arena(&self) -> Result<Arena, ImageError> {
        fits("VIPs", self.vips.len(), MAX_VIPS)?;
        fits("listeners", self.listeners.len(), MAX_LISTENERS)?;
        fits("target groups", self.groups.len(), MAX_GROUPS)?;
        fits("targets", self.groups.iter().map(|group| group.targets.len()).sum(), MAX_TARGETS)?;
        fits("addresses of VIPs and ENIs", self.vips.len() + self.enis.len(), MAX_VIPS)?;
        fits("routes", self.routes.len(), MAX_ROUTES)?;
        fits("Maglev cells", self.groups.iter().map(|group| group.cells.len()).sum(), MAX_CELLS)?;
        let groups = self.groups.len();
        let mut named = self.listeners.values().flat_map(|forward| forward.shares).map(|share| share.group);
        if let Some(group) = named.find(|group| group.0 as usize >= groups) {
            return Err(ImageError::NoSuchGroup { group, groups });
        }
        let mut arena = Arena::default();
        for (number, group) in self.groups.iter().enumerate() {
            fits("targets in one group", group.targets.len(), MAX_TARGETS_IN_GROUP)?;
            let targets = group.targets.len();
            if let Some(&target) = group.cells.iter().find(|cell| usize::from(**cell) >= targets) {
                return Err(ImageError::NoSuchTarget { group: number, target, targets });
            }
            // The sums were checked above: all of these are far below 2^32.
            arena.groups.push(Group {
                first_cell: arena.cells.len() as u32,
                cells: group.cells.len() as u32,
                first_target: arena.targets.len() as u32,
                targets: targets as u32,
            });
            arena.targets.extend_from_slice(&group.targets);
            arena.cells.extend_from_slice(&group.cells);
        }
        if let Some(id) = self.tenants.keys().find(|id| !(1..=MAX_TENANTS).contains(&id.0)) {
            return Err(ImageError::NoSuchTenant { id: *id, max: MAX_TENANTS });
        }
        self.lay_connectors(&mut arena)?;
        Ok(arena)
    }
}

impl Image {
    fn lay_connectors(&self, arena: &mut Arena) -> Result<(), ImageError> {
        fits("connectors", self.connectors.len(), MAX_CONNECTORS)?;
        let mut laid = BTreeMap::new();
        for (id, image) in &self.connectors {
            let mut lay = |sources: &[Source]| {
                fits("addresses in one connector", sources.len(), MAX_SOURCES_IN_CONNECTOR)?;
                let first = arena.sources.len();
                arena.sources.extend_from_slice(sources);
                fits("addresses of connectors", arena.sources.len(), MAX_SOURCES)?;
                Ok(Sources { first: first as u32, count: sources.len() as u32 })
            };
            let (v4, v6) = (lay(&image.v4)?, lay(&image.v6)?);
            let rules_out = lay_rules(arena, &mut laid, image.rules_out.as_deref())?;
            let rules_in = lay_rules(arena, &mut laid, image.rules_in.as_deref())?;
            arena.connectors.push((*id, Connector { v4, v6, rules_out, rules_in, ..image.connector }));
        }
        match arena.connectors.iter().find(|(id, _)| !(1..=MAX_CONNECTORS).contains(&id.0)) {
            Some((id, _)) => Err(ImageError::NoSuchConnector { id: *id, max: MAX_CONNECTORS }),
            None => Ok(()),
        }
    }
}

fn lay_rules<'a>(
    arena: &mut Arena,
    laid: &mut BTreeMap<&'a [Rule], Rules>,
    rules: Option<&'a [Rule]>,
) -> Result<Rules, ImageError> {
    let Some(rules) = rules else { return Ok(Rules::OPEN) };
    if let Some(there) = laid.get(rules) {
        return Ok(*there);
    }
    fits("rules of one connector", rules.len(), MAX_RULES_IN_CONNECTOR)?;
    let here = Rules { first: arena.rules.len() as u32, count: rules.len() as u32 };
    arena.rules.extend_from_slice(rules);
    fits("rules", arena.rules.len(), MAX_RULES)?;
    laid.insert(rules, here);
    Ok(here)
}

fn fits(what: &'static str, count: usize, max: u32) -> Result<(), ImageError> {
    if count > max as usize { Err(ImageError::TooMany { what, count, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(targets: usize, cells: &[u16]) -> GroupImage {
        GroupImage { targets: vec![Target::default(); targets], cells: cells.to_vec() }
    }

    #[test]
    fn groups_are_laid_end_to_end() {
        let image =
            Image { groups: vec![group(2, &[0, 1, 0]), group(0, &[]), group(1, &[0])], ..Image::default() };
        let arena = image.arena().unwrap();
        assert_eq!(arena.cells, [0, 1, 0, 0]);
        assert_eq!(
            arena.groups,
            [
                Group { first_cell: 0, cells: 3, first_target: 0, targets: 2 },
                Group { first_cell: 3, cells: 0, first_target: 2, targets: 0 },
                Group { first_cell: 3, cells: 1, first_target: 2, targets: 1 },
            ]
        );
    }

    #[test]
    fn what_points_at_nothing_is_refused() {
        let cell = Image { groups: vec![group(2, &[0, 2])], ..Image::default() };
        assert_eq!(cell.arena(), Err(ImageError::NoSuchTarget { group: 0, target: 2, targets: 2 }));
        let mut listener = Image::default();
        listener.listeners.insert(Listener::default(), Forward::default());
        assert_eq!(listener.arena(), Err(ImageError::NoSuchGroup { group: GroupId(0), groups: 0 }));
    }

    #[test]
    fn one_more_than_fits_is_refused_with_the_number() {
        let image =
            Image { groups: vec![GroupImage::default(); MAX_GROUPS as usize + 1], ..Image::default() };
        let error = image.arena().unwrap_err();
        assert_eq!(error, ImageError::TooMany { what: "target groups", count: 4_097, max: 4_096 });
        let full = Image { groups: vec![GroupImage::default(); MAX_GROUPS as usize], ..Image::default() };
        assert!(full.arena().is_ok());
    }
}
