//! Which sandbox a new flow goes to: any port, stickiness, weights.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ─┬─ sb1   echo :7007 (TCP, UDP)
//!   10.0.1.2, 2001:db8:1::2              ├─ sb2   the same
//!                                        └─ sb3   the same
//! ```

use std::net::{IpAddr, SocketAddr};

use weir_netns_tests::config::{ANY_PORT, Config, Hook, Protocol, Service};
use weir_netns_tests::counters::snmp;
use weir_netns_tests::error::{Error, Tested};
use weir_netns_tests::ipv6::{self, VIP6};
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::topology::{Testbed, VIP};
use weir_path::Reason;

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

fn both(service: Service, name6: &'static str) -> [Service; 2] {
    [service.clone(), service.on_ipv6(name6)]
}

fn echo_of_both(sandboxes: std::ops::RangeInclusive<usize>) -> Service {
    Service { protocol: Protocol::TcpUdp, ..Service::echo(sandboxes) }
}

/// Connections that each sandbox has taken, of both families.
fn accepted(bed: &Testbed) -> Result<Vec<u64>, Error> {
    bed.sandboxes.iter().map(|sandbox| snmp(&sandbox.netns, "Tcp", "PassiveOpens")).collect()
}

/// Datagrams that each sandbox has taken, of IPv4.
fn heard(bed: &Testbed) -> Result<Vec<u64>, Error> {
    bed.sandboxes.iter().map(|sandbox| snmp(&sandbox.netns, "Udp", "InDatagrams")).collect()
}

#[test]
fn a_listener_for_any_port_hears_those_that_no_other_listener_has() -> Tested {
    let mut bed = ipv6::dual("any-port", 2)?;
    ipv6::serve_echo(&mut bed)?;
    let all = Service {
        protocol: Protocol::TcpUdp,
        target_port: ECHO_PORT,
        ..Service::tcp("all", ANY_PORT, ECHO_PORT, 2..=2)
    };
    let weir =
        bed.weir(&Config::new(Hook::Xdp, [both(all, "all6"), both(Service::echo(1..=1), "echo6")].concat()))?;

    for vip in VIPS {
        for port in [1, 7, 4_711, 65_535] {
            assert!(Conversation::begin(&bed.client, SocketAddr::new(vip, port))?.exchange(b"hello")?);
            assert_eq!(ask_by_udp(&bed.client, SocketAddr::new(vip, port), b"hello")?, b"hello");
        }
    }
    assert_eq!(accepted(&bed)?, [2, 6], "port 7 of TCP has a listener of its own");
    assert_eq!(heard(&bed)?, [0, 4], "UDP has none");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_target_without_a_port_is_reached_on_the_one_that_was_asked_for() -> Tested {
    let mut bed = ipv6::dual("kept-port", 1)?;
    ipv6::serve_echo(&mut bed)?;
    let all = Service { protocol: Protocol::TcpUdp, ..Service::tcp("all", ANY_PORT, ANY_PORT, 1..=1) };
    let weir = bed.weir(&Config::new(Hook::Xdp, both(all, "all6")))?;

    for to in VIPS.map(|vip| SocketAddr::new(vip, ECHO_PORT)) {
        assert!(Conversation::begin(&bed.client, to)?.exchange(b"hello")?);
        assert_eq!(ask_by_udp(&bed.client, to, b"hello")?, b"hello");
    }
    assert!(Conversation::begin(&bed.client, SocketAddr::new(VIPS[0], 7)).is_err(), "nobody listens there");
    Ok(bed.finish(weir)?)
}

#[test]
fn all_that_one_client_sends_to_a_sticky_group_goes_to_one_sandbox() -> Tested {
    const TIMES: u64 = 40;
    let mut bed = ipv6::dual("sticky", 3)?;
    ipv6::serve_echo(&mut bed)?;
    let sticky = Service { is_sticky: true, ..echo_of_both(1..=3) };
    let weir = bed.weir(&Config::new(Hook::Xdp, both(sticky, "echo6")))?;

    for vip in VIPS {
        let before = (accepted(&bed)?, heard(&bed)?);
        for _ in 0..TIMES {
            assert!(Conversation::begin(&bed.client, SocketAddr::new(vip, 7))?.exchange(b"hello")?);
            assert_eq!(ask_by_udp(&bed.client, SocketAddr::new(vip, 7), b"hello")?, b"hello");
        }
        let grown = |now: Vec<u64>, before: Vec<u64>| {
            now.into_iter().zip(before).map(|(now, before)| now - before).collect::<Vec<_>>()
        };
        let mut by_tcp = grown(accepted(&bed)?, before.0);
        let by_udp = grown(heard(&bed)?, before.1);
        if vip.is_ipv4() {
            assert_eq!(by_tcp, by_udp, "TCP and UDP of one client go to one place");
        }
        by_tcp.sort_unstable();
        assert_eq!(by_tcp, [0, 0, TIMES], "of the client's connections to {vip}");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn groups_get_new_flows_by_their_weights_and_none_at_weight_zero() -> Tested {
    const TIMES: u64 = 1_000;
    let mut bed = ipv6::dual("weights", 3)?;
    ipv6::serve_echo(&mut bed)?;
    // Each group is known by a listener that is not asked here.
    let groups = [("blue", 1), ("green", 2), ("grey", 3)]
        .map(|(name, nth)| Service::tcp(name, 1_000 + nth as u16, ECHO_PORT, nth..=nth));
    let shared = format!(
        "\n[[listener]]\nname = \"shared\"\nvpc = \"prod\"\naddress = \"{VIP}\"\nport = 7\nprotocol = \"tcp\"\n\
         target_groups = [{{ name = \"blue\", weight = 90 }}, {{ name = \"green\", weight = 10 }}, \
         {{ name = \"grey\", weight = 0 }}]\n"
    );
    let weir = bed.weir(&Config { more: shared, ..Config::new(Hook::Xdp, groups) })?;

    for _ in 0..TIMES {
        Conversation::begin(&bed.client, SocketAddr::new(VIPS[0], 7))?.reset()?;
    }

    let [blue, green, grey] = accepted(&bed)?[..] else { panic!("three sandboxes") };
    assert_eq!((blue + green, grey), (TIMES, 0), "and each connection went somewhere");
    // A tenth of a thousand, give or take five times what chance does (9.5).
    assert!((53..=147).contains(&green), "{green} of {TIMES}");
    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::Opened), TIMES, "{counters:#?}");
    Ok(bed.finish(weir)?)
}
