//! The compiled programs, and what they say about their tables.

use crate::error::Error;
use crate::typed_map::possible_cpus;
use aya_obj::Object;
use weir_path::flow::store::Room;
use weir_path::layout::{DEFAULT_FLOWS, DEFAULT_FLOWS_V6, FLOWS_A_PORT_SET, HALF_OPEN_SHARE};

/// The ELF object that `build.rs` made of `ebpf/`.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WEIR_EBPF_OBJECT_PATH"));

/// How large the flow tables are. Pinned ones keep the size they were made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// IPv4.
    pub v4: FamilySizes,
    /// IPv6.
    pub v6: FamilySizes,
}

/// How large one family's flow tables are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FamilySizes {
    /// Flows that fit, both directions together.
    pub flows: u32,
    /// Flows that may be half-open at one time; rounded down to a multiple of the number of CPUs.
    pub half_open: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        let family = |flows| FamilySizes { flows, half_open: flows / HALF_OPEN_SHARE };
        Self { v4: family(DEFAULT_FLOWS), v6: family(DEFAULT_FLOWS_V6) }
    }
}

impl Sizes {
    /// As small as a test can do with: this many flows of each family, half of them half-open.
    #[must_use]
    pub const fn small(flows: u32) -> Self {
        let family = FamilySizes { flows, half_open: flows };
        Self { v4: family, v6: family }
    }
}

/// What the programs are told about one family's tables: records, pots, places in a pot, sets of ports.
pub(crate) fn room(sizes: FamilySizes, pots: u32) -> [u32; 4] {
    [sizes.flows, pots, (sizes.half_open / pots).max(1), (sizes.flows / FLOWS_A_PORT_SET).max(1)]
}

/// How many pots this machine has: one a CPU, up to a limit.
pub(crate) fn pots() -> Result<u32, Error> {
    Ok((possible_cpus()? as u32).clamp(1, Room::MAX_POTS))
}

/// The tables whose size the configuration sets.
pub(crate) const SIZED: [&str; 10] = [
    "FLOWS_V4",
    "FLOWS_V6",
    "RECORDS_V4",
    "RECORDS_V6",
    "PLACES_V4",
    "PLACES_V6",
    "PORTS_V4",
    "PORTS_V6",
    "PORT_SETS_V4",
    "PORT_SETS_V6",
];

/// The tables whose size depends on the configuration, and how many elements each has.
pub(crate) fn sized(sizes: &Sizes, pots: u32) -> [(&'static str, u32); 10] {
    let places = |sizes| {
        let [_, pots, places_in_pot, _] = room(sizes, pots);
        pots * places_in_pot
    };
    let port_sets = |sizes| {
        let [_, _, _, port_sets] = room(sizes, pots);
        port_sets
    };
    [
        ("FLOWS_V4", sizes.v4.flows.saturating_mul(2)),
        ("FLOWS_V6", sizes.v6.flows.saturating_mul(2)),
        ("RECORDS_V4", sizes.v4.flows),
        ("RECORDS_V6", sizes.v6.flows),
        ("PLACES_V4", places(sizes.v4)),
        ("PLACES_V6", places(sizes.v6)),
        ("PORTS_V4", port_sets(sizes.v4)),
        ("PORTS_V6", port_sets(sizes.v6)),
        ("PORT_SETS_V4", port_sets(sizes.v4)),
        ("PORT_SETS_V6", port_sets(sizes.v6)),
    ]
}

/// One table as the object declares it.
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// All tables, with the flow tables sized as wanted.
pub(crate) fn declared(sizes: &Sizes) -> Result<Vec<Declared>, Error> {
    let sized = sized(sizes, pots()?);
    let entries = |name: &str| sized.iter().find(|(known, _)| *known == name).map(|(_, entries)| *entries);
    let object = Object::parse(OBJECT).map_err(|error| Error::Object(error.to_string()))?;
    let mut tables: Vec<_> = object
        .maps
        .iter()
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, map)| Declared {
            name: name.clone(),
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: entries(name).unwrap_or_else(|| map.max_entries()),
            flags: map.map_flags(),
        })
        .collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}
