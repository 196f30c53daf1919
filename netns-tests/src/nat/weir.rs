//! Weir as a NAT: four connectors, on one subnet.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::config::{Config, Hook, MAX_FLOWS_V6};
use crate::connectors::{BOTH, Connector, active, outwards};
use crate::error::Error;
use crate::ipv6::SANDBOX6;
use crate::nat::Family;
use crate::nat::times::SHORT;
use crate::topology::{SANDBOX, Testbed};
use crate::weir::Weir;

/// The least that a connector may have.
pub(crate) const IDLE_S: u16 = 60;

/// More flows of IPv4 than the tests have at once.
const MAX_FLOWS: u32 = 1 << 14;

/// What the third to the fifth sandbox have; each is a tenant of its own, with ENIs of its own.
const OTHERS: [(&str, &str); 3] = [
    ("peers", "udp_mapping = \"endpoint_independent\""),
    ("pool", "addresses_per_eni = 4"),
    ("few", "enis = \"host\""),
];

/// The address of every sandbox.
pub(crate) fn sandbox(family: Family) -> IpAddr {
    match family {
        Family::V4 => SANDBOX.into(),
        Family::V6 => SANDBOX6.into(),
    }
}

/// Starts it, and waits for its ENIs.
pub(crate) fn begin(bed: &Testbed) -> Result<Weir, Error> {
    // The host leaves ports 1024 to 1151 alone.
    bed.host.sysctl("net.ipv4.ip_local_port_range", "1152 65535")?;
    let weir = bed.weir(&config(bed))?;
    active(&weir)?;
    Ok(weir)
}

/// A reload with which it answers nothing.
pub(crate) fn hush(weir: &mut Weir, bed: &Testbed) -> Result<(), Error> {
    weir.reconfigure(bed, &Config { answers_per_second: Some(0), ..config(bed) })
}

/// Whether each packet is accounted for, and the budget of half-open flows was large enough: else flows would seem to end
/// before their time.
pub(crate) fn is_in_order(weir: &Weir) -> Result<(), Error> {
    let counters = weir.counters()?;
    let why = match (counters.ended("made_way"), counters.conservation_diff()) {
        (0, 0) => return Ok(()),
        (0, packets) => format!("{packets} packets are not accounted for"),
        (flows, _) => format!("{flows} flows made way for others"),
    };
    Err(Error::Output { command: "weir get counters".into(), why, output: format!("{counters:#?}") })
}

fn config(bed: &Testbed) -> Config {
    let connector = Connector::of(1..=2, BOTH).with("tcp_idle", IDLE_S).with("udp_idle", IDLE_S);
    let mut more = String::new();
    for ((name, key), sandbox) in OTHERS.iter().zip(bed.sandboxes.iter().skip(2)) {
        let netns = sandbox.netns.name();
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(
            more,
            "\n[[connector]]\nname = \"{name}\"\ntenant = \"{name}\"\nsubnets = [\"out\"]\n{key}\n\
             \n[[slot]]\nnetns = \"{netns}\"\ninterface = \"eth0\"\nconnector = \"{name}\"\n",
        );
    }
    let timeouts = SHORT.map(|(key, time)| (key, time.as_secs() as u16)).into();
    // Whatever begins within a few seconds has room.
    let [max_half_open, max_half_open_v6] = [Some(MAX_FLOWS), Some(MAX_FLOWS_V6)];
    Config {
        timeouts,
        more,
        max_flows: MAX_FLOWS,
        max_half_open,
        max_half_open_v6,
        ..outwards(Hook::Xdp, connector).with_own_addresses()
    }
}
