//! Sandboxes open connections into their VPC, from the addresses of an ENI that they share.
//!
//! ```text
//!   client ───────── router ───────── [XDP | TC] host [TC] ─┬─ sb1
//!   echo :7007       echo :7007       ENI 192.0.2.100,      └─ sb2
//!   beyond the       on the link:         2001:db8:2::100
//!   gateway          192.0.2.77
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::net::IpAddr;

use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{
    self, BOTH, Connector, SERVERS, active, addresses, connected, outwards, serve_echo, stand_on_the_link,
};
use weir_netns_tests::counters::snmp;
use weir_netns_tests::error::Tested;
use weir_netns_tests::frames::senders;
use weir_netns_tests::ipv6::{self, CLIENT6};
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::tools::{ping, traceroute};
use weir_netns_tests::topology::{CLIENT, GATEWAY, ROUTER, ROUTER_DEVICE, UPLINK};
use weir_path::Reason;

fn config(hook: Hook) -> Config {
    outwards(hook, Connector::of(1..=2, BOTH))
}

#[test]
fn tcp_udp_and_ping_leave_from_one_address_by_an_xdp_uplink() -> Tested {
    all_leave_from_one_address("out-xdp", Hook::Xdp)
}

#[test]
fn tcp_udp_and_ping_leave_from_one_address_by_a_tc_uplink() -> Tested {
    all_leave_from_one_address("out-tc", Hook::Tc)
}

