//! How large things are: programs, flows in the kernel's memory, all tables at their default sizes.

use std::collections::BTreeMap;
use std::fs;
use weir_benches::Outcome;
use weir_dataplane::Sizes;
use weir_dataplane::test_run::Runner;
use weir_path::flow::{V4, V6};

const MIB: u64 = 1 << 20;

pub(crate) fn print() -> Outcome<()> {
    let runner = Runner::new(&Sizes::default())?;
    println!();
    println!("Programs: instructions in the kernel, and what its verifier walked.");
    for size in runner.program_sizes()? {
        println!("{:<24} {:>7} {:>8}", size.name, size.instructions, size.verified);
    }
    let tables = runner.tables();
    let (v4, v6) = (tables.max_flows::<V4>(), tables.max_flows::<V6>());
    println!();
    println!(
        "Bytes a flow, all tables together: IPv4 {}, IPv6 {}.",
        tables.bytes_a_flow::<V4>(),
        tables.bytes_a_flow::<V6>()
    );
    let maps = map_memory()?;
    let all: u64 = maps.values().sum();
    println!(
        "Default tables ({} IPv4 and {} IPv6 flows; half-open {} and {}): {} MiB in {} maps, as the kernel counts it.",
        v4.0,
        v6.0,
        v4.1,
        v6.1,
        all / MIB,
        maps.len()
    );
    Ok(())
}

/// What the kernel says that each map of this process takes, by the map's number.
fn map_memory() -> Outcome<BTreeMap<u64, u64>> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The directory's own descriptor is gone by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps)
}
