//! Where answers go: to the gateway of the uplink, whoever that is by now, or to a neighbour on the link.
//!
//! ```text
//!   client ─────── rc0 router rh0 ───────────── hu0 [XDP | TC] host [TC] ─────── sb1   echo
//!                             │   02:…:0a       no address of the kernel's;
//!                             └── gw0           Weir's own: 192.0.2.5, 2001:db8:2::5
//!                                 02:…:0b       gateway: 192.0.2.1, 2001:db8:2::1
//!                                 macvlan,
//!                                 in one test
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::net::{IpAddr, SocketAddr};

use etherparse::{SlicedPacket, TransportSlice};
use weir_netns_tests::busy::Chat;
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::counters::losses;
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::ipv6::{self, ROUTER6, VIP6};
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::topology::{ROUTER, ROUTER_DEVICE, Testbed, UPLINK, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

const TO: [SocketAddr; 2] = [SocketAddr::new(IpAddr::V4(VIP), 7), SocketAddr::new(IpAddr::V6(VIP6), 7)];

/// Another station.
const OTHER_MAC: &str = "02:00:00:00:00:0b";

/// A testbed whose uplink is Weir's alone, and a daemon.
fn without_addresses(name: &'static str, hook: Hook) -> Result<(Testbed, Weir), Failure> {
    let bed = addressless(name)?;
    let weir = bed.weir(&config(hook))?;
    Ok((bed, weir))
}

fn addressless(name: &'static str) -> Result<Testbed, Failure> {
    let mut bed = ipv6::dual(name, 1)?;
    ipv6::serve_echo(&mut bed)?;
    bed.host.ip(&["addr", "flush", "dev", UPLINK])?;
    bed.host.sysctl(&format!("net.ipv6.conf.{UPLINK}.disable_ipv6"), "1")?;
    Ok(bed)
}

fn config(hook: Hook) -> Config {
    Config::new(hook, [Service::echo(1..=1), Service::echo(1..=1).on_ipv6("echo6")]).with_own_addresses()
}

/// Waits until both gateways are this station.
fn gateways_are(weir: &Weir, mac: &str) -> Tested {
    let shown = || {
        weir.try_command(&["get", "interfaces"]).map(|run| String::from_utf8_lossy(&run.stdout).into_owned())
    };
    let wanted = [format!("{ROUTER} {mac}"), format!("{ROUTER6} {mac}")];
    Ok(until(
        &format!("gateways at {mac}"),
        PATIENCE,
        || shown().unwrap_or_default(),
        || shown().map(|shown| wanted.iter().all(|gateway| shown.contains(gateway)).then_some(())),
    )?)
}

fn exchange(bed: &Testbed) -> Tested {
    for to in TO {
        assert!(Conversation::begin(&bed.client, to)?.exchange(b"hello")?, "{to}");
    }
    Ok(())
}

#[test]
fn answers_leave_by_the_gateway_of_an_xdp_uplink_that_has_no_address_of_the_kernels() -> Tested {
    answers_leave_by_the_gateway("gw-xdp", Hook::Xdp)
}

#[test]
fn answers_leave_by_the_gateway_of_a_tc_uplink_that_has_no_address_of_the_kernels() -> Tested {
    answers_leave_by_the_gateway("gw-tc", Hook::Tc)
}

fn answers_leave_by_the_gateway(name: &'static str, hook: Hook) -> Tested {
    let bed = addressless(name)?;
    stand_beside(&bed)?;
    let weir = bed.weir(&config(hook))?;
    gateways_are(&weir, OTHER_MAC)?;
    let on_the_link = Capture::start(&bed.router, ROUTER_DEVICE)?;

    exchange(&bed)?;

    let stations = tcp_stations(&on_the_link.stop());
    assert!(stations.len() > 4 && stations.iter().all(|mac| mac == OTHER_MAC), "{stations:?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_neighbour_on_the_link_is_answered_without_the_gateway() -> Tested {
    let bed = addressless("on-link")?;
    stand_beside(&bed)?;
    let weir = bed.weir(&config(Hook::Xdp))?;
    gateways_are(&weir, OTHER_MAC)?;
    let on_the_link = Capture::start(&bed.router, ROUTER_DEVICE)?;

    for to in TO {
        assert!(Conversation::begin(&bed.router, to)?.exchange(b"hello")?, "{to}");
    }

    let (stations, own) = (tcp_stations(&on_the_link.stop()), bed.router.mac(ROUTER_DEVICE)?);
    assert!(stations.len() > 4 && stations.iter().all(|mac| *mac == own), "{stations:?}");
    Ok(bed.finish(weir)?)
}

/// Gives the gateway's addresses to another station of the router's. What the router sends comes from the first one.
fn stand_beside(bed: &Testbed) -> Tested {
    let router = &bed.router;
    router.ip(&[
        "link",
        "add",
        "gw0",
        "link",
        ROUTER_DEVICE,
        "address",
        OTHER_MAC,
        "type",
        "macvlan",
        "mode",
        "bridge",
    ])?;
    router.allow_ipv6(&["gw0"])?;
    // Who has an address on one device answers for it on all, and takes nothing by a way that it would not send by.
    for key in ["arp_ignore", "rp_filter"] {
        for device in ["all", "gw0", ROUTER_DEVICE] {
            router.sysctl(
                &format!("net.ipv4.conf.{device}.{key}"),
                if key == "arp_ignore" { "1" } else { "0" },
            )?;
        }
    }
    for (gateway, address) in
        [(format!("{ROUTER}/24"), "192.0.2.77/24"), (format!("{ROUTER6}/64"), "2001:db8:2::77/64")]
    {
        router.ip(&["addr", "del", &gateway, "dev", ROUTER_DEVICE])?;
        router.ip(&["addr", "add", address, "dev", ROUTER_DEVICE])?;
        router.ip(&["addr", "add", &gateway, "dev", "gw0"])?;
    }
    // It went with the address.
    router.ip(&["route", "add", "198.51.100.0/24", "dev", ROUTER_DEVICE])?;
    router.ip(&["link", "set", "gw0", "up"])?;
    Ok(())
}

/// The stations that TCP segments were sent to.
fn tcp_stations(frames: &[Vec<u8>]) -> Vec<String> {
    let station = |frame: &Vec<u8>| {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let is_tcp = matches!(packet.transport, Some(TransportSlice::Tcp(_)));
        let mac = frame.get(..6)?.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
        is_tcp.then_some(mac)
    };
    frames.iter().filter_map(station).collect()
}

/// Lets the router tell everybody on the link when its MAC is another one.
fn announce_changes(bed: &Testbed) -> Tested {
    bed.router.sysctl(&format!("net.ipv4.conf.{ROUTER_DEVICE}.arp_notify"), "1")?;
    bed.router.sysctl(&format!("net.ipv6.conf.{ROUTER_DEVICE}.ndisc_notify"), "1")?;
    Ok(())
}

#[test]
fn a_gateway_that_announces_another_mac_is_known_by_it_before_it_sends_anything() -> Tested {
    let (bed, weir) = without_addresses("gw-told", Hook::Xdp)?;
    gateways_are(&weir, &bed.router.mac(ROUTER_DEVICE)?)?;
    announce_changes(&bed)?;

    bed.router.ip(&["link", "set", ROUTER_DEVICE, "address", OTHER_MAC])?;

    gateways_are(&weir, OTHER_MAC)?;
    exchange(&bed)?;
    assert_eq!(lost(&bed)?, 0);
    Ok(bed.finish(weir)?)
}

#[test]
fn without_a_daemon_a_gateways_other_mac_is_followed_on_an_xdp_uplink() -> Tested {
    change_is_followed("gw-alone-xdp", Hook::Xdp)
}

#[test]
fn without_a_daemon_a_gateways_other_mac_is_followed_on_a_tc_uplink() -> Tested {
    change_is_followed("gw-alone-tc", Hook::Tc)
}

fn change_is_followed(name: &'static str, hook: Hook) -> Tested {
    let (bed, mut weir) = without_addresses(name, hook)?;
    gateways_are(&weir, &bed.router.mac(ROUTER_DEVICE)?)?;
    announce_changes(&bed)?;
    let own = bed.router.mac(ROUTER_DEVICE)?;
    let [four, six] = TO.map(|to| Conversation::begin(&bed.client, to));
    let mut quiet = [four?, six?];
    all_exchange(&mut quiet, "before")?;
    weir.kill()?;

    bed.router.ip(&["link", "set", ROUTER_DEVICE, "address", OTHER_MAC])?;

    gateways_are(&weir, OTHER_MAC)?;
    all_exchange(&mut quiet, "after")?;
    exchange(&bed)?;
    assert_eq!(lost(&bed)?, 0, "the first answer goes to the other station already");

    // Once more, with packets under way.
    let chats = TO.map(|to| Conversation::begin(&bed.client, to).map(Chat::begin));
    bed.router.ip(&["link", "set", ROUTER_DEVICE, "address", &own])?;
    all_exchange(&mut quiet, "again")?;
    for chat in chats {
        let chat = chat?;
        chat.wait_for_more()?;
        chat.end()?;
    }
    gateways_are(&weir, &own)?;
    assert_eq!(weir.counters()?.of(Reason::NextHopUnresolved), 0);
    Ok(bed.finish(weir)?)
}

fn all_exchange(conversations: &mut [Conversation], words: &str) -> Tested {
    for conversation in conversations {
        assert!(conversation.exchange(words.as_bytes())?, "{words}");
    }
    Ok(())
}

fn lost(bed: &Testbed) -> Result<u64, Failure> {
    Ok(losses(&bed.client)? + losses(&bed.sandboxes[0].netns)?)
}
