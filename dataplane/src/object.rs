//! The compiled programs, and what they say about their tables.

use crate::error::Error;
use aya_obj::Object;

/// The ELF object that `build.rs` made of `ebpf/`.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WEIR_EBPF_OBJECT_PATH"));

/// The table whose size the configuration sets.
pub(crate) const FLOWS: &str = "FLOWS";

/// One table as the object declares it.
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// All tables, with the flow table sized for `max_flows`.
pub(crate) fn declared(max_flows: u32) -> Result<Vec<Declared>, Error> {
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
            max_entries: if name == FLOWS { flow_entries(max_flows) } else { map.max_entries() },
            flags: map.map_flags(),
        })
        .collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

/// Each flow has two entries, one a direction.
pub(crate) fn flow_entries(max_flows: u32) -> u32 {
    max_flows.saturating_mul(2)
}
