//! VPCs with the same addresses: each sandbox reaches the servers of its own.
//!
//! ```text
//!                            ┌─ VLAN 7 ── router    ┐ both 192.0.2.1, 2001:db8:2::1, and both serve
//!   sb1 ─┐ hu0 [XDP | TC] ───┤                      │
//!   sb2 ─┘ a TAP             └─ VLAN 8 ── other     ┘
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::net::{IpAddr, SocketAddr};

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{BOTH, Connector, active, addresses};
use weir_netns_tests::error::Tested;
use weir_netns_tests::frames::senders;
use weir_netns_tests::ipv6::{self, ROUTER6};
use weir_netns_tests::load;
use weir_netns_tests::netns::{End, Netns};
use weir_netns_tests::programs::Redis;
use weir_netns_tests::servers::{HTTP_PORT, nginx};
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{ROUTER, ROUTER_DEVICE, Topology};
use weir_path::packet::VlanTag;

const OURS: VlanTag = VlanTag(7);
const OTHERS: VlanTag = VlanTag(8);

#[test]
fn one_address_in_two_vpcs_is_two_servers_on_an_xdp_uplink() -> Tested {
    each_reaches_its_own("vpcs-xdp", Hook::Xdp)
}

#[test]
fn one_address_in_two_vpcs_is_two_servers_on_a_tc_uplink() -> Tested {
    each_reaches_its_own("vpcs-tc", Hook::Tc)
}

fn each_reaches_its_own(name: &'static str, hook: Hook) -> Tested {
    let bed = Topology { name, sandboxes: 2 }.build()?;
    let other = Netns::add(format!("weir-{name}-other"))?;
    let cable = bed.plug_trunk(OURS, &[(OTHERS, End { netns: &other, device: "o0" })])?;
    ipv6::add_to(&bed)?;
    other.allow_ipv6(&["o0"])?;
    for address in [format!("{ROUTER}/24"), format!("{ROUTER6}/64")] {
        other.ip(&["addr", "add", &address, "dev", "o0"])?;
    }
    let places = [&bed.router, &other];
    let webs = [nginx(places[0], "prod", bed.dir())?, nginx(places[1], "other", bed.dir())?];
    let redis = [Redis::begin(places[0], bed.dir())?, Redis::begin(places[1], bed.dir())?];
    let weir = bed.weir(&config(hook))?;
    let enis = active(&weir)?;
    assert_eq!(enis.len(), 2, "{enis:?}");
    assert_eq!(addresses(&enis[..1]), addresses(&enis[1..]), "the same addresses, in two VPCs");
    let wires = [Capture::start(&bed.router, ROUTER_DEVICE)?, Capture::start(&other, "o0")?];

    for (sandbox, who) in bed.sandboxes.iter().zip(["prod", "other"]) {
        for server in [IpAddr::V4(ROUTER), ROUTER6.into()] {
            let tally = load::requests(&sandbox.netns, SocketAddr::new(server, HTTP_PORT), 10)?;
            assert_eq!((tally.failed(), tally.served.get(who)), (0, Some(&10)), "{who}: {tally:?}");
            assert!(addresses(&enis).contains(&Redis::who_am_i(&sandbox.netns, server)?));
            assert!(ping(&sandbox.netns, server, 56)?.is_well, "{who}: {server}");
        }
    }

    for wire in wires {
        assert_eq!(senders(&wire.stop()), addresses(&enis));
    }
    drop((webs, redis));
    bed.finish(weir)?;
    drop(cable);
    Ok(other.delete()?)
}

/// The same subnet in two VPCs, each on its VLAN, and a sandbox in each.
fn config(hook: Hook) -> Config {
    let own = Connector::of(1..=1, BOTH).with_subnet("vlan", OURS.0);
    let other = Connector { name: "out-too", vpc: "other", ..Connector::of(2..=2, BOTH) };
    let base = Config::new(hook, []).with_uplink("vlan", OURS.0);
    let more = format!(
        "\n[[vpc]]\nname = \"other\"\n\n[[uplink]]\ninterface = \"hu0\"\nvpc = \"other\"\nvlan = {}\n{}",
        OTHERS.0,
        match hook {
            Hook::Xdp => "hook = \"xdp\"\nsenders_complete_checksums = true\n",
            Hook::Tc => "hook = \"tc\"\n",
        }
    );
    Config { connectors: vec![own, other], more, ..base }
}
