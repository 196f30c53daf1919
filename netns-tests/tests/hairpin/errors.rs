//! What is said about flows between two sandboxes: refusals of who serves, sizes, and the hops in between.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use weir_netns_tests::config::Hook;
use weir_netns_tests::connectors::active;
use weir_netns_tests::error::Tested;
use weir_netns_tests::ipv6::{self, GATEWAY6, VIP6};
use weir_netns_tests::talk::{Conversation, ask_by_udp, refusal_by_tcp, refusal_by_udp};
use weir_netns_tests::tools::{learnt_mtu, ping, traceroute};
use weir_netns_tests::topology::{GATEWAY, VIP};
use weir_path::Reason;

use crate::{SERVED, calling, config, vips};

/// The longest packet that the serving sandbox takes.
const NARROW: u32 = 1400;

/// Headers of IP and UDP in front of a datagram's words.
const HEADERS: [usize; 2] = [28, 48];

#[test]
fn what_the_serving_sandbox_refuses_is_refused_to_the_caller() -> Tested {
    // Nobody listens in any sandbox.
    let (bed, weir, _) = calling("hairpin-closed", Hook::Xdp)?;

    for caller in [0, 1].map(|it| &bed.sandboxes[it].netns) {
        for to in SERVED.into_iter().flat_map(vips) {
            assert_eq!(refusal_by_tcp(caller, to)?, Some(ErrorKind::ConnectionRefused), "{to}");
            assert_eq!(refusal_by_udp(caller, to)?, Some(ErrorKind::ConnectionRefused), "{to}");
        }
    }

    assert_eq!(weir.counters()?.of(Reason::ErrorToSlot), 8, "the datagrams': {:#?}", weir.counters()?);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_caller_learns_how_long_packets_may_be_for_its_neighbour() -> Tested {
    let mut bed = ipv6::dual("hairpin-size", 3)?;
    ipv6::serve_echo(&mut bed)?;
    let [caller, server] = [0, 1].map(|it| &bed.sandboxes[it]);
    for (netns, device) in [(&bed.host, server.port.as_str()), (&server.netns, "eth0")] {
        netns.ip(&["link", "set", device, "mtu", &NARROW.to_string()])?;
    }
    let weir = bed.weir(&config(Hook::Xdp))?;
    active(&weir)?;

    for (to, headers) in vips(SERVED[1]).into_iter().zip(HEADERS) {
        let words = vec![b'x'; 1500 - headers];
        // Too long, which is said.
        let _: Result<Vec<u8>, _> = ask_by_udp(&caller.netns, to, &words);
        assert_eq!(learnt_mtu(&caller.netns, to.ip())?, Some(NARROW), "{to}: {:#?}", weir.counters()?);
        assert_eq!(ask_by_udp(&caller.netns, to, &words)?, words, "in fragments: {to}");
        assert!(Conversation::begin(&caller.netns, to)?.exchange_bulk(&vec![7; 1 << 18])?, "{to}");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn traceroute_finds_the_gateway_and_the_vip_and_a_ping_of_the_vip_is_refused() -> Tested {
    let (mut bed, weir, _) = calling("hairpin-trace", Hook::Xdp)?;
    ipv6::serve_echo(&mut bed)?;
    let caller = &bed.sandboxes[0].netns;
    let port = SERVED[1].to_string();

    let hops: [(IpAddr, IpAddr); 2] = [(GATEWAY.into(), VIP.into()), (GATEWAY6.into(), VIP6.into())];
    for (gateway, vip) in hops {
        for how in [["-T", "-p", &port], ["-U", "-p", &port]] {
            let found = traceroute(caller, &how, vip)?;
            assert_eq!(found, [gateway.to_string(), vip.to_string()], "{how:?}");
        }
        // A VIP is served by TCP and UDP, and the caller's side of it does not answer for it.
        let said = ping(caller, vip, 56)?.text;
        assert!(
            ["Packet filtered", "Administratively prohibited"].iter().any(|it| said.contains(it)),
            "{said}"
        );
        let not_served = SocketAddr::new(vip, 99);
        assert_eq!(refusal_by_tcp(caller, not_served)?, Some(ErrorKind::ConnectionRefused));
    }
    Ok(bed.finish(weir)?)
}
