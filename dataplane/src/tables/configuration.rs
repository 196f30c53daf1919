//! The configuration's tables: the idle half written whole, then made live by one word.

use super::{Tables, grace_period, indices};
use crate::error::Error;
use crate::image::{Arena, Image, Route};
use weir_path::layout::{self, CELLS_IN_LINE, CellLine, EPOCH, ListenerKey, RoutePrefix, VipKey};
use weir_path::tables::{Connector, ConnectorId, GroupId, Half, Owner, Tenant, TenantId, Vip};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A route, as the kernel's table of longest prefixes has it: the number of bits first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct RouteKey {
    bits: u32,
    prefix: RoutePrefix,
}

impl RouteKey {
    fn new(half: Half, route: &Route) -> Self {
        let prefix = RoutePrefix::new(half, route.zone, route.destination);
        Self { bits: RoutePrefix::SPACE_BITS + u32::from(route.bits), prefix }
    }
}

impl Tables {
    /// How many configurations were made live so far.
    ///
    /// # Errors
    /// None at present.
    pub fn epoch(&self) -> Result<u64, Error> {
        Ok(self.words.load(EPOCH))
    }

    /// Whose the addresses of the live configuration are.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn owners(&self) -> Result<Vec<(Vip, Owner)>, Error> {
        let live = Half::of_epoch(self.words.load(EPOCH)).index();
        let all = self.vips.read_all()?.into_iter();
        Ok(all.filter(|(key, _)| key.half == live).map(|(key, owner)| (key.vip, owner)).collect())
    }

    /// Makes a configuration live: writes the whole idle half, flips one word, and returns the new epoch once
    /// no program can still be reading the old half. A packet sees one configuration or the other.
    ///
    /// Where it fails, the configuration in force stays in force.
    ///
    /// # Errors
    /// [`Error::Image`] where it doesn't fit, [`Error::Table`] where the kernel refuses.
    pub fn apply(&self, image: &Image) -> Result<u64, Error> {
        let arena = image.arena()?;
        // Asked for before anything is written, too: after the flip nothing may fail.
        grace_period()?;
        let epoch = self.words.load(EPOCH);
        let idle = Half::of_epoch(epoch).other();
        self.clear_half(idle)?;
        self.write_addresses(idle, image)?;
        self.write_arena(idle, &arena)?;
        self.write_tenants(idle, image)?;
        self.words.store(EPOCH, epoch.wrapping_add(1));
        if let Err(error) = grace_period() {
            tracing::warn!("a program may still read the old configuration for a moment: {error}");
        }
        Ok(epoch.wrapping_add(1))
    }

    fn clear_half(&self, idle: Half) -> Result<(), Error> {
        let half = idle.index();
        let vips: Vec<_> =
            self.vips.read_all()?.into_iter().map(|(key, _)| key).filter(|key| key.half == half).collect();
        self.vips.remove_all(&vips)?;
        let listeners: Vec<_> = self
            .listeners
            .read_all()?
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| key.half == u64::from(half))
            .collect();
        self.listeners.remove_all(&listeners)?;
        let routes: Vec<_> = self
            .routes
            .read_all()?
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| key.prefix.is_in(idle))
            .collect();
        self.routes.remove_all(&routes)?;
        Ok(())
    }

    fn write_addresses(&self, half: Half, image: &Image) -> Result<(), Error> {
        self.hash_keys.set(&half.index(), &image.hash_key)?;
        self.times.set(&half.index(), &image.times)?;
        let enis = image.enis.iter().map(|(vip, owner)| (*vip, *owner));
        let owned = image.vips.iter().map(|vip| (*vip, Owner::VIP)).chain(enis);
        let (vips, owners): (Vec<_>, Vec<_>) =
            owned.map(|(vip, owner)| (VipKey::new(half, vip), owner)).unzip();
        self.vips.set_all(&vips, &owners)?;
        let (routes, neighbours): (Vec<_>, Vec<_>) =
            image.routes.iter().map(|(route, via)| (RouteKey::new(half, route), *via)).unzip();
        self.routes.set_all(&routes, &neighbours)?;
        let (listeners, forwards): (Vec<_>, Vec<_>) = image
            .listeners
            .iter()
            .map(|(listener, forward)| (ListenerKey::new(half, *listener), *forward))
            .unzip();
        self.listeners.set_all(&listeners, &forwards)
    }

    fn write_arena(&self, half: Half, arena: &Arena) -> Result<(), Error> {
        let groups: Vec<_> = indices(arena.groups.len(), |i| layout::group_index(half, GroupId(i)));
        self.groups.set_all(&groups, &arena.groups)?;
        let targets: Vec<_> = indices(arena.targets.len(), |i| layout::target_index(half, i));
        self.targets.set_all(&targets, &arena.targets)?;
        self.write_connectors(half, arena)?;
        let lines: Vec<_> = arena.cells.chunks(CELLS_IN_LINE as usize).map(line).collect();
        let places: Vec<_> = indices(lines.len(), |i| layout::cell_line(half, i * CELLS_IN_LINE));
        self.cells.set_all(&places, &lines)
    }

    /// All of them, so that a number that is no tenant's any more has no limit.
    fn write_tenants(&self, half: Half, image: &Image) -> Result<(), Error> {
        let tenants = indices(layout::MAX_TENANTS as usize + 1, |i| i);
        let quotas: Vec<Tenant> =
            tenants.iter().map(|id| image.tenants.get(&TenantId(*id)).copied().unwrap_or_default()).collect();
        let places: Vec<_> = tenants.iter().map(|id| layout::tenant_index(half, TenantId(*id))).collect();
        self.tenants.set_all(&places, &quotas)
    }

    /// All of them, so that a number that is no connector's any more opens nothing.
    fn write_connectors(&self, half: Half, arena: &Arena) -> Result<(), Error> {
        let sources: Vec<_> = indices(arena.sources.len(), |i| layout::source_index(half, i));
        self.sources.set_all(&sources, &arena.sources)?;
        let rules: Vec<_> = indices(arena.rules.len(), |i| layout::rule_index(half, i));
        self.rules.set_all(&rules, &arena.rules)?;
        let mut connectors = vec![Connector::default(); layout::MAX_CONNECTORS as usize + 1];
        for (id, connector) in &arena.connectors {
            if let Some(place) = connectors.get_mut(id.0 as usize) {
                *place = *connector;
            }
        }
        let places: Vec<_> = indices(connectors.len(), |i| layout::connector_index(half, ConnectorId(i)));
        self.connectors.set_all(&places, &connectors)
    }
}

fn line(cells: &[u16]) -> CellLine {
    let mut line = CellLine::default();
    line.iter_mut().zip(cells).for_each(|(place, cell)| *place = *cell);
    line
}
