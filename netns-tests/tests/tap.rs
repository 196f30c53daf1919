//! TAP devices as slots and as the uplink, with their offloads and without.
//!
//! ```text
//!   client ── router ──────────── [XDP | TC] host [TC] ─┬─ tap1   a guest that echoes UDP
//!                     veth or TAP                       └─ sb1    a veth or a TAP; behind it nginx, echo
//!                     (rh0, hu0)
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};

use weir_netns_tests::cable::Cable;
use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::counters::{Counters, segments_sent, snmp, snmp6};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::guest::Guest;
use weir_netns_tests::ipv6::{self, VIP6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::tap::Offload;
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{ROUTER_DEVICE, Testbed, Topology, VIP, vip};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

/// The longest frame of a wire with 1500 bytes.
const WHOLE: usize = 1514;

#[test]
fn a_guest_behind_a_tap_answers_through_an_xdp_uplink() -> Tested {
    a_guest_answers("tap-xdp", Hook::Xdp)
}

#[test]
fn a_guest_behind_a_tap_answers_through_a_tc_uplink() -> Tested {
    a_guest_answers("tap-tc", Hook::Tc)
}

/// A daemon for which the first sandbox is behind a device of the host's.
fn behind(bed: &Testbed, device: &str, config: &Config) -> Result<Weir, Failure> {
    let in_a_namespace = format!("netns = \"{}\"\n  interface = \"eth0\"", bed.sandboxes[0].netns.name());
    let text = config.toml(bed).replace(&in_a_namespace, &format!("interface = \"{device}\""));
    let mut weir = Weir::new(bed, config)?;
    weir.write(&text)?;
    weir.start()?;
    Ok(weir)
}

fn a_guest_answers(name: &'static str, hook: Hook) -> Tested {
    let mut bed = Topology { name, sandboxes: 1 }.build()?;
    let guest = Guest::begin(&bed.host, "tap1")?;
    bed.keep(guest);
    let weir = behind(&bed, "tap1", &Config::new(hook, [Service::echo_udp(1..=1)]))?;

    for len in [1, 64, 1400] {
        let words = vec![len as u8; len];
        assert_eq!(ask_by_udp(&bed.client, vip(7), &words)?, words);
    }

    let counters = weir.counters()?;
    assert_eq!((counters.of(Reason::Opened), counters.of(Reason::ToWire)), (3, 3), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

fn echo() -> [Service; 2] {
    let echo = Service { protocol: Protocol::TcpUdp, ..Service::echo(1..=1) };
    [echo.clone(), echo.on_ipv6("echo6")]
}

/// A testbed with a TAP somewhere, that serves both families.
fn with_cable(
    name: &'static str,
    plug: impl FnOnce(&Testbed) -> Result<Cable, weir_netns_tests::error::Error>,
) -> Result<(Testbed, Cable), Failure> {
    let mut bed = Topology { name, sandboxes: 1 }.build()?;
    let cable = plug(&bed)?;
    ipv6::add_to(&bed)?;
    ipv6::serve_echo(&mut bed)?;
    Ok((bed, cable))
}

/// The datagrams below, of both families: two whole ones, and one in three fragments.
const DATAGRAMS: u64 = 2 * (1 + 1 + 3);

/// Datagrams, pings and megabytes both ways at once, by both families. Every checksum that is looked at is right.
fn everything_arrives(bed: &Testbed, client: &Netns) -> Tested {
    let mut words = vec![0; 4 << 20];
    File::open("/dev/urandom")?.read_exact(&mut words)?;
    for vip in VIPS {
        let to = SocketAddr::new(vip, 7);
        for len in [1, 1_000, 4_000] {
            assert_eq!(ask_by_udp(client, to, &words[..len])?, &words[..len], "{len} to {vip}");
        }
        let said = ping(client, vip, 57)?;
        assert!(said.is_well, "{}", said.text);
        assert!(Conversation::begin(client, to)?.exchange_bulk(&words)?, "{vip}");
    }
    for netns in [client, &bed.sandboxes[0].netns] {
        for counter in [
            snmp(netns, "Tcp", "InCsumErrors")?,
            snmp(netns, "Udp", "InCsumErrors")?,
            snmp6(netns, "Udp6InCsumErrors")?,
        ] {
            assert_eq!(counter, 0, "in {}", netns.name());
        }
    }
    Ok(())
}

#[test]
fn a_tap_that_leaves_nothing_to_others_is_a_slot() -> Tested {
    tap_is_a_slot("tap-slot", Offload::None).map(drop)
}

#[test]
fn a_tap_that_leaves_checksums_and_segments_to_others_is_a_slot_and_each_segment_counts() -> Tested {
    let longest = tap_is_a_slot("tap-slot-gso", Offload::All)?;
    assert!(longest > WHOLE, "{longest}: nothing came that had to be cut");
    Ok(())
}

/// What answers leave by, the segments of those that were not cut yet each for itself.
fn to_wire(counters: &Counters) -> u64 {
    counters.hooks.get("slot_tc").and_then(|hook| hook.reasons.get("to_wire")).copied().unwrap_or(0)
}

/// Returns the length of the longest frame that the sandbox sent.
fn tap_is_a_slot(name: &'static str, offload: Offload) -> Result<usize, Failure> {
    let (bed, cable) = with_cable(name, |bed| bed.plug_sandbox(&bed.sandboxes[0], offload))?;
    let port = bed.sandboxes[0].port.clone();
    let weir = behind(&bed, &port, &Config::new(Hook::Tc, echo()))?;
    let from_sandbox = Capture::start(&bed.host, &port)?;

    everything_arrives(&bed, &bed.client)?;

    let longest = from_sandbox.stop().iter().map(Vec::len).max().unwrap_or_default();
    let sandbox = &bed.sandboxes[0].netns;
    let counters = until(
        "a moment at which Weir and the sandbox counted the same",
        PATIENCE,
        || format!("{:?} segments by the sandbox, {:#?}", segments_sent(sandbox), weir.counters()),
        || {
            let counters = weir.counters()?;
            Ok((to_wire(&counters) == segments_sent(sandbox)? + DATAGRAMS).then_some(counters))
        },
    )?;
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    bed.finish(weir)?;
    drop(cable);
    Ok(longest)
}

#[test]
fn a_tap_that_leaves_nothing_to_others_is_an_uplink_on_xdp() -> Tested {
    tap_is_an_uplink("tap-up-xdp", Hook::Xdp, Offload::None)
}

#[test]
fn a_tap_that_leaves_nothing_to_others_is_an_uplink_on_tc() -> Tested {
    tap_is_an_uplink("tap-up-tc", Hook::Tc, Offload::None)
}

#[test]
fn a_tap_that_leaves_checksums_and_segments_to_others_is_an_uplink_on_tc() -> Tested {
    tap_is_an_uplink("tap-up-gso", Hook::Tc, Offload::All)
}

fn tap_is_an_uplink(name: &'static str, hook: Hook, offload: Offload) -> Tested {
    let (bed, cable) = with_cable(name, |bed| bed.plug_uplink(offload))?;
    let weir = bed.weir(&Config::new(hook, echo()))?;
    let from_weir = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let to_sandbox = Capture::start(&bed.sandboxes[0].netns, "eth0")?;

    // What the client sends was cut on its own wire already; what the router itself sends was not.
    everything_arrives(&bed, if offload == Offload::None { &bed.client } else { &bed.router })?;

    let (wire, sandbox) = (from_weir.stop(), to_sandbox.stop());
    if offload == Offload::None {
        assert_eq!(Verdicts::of(&wire).wrong, Vec::<String>::new());
    } else {
        assert!(sandbox.iter().any(|frame| frame.len() > WHOLE), "nothing came that had to be cut");
    }
    let counters = weir.counters()?;
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    bed.finish(weir)?;
    drop(cable);
    Ok(())
}