fn all_leave_from_one_address(name: &'static str, hook: Hook) -> Tested {
    let (bed, weir, enis) = connected(name, 2, &config(hook))?;
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    for sandbox in &bed.sandboxes {
        for to in SERVERS {
            assert!(Conversation::begin(&sandbox.netns, to)?.exchange(b"hello")?, "{to}");
            assert_eq!(ask_by_udp(&sandbox.netns, to, b"hello")?, b"hello", "{to}");
            let said = ping(&sandbox.netns, to.ip(), 56)?;
            assert!(said.is_well, "{to}: {}", said.text);
        }
    }

    let frames = on_the_wire.stop();
    assert_eq!(senders(&frames), addresses(&enis));
    assert_eq!(enis.len(), 1, "{enis:?}");
    let verdicts = Verdicts::of(&frames);
    assert_eq!(verdicts.wrong, Vec::<String>::new());
    assert!(verdicts.tcp > 0 && verdicts.udp > 0 && verdicts.icmp > 0, "{verdicts:?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn an_uplink_on_which_the_host_has_but_a_link_local_address_leads_to_neighbours_and_beyond() -> Tested {
    let mut bed = ipv6::dual("out-bare", 1)?;
    stand_on_the_link(&bed, BOTH)?;
    serve_echo(&mut bed)?;
    bed.host.ip(&["addr", "flush", "dev", UPLINK])?;
    // The kernel asks for neighbours of IPv6 from here; without one, nobody on the link is found.
    bed.host.ip(&["addr", "add", "fe80::2/64", "dev", UPLINK, "nodad"])?;
    let weir = bed.weir(&outwards(Hook::Xdp, Connector::of(1..=1, BOTH)))?;
    active(&weir)?;

    for to in SERVERS {
        assert!(Conversation::begin(&bed.sandboxes[0].netns, to)?.exchange(b"hello")?, "{to}");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn as_much_as_fits_goes_out_and_comes_back_unchanged_by_an_xdp_uplink() -> Tested {
    bulk_goes_both_ways("out-bulk-xdp", Hook::Xdp)
}

#[test]
fn as_much_as_fits_goes_out_and_comes_back_unchanged_by_a_tc_uplink() -> Tested {
    bulk_goes_both_ways("out-bulk-tc", Hook::Tc)
}

fn bulk_goes_both_ways(name: &'static str, hook: Hook) -> Tested {
    let (bed, weir, _) = connected(name, 2, &config(hook))?;
    // Half of it with checksums that the sandbox leaves to the device, half with complete ones.
    bed.sandboxes[1].netns.set_offload("eth0", "tx", false)?;
    let words: Vec<u8> = (0..4 << 20).map(|n: u32| (n % 251) as u8).collect();

    for sandbox in &bed.sandboxes {
        for to in SERVERS {
            assert!(Conversation::begin(&sandbox.netns, to)?.exchange_bulk(&words)?, "{to}");
        }
    }

    for netns in [&bed.client, &bed.router] {
        assert_eq!(snmp(netns, "Tcp", "InCsumErrors")?, 0);
    }
    // What the gateway says of itself to the ENI is read, and then nobody's.
    let counters = weir.counters()?;
    assert_eq!(counters.dropped(), counters.of(Reason::IcmpIgnored), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn traceroute_finds_every_hop_by_an_xdp_uplink() -> Tested {
    traceroute_finds_every_hop("out-trace-xdp", Hook::Xdp)
}

#[test]
fn traceroute_finds_every_hop_by_a_tc_uplink() -> Tested {
    traceroute_finds_every_hop("out-trace-tc", Hook::Tc)
}

fn traceroute_finds_every_hop(name: &'static str, hook: Hook) -> Tested {
    let (bed, weir, _) = connected(name, 2, &config(hook))?;
    let hops = [GATEWAY, ROUTER, CLIENT].map(|it| it.to_string());

    for how in [&[][..], &["-I"], &["-T"], &["-U"]] {
        assert_eq!(traceroute(&bed.sandboxes[0].netns, how, CLIENT)?, hops, "{how:?}");
    }

    Ok(bed.finish(weir)?)
}

#[test]
fn traceroute_finds_every_hop_of_ipv6() -> Tested {
    use weir_netns_tests::ipv6::{GATEWAY6, ROUTER6};
    let (bed, weir, _) = connected("out-trace6", 2, &config(Hook::Xdp))?;
    let hops = [GATEWAY6, ROUTER6, CLIENT6].map(|it| it.to_string());

    for how in [&["-6"][..], &["-6", "-I"], &["-6", "-T"]] {
        assert_eq!(traceroute(&bed.sandboxes[0].netns, how, CLIENT6)?, hops, "{how:?}");
    }

    Ok(bed.finish(weir)?)
}

#[test]
fn a_port_where_nobody_listens_is_refused_at_once() -> Tested {
    use std::io::ErrorKind::ConnectionRefused;
    use weir_netns_tests::talk::{refusal_by_tcp, refusal_by_udp};
    let (bed, weir, _) = connected("out-closed", 1, &outwards(Hook::Xdp, Connector::of(1..=1, BOTH)))?;

    for server in [IpAddr::V4(CLIENT), IpAddr::V6(CLIENT6)] {
        let closed = (server, 9).into();
        assert_eq!(refusal_by_tcp(&bed.sandboxes[0].netns, closed)?, Some(ConnectionRefused), "{server}");
        assert_eq!(refusal_by_udp(&bed.sandboxes[0].netns, closed)?, Some(ConnectionRefused), "{server}");
    }

    assert_eq!(weir.counters()?.of(Reason::ErrorToSlot), 2, "the two datagrams'");
    Ok(bed.finish(weir)?)
}

#[test]
fn with_endpoint_independent_mapping_one_udp_port_leaves_from_one_port_whatever_the_remote() -> Tested {
    use std::net::UdpSocket;
    let mapping = Connector::of(1..=1, BOTH).with("udp_mapping", "\"endpoint_independent\"");
    let (bed, weir, _) = connected("out-map", 1, &outwards(Hook::Xdp, mapping))?;
    let hear = |netns: &weir_netns_tests::netns::Netns, port| {
        netns.enter(move || UdpSocket::bind(("0.0.0.0", port)))
    };
    let remotes = [(hear(&bed.client, 9001)??, CLIENT), (hear(&bed.router, 9002)??, connectors::NEIGHBOUR)];
    let socket = bed.sandboxes[0].netns.enter(|| UdpSocket::bind("0.0.0.0:0"))??;

    let mut seen = Vec::new();
    for ((remote, address), port) in remotes.iter().zip([9001, 9002]) {
        remote.set_read_timeout(Some(weir_netns_tests::waiting::PATIENCE))?;
        socket.send_to(b"hello", (*address, port))?;
        let (_, from) = remote.recv_from(&mut [0; 16])?;
        seen.push(from);
    }

    assert_eq!(seen[0], seen[1]);
    Ok(bed.finish(weir)?)
}
