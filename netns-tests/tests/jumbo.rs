//! Long frames, and packets that become several on the wire only.
//!
//! ```text
//!   client ─────── router ─────── [XDP | TC] host [TC] ─────── sb1   nginx, echo, iperf3
//!            9000           9000       VIP 198.51.100.10   9000
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::counters::{segments_sent, snmp};
use weir_netns_tests::error::Tested;
use weir_netns_tests::ipv6::{self, VIP6};
use weir_netns_tests::process::{Process, output};
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{ROUTER_DEVICE, Testbed, UPLINK, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_path::Reason;

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

const JUMBO: u32 = 9000;

/// Where iperf3 listens.
const IPERF: u16 = 5201;

fn both(service: Service, name6: &'static str) -> [Service; 2] {
    [service.clone(), service.on_ipv6(name6)]
}

/// Makes every link long.
fn lengthen(bed: &Testbed) -> Tested {
    let sandbox = &bed.sandboxes[0];
    for (netns, device) in [
        (&bed.client, "c0"),
        (&bed.router, "rc0"),
        (&bed.router, ROUTER_DEVICE),
        (&bed.host, UPLINK),
        (&bed.host, sandbox.port.as_str()),
        (&sandbox.netns, "eth0"),
    ] {
        netns.ip(&["link", "set", device, "mtu", &JUMBO.to_string()])?;
    }
    Ok(())
}

#[test]
fn frames_of_9000_bytes_pass_an_xdp_uplink_and_are_answered() -> Tested {
    long_frames_pass("jumbo-xdp", Hook::Xdp)
}

#[test]
fn frames_of_9000_bytes_pass_a_tc_uplink_and_are_answered() -> Tested {
    long_frames_pass("jumbo-tc", Hook::Tc)
}

fn long_frames_pass(name: &'static str, hook: Hook) -> Tested {
    let mut bed = ipv6::dual(name, 1)?;
    lengthen(&bed)?;
    ipv6::serve_echo(&mut bed)?;
    let echo = Service { protocol: Protocol::TcpUdp, ..Service::echo(1..=1) };
    let weir = bed.weir(&Config::new(hook, both(echo, "echo6")))?;
    let mut words = vec![0; 8 << 20];
    File::open("/dev/urandom")?.read_exact(&mut words)?;

    let at_sandbox = Capture::start(&bed.sandboxes[0].netns, "eth0")?;
    for vip in VIPS {
        let to = SocketAddr::new(vip, 7);
        // The longest datagram that is one packet in both families.
        let datagram = &words[..JUMBO as usize - 48];
        assert_eq!(ask_by_udp(&bed.client, to, datagram)?, datagram, "{vip}");
        let said = ping(&bed.client, vip, 8_900)?;
        assert!(said.is_well, "{}", said.text);
        assert!(Conversation::begin(&bed.client, to)?.exchange_bulk(&words)?, "{vip}");
    }
    let longest = at_sandbox.stop().iter().map(Vec::len).max();
    assert!(longest >= Some(JUMBO as usize), "{longest:?}: nothing long came whole");
    let counters = weir.counters()?;
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    assert_eq!(snmp(&bed.client, "Tcp", "InCsumErrors")?, 0);
    assert_eq!(snmp(&bed.sandboxes[0].netns, "Tcp", "InCsumErrors")?, 0);
    Ok(bed.finish(weir)?)
}

#[test]
fn each_segment_of_packets_that_are_cut_after_a_tc_uplink_is_counted() -> Tested {
    let mut bed = ipv6::dual("gso", 1)?;
    for (netns, device) in
        [(&bed.client, "c0"), (&bed.router, "rc0"), (&bed.router, ROUTER_DEVICE), (&bed.host, UPLINK)]
    {
        netns.set_offload(device, "tx", true)?;
        netns.set_offload(device, "tso", true)?;
    }
    let sandbox = &bed.sandboxes[0].netns;
    let mut command = sandbox.command("iperf3");
    let iperf =
        Process::start("iperf3", command.args(["-s", "-p", &IPERF.to_string()]), &bed.dir().join("iperf3"))?;
    bed.keep(iperf);
    let weir =
        bed.weir(&Config::new(Hook::Tc, both(Service::tcp("iperf", IPERF, IPERF, 1..=1), "iperf6")))?;
    let to_sandbox = Capture::start(&bed.sandboxes[0].netns, "eth0")?;

    for vip in VIPS {
        until("iperf3 listening", PATIENCE, String::new, || {
            let listening = output(bed.sandboxes[0].netns.command("ss").args(["-Hltn"]))?;
            Ok(listening.contains(&format!(":{IPERF}")).then_some(()))
        })?;
        for way in [&[][..], &["--reverse"]] {
            let mut command = bed.client.command("iperf3");
            command.args(["-c", &vip.to_string(), "-p", &IPERF.to_string(), "-n", "20M"]).args(way);
            output(&mut command)?;
        }
    }

    let longest = to_sandbox.stop().iter().map(Vec::len).max();
    assert!(longest > Some(1514), "{longest:?}: nothing came that had to be cut");
    // The kernel's own count: a packet of many segments is as many.
    let counted = until(
        "a moment at which Weir and the client counted the same",
        PATIENCE,
        || format!("{:?} segments by the client, {:#?}", segments_sent(&bed.client), weir.counters()),
        || {
            let counters = weir.counters()?;
            let tcp = counters.of(Reason::ToSlot) + counters.of(Reason::Opened);
            Ok((tcp == segments_sent(&bed.client)?).then_some(counters))
        },
    )?;
    assert_eq!(counted.conservation_diff(), 0, "{counted:#?}");
    Ok(bed.finish(weir)?)
}
