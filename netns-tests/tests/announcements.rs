//! Neighbours learn at once that an address has come here: those who knew it elsewhere need not ask.
//!
//! ```text
//!   client ── router ◄────────── [XDP | TC] host [TC] ── sb1
//!             knows the VIPs at  announces them
//!             another station
//! ```

use std::net::IpAddr;

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::error::Tested;
use weir_netns_tests::ipv6::{self, VIP6};
use weir_netns_tests::topology::{ROUTER_DEVICE, Testbed, UPLINK, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};

/// Who had the addresses before.
const BEFORE: &str = "02:00:00:00:00:99";

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

/// Lets the router believe that an address is at the station that had it before.
fn mislead(bed: &Testbed, address: IpAddr) -> Tested {
    let address = address.to_string();
    bed.router.ip(&["neigh", "replace", &address, "lladdr", BEFORE, "nud", "stale", "dev", ROUTER_DEVICE])?;
    Ok(())
}

/// Waits until the router knows better. It sends nothing there, so it was told.
fn is_told(bed: &Testbed, address: IpAddr) -> Tested {
    let mac = bed.host.mac(UPLINK)?;
    let known = || bed.router.ip(&["neigh", "show", &address.to_string(), "dev", ROUTER_DEVICE]);
    Ok(until(
        &format!("word that {address} is at {mac}"),
        PATIENCE,
        || known().unwrap_or_default(),
        || known().map(|known| known.contains(&mac).then_some(())),
    )?)
}

#[test]
fn a_daemon_that_begins_on_an_xdp_uplink_tells_where_its_vips_are() -> Tested {
    vips_are_told("told-xdp", Hook::Xdp)
}

#[test]
fn a_daemon_that_begins_on_a_tc_uplink_tells_where_its_vips_are() -> Tested {
    vips_are_told("told-tc", Hook::Tc)
}

fn vips_are_told(name: &'static str, hook: Hook) -> Tested {
    let bed = ipv6::dual(name, 1)?;
    for vip in VIPS {
        mislead(&bed, vip)?;
    }
    let weir = bed.weir(&Config::new(hook, [Service::web(1..=1), Service::web(1..=1).on_ipv6("web6")]))?;
    for vip in VIPS {
        is_told(&bed, vip)?;
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn a_reload_tells_where_new_vips_are() -> Tested {
    let bed = ipv6::dual("told-later", 1)?;
    let mut weir = bed.weir(&Config::new(Hook::Xdp, [Service::web(1..=1)]))?;
    let more: [IpAddr; 2] = ["198.51.100.11".parse()?, "2001:db8:100::11".parse()?];
    for vip in more {
        mislead(&bed, vip)?;
    }
    let [four, six] = more;
    let added = [
        Service::web(1..=1),
        Service { name: "four", address: four, ..Service::web(1..=1) },
        Service { name: "six", address: six, ..Service::web(1..=1) },
    ];
    weir.reconfigure(&bed, &Config::new(Hook::Xdp, added))?;
    for vip in more {
        is_told(&bed, vip)?;
    }
    Ok(bed.finish(weir)?)
}
