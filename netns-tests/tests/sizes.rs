//! Packets that are too long for a part of the way, by both families and on both hooks.
//!
//! ```text
//!                    routes of 1400           own 192.0.2.5,
//!                    bytes, both ways         2001:db8:2::5
//!   client ─────────── router ─────────── [XDP | TC] host [TC] ─────────── sb1   nginx, echo
//!      1500, tx off      1500, tx off        1500, or less                    1500, or less
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use etherparse::{SlicedPacket, TcpOptionElement, TransportSlice};
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{ANY_PORT, Config, Hook, Protocol, Service};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::ipv6::{self, CLIENT6, VIP6};
use weir_netns_tests::process::output;
use weir_netns_tests::talk::{Conversation, any_port, ask_by_udp};
use weir_netns_tests::tools::{learnt_mtu, tracepath};
use weir_netns_tests::topology::{CLIENT, ROUTER_DEVICE, Testbed, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];
const CLIENTS: [IpAddr; 2] = [IpAddr::V4(CLIENT), IpAddr::V6(CLIENT6)];

/// The narrow part of the way.
const NARROW: u32 = 1400;

/// Headers of IP and UDP in front of a datagram's words.
const HEADERS: [usize; 2] = [28, 48];

fn both(service: Service, name6: &'static str) -> [Service; 2] {
    [service.clone(), service.on_ipv6(name6)]
}

fn services() -> Vec<Service> {
    let echo_udp = Service { protocol: Protocol::TcpUdp, ..Service::echo(1..=1) };
    [both(Service::web(1..=1), "web6"), both(echo_udp, "echo6")].concat()
}

/// A testbed of one sandbox that serves, and has a file of some megabytes.
fn serving(name: &'static str) -> Result<Testbed, Failure> {
    let mut bed = ipv6::dual(name, 1)?;
    let folder = bed.dir().join("files");
    fs::create_dir(&folder)?;
    std::io::copy(&mut File::open("/dev/urandom")?.take(4 << 20), &mut File::create(folder.join("random"))?)?;
    bed.serve_http()?;
    ipv6::serve_echo(&mut bed)?;
    Ok(bed)
}

/// Megabytes both ways at once, and as many down, by both families.
fn transfers_complete(bed: &Testbed) -> Tested {
    let [served, received] = ["files/random", "received"].map(|file| bed.dir().join(file));
    let words = fs::read(&served)?;
    for (vip, host) in VIPS.into_iter().zip([VIP.to_string(), format!("[{VIP6}]")]) {
        // First the one in which both ends begin to speak without knowing anything.
        assert!(Conversation::begin(&bed.client, SocketAddr::new(vip, 7))?.exchange_bulk(&words)?, "{vip}");
        let url = format!("http://{host}/files/random");
        output(bed.client.command("curl").args(["-sS", "--max-time", "20", &url, "-o"]).arg(&received))?;
        assert!(words == fs::read(&received)?, "what arrived from {vip} is not what was sent");
    }
    Ok(())
}

/// Makes the router's routes narrow, both ways, and leaves its links as they are: who sends learns it from the
/// router's errors alone.
fn narrow(bed: &Testbed) -> Tested {
    let mtu = NARROW.to_string();
    // The routes that are there have metric 0 in IPv4, which is replaced, and more in IPv6, which loses against 1.
    for (family, how, to, device, metric) in [
        ("-4", "replace", "10.0.1.0/24", "rc0", "0"),
        ("-4", "replace", "198.51.100.0/24", ROUTER_DEVICE, "0"),
        ("-6", "add", "2001:db8:1::/64", "rc0", "1"),
        ("-6", "add", "2001:db8:100::/64", ROUTER_DEVICE, "1"),
    ] {
        bed.router.ip(&[family, "route", how, to, "dev", device, "metric", metric, "mtu", &mtu])?;
    }
    Ok(())
}

#[test]
fn transfers_pass_a_narrower_router_in_front_of_an_xdp_uplink() -> Tested {
    transfers_pass_a_narrower_router("narrow-xdp", Hook::Xdp)
}

#[test]
fn transfers_pass_a_narrower_router_in_front_of_a_tc_uplink() -> Tested {
    transfers_pass_a_narrower_router("narrow-tc", Hook::Tc)
}

fn transfers_pass_a_narrower_router(name: &'static str, hook: Hook) -> Tested {
    let bed = serving(name)?;
    narrow(&bed)?;
    let weir = bed.weir(&Config::new(hook, services()))?;

    transfers_complete(&bed)?;

    for (client, vip) in CLIENTS.into_iter().zip(VIPS) {
        assert_eq!(learnt_mtu(&bed.sandboxes[0].netns, client)?, Some(NARROW), "what the sandbox knows");
        assert_eq!(learnt_mtu(&bed.client, vip)?, Some(NARROW), "what the client knows");
    }
    let counters = weir.counters()?;
    assert!(counters.of(Reason::ErrorToSlot) >= 2, "{counters:#?}");
    assert_eq!(counters.of(Reason::ErrorWithoutFlow), 0, "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn tracepath_finds_the_narrowest_hop_on_the_way_to_a_vip() -> Tested {
    let bed = ipv6::dual("tracepath", 1)?;
    narrow(&bed)?;
    let all = Service { protocol: Protocol::Udp, ..Service::tcp("all", ANY_PORT, ANY_PORT, 1..=1) };
    let weir = bed.weir(&Config::new(Hook::Xdp, both(all, "all6")).with_own_addresses())?;

    for vip in VIPS {
        let (mtu, said) = tracepath(&bed.client, vip)?;
        assert_eq!(mtu, Some(NARROW), "{said}");
        assert!(said.contains(&format!("{vip}")) && said.contains("reached"), "{said}");
    }
    Ok(bed.finish(weir)?)
}

/// The segments that a SYN or SYN-ACK in these frames asks for.
fn segment_sizes(frames: &[Vec<u8>]) -> Vec<u16> {
    let size = |frame: &Vec<u8>| match SlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Tcp(tcp) if tcp.syn() => tcp.options_iterator().find_map(|option| match option {
            Ok(TcpOptionElement::MaximumSegmentSize(size)) => Some(size),
            _ => None,
        }),
        _ => None,
    };
    frames.iter().filter_map(size).collect()
}

#[test]
fn an_xdp_uplink_with_a_smaller_size_tells_both_ends_by_their_handshakes() -> Tested {
    handshakes_tell_the_size("clamp-xdp", Hook::Xdp)
}

#[test]
fn a_tc_uplink_with_a_smaller_size_tells_both_ends_by_their_handshakes() -> Tested {
    handshakes_tell_the_size("clamp-tc", Hook::Tc)
}

fn handshakes_tell_the_size(name: &'static str, hook: Hook) -> Tested {
    let bed = serving(name)?;
    let weir = bed.weir(&Config::new(hook, services()).with_uplink("mtu", NARROW))?;
    let at_client = Capture::start(&bed.client, "c0")?;
    let at_sandbox = Capture::start(&bed.sandboxes[0].netns, "eth0")?;

    for vip in VIPS {
        assert!(Conversation::begin(&bed.client, SocketAddr::new(vip, 7))?.exchange(b"hello")?);
    }

    // 1400 bytes without the headers of IP (20, 40) and TCP (20).
    assert_eq!(segment_sizes(&at_client.stop()), [1360, 1340], "of the SYN-ACKs");
    assert_eq!(segment_sizes(&at_sandbox.stop()), [1360, 1340], "of the SYNs");
    transfers_complete(&bed)?;
    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::AnsweredTooBig) + counters.of(Reason::TooBig), 0, "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_client_of_an_xdp_uplink_learns_the_size_of_a_smaller_slot_from_weir() -> Tested {
    client_learns("slot-size-xdp", Hook::Xdp)
}

#[test]
fn a_client_of_a_tc_uplink_learns_the_size_of_a_smaller_slot_from_weir() -> Tested {
    client_learns("slot-size-tc", Hook::Tc)
}

fn client_learns(name: &'static str, hook: Hook) -> Tested {
    let bed = serving(name)?;
    let mtu = NARROW.to_string();
    bed.host.ip(&["link", "set", &bed.sandboxes[0].port, "mtu", &mtu])?;
    bed.sandboxes[0].netns.ip(&["link", "set", "eth0", "mtu", &mtu])?;
    let weir = bed.weir(&Config::new(hook, services()).with_own_addresses())?;

    for (vip, headers) in VIPS.into_iter().zip(HEADERS) {
        opens_and_learns(&bed, SocketAddr::new(vip, 7), 1500 - headers, |bed| learnt_mtu(&bed.client, vip))?;
    }
    assert_eq!(weir.counters()?.of(Reason::AnsweredTooBig), 2);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_learns_the_size_of_a_smaller_xdp_uplink_from_weir() -> Tested {
    sandbox_learns("uplink-size-xdp", Hook::Xdp)
}

#[test]
fn a_sandbox_learns_the_size_of_a_smaller_tc_uplink_from_weir() -> Tested {
    sandbox_learns("uplink-size-tc", Hook::Tc)
}

fn sandbox_learns(name: &'static str, hook: Hook) -> Tested {
    let bed = serving(name)?;
    let weir = bed.weir(&Config::new(hook, services()).with_own_addresses().with_uplink("mtu", NARROW))?;

    for ((vip, client), headers) in VIPS.into_iter().zip(CLIENTS).zip(HEADERS) {
        let known = |bed: &Testbed| learnt_mtu(&bed.sandboxes[0].netns, client);
        opens_and_learns(&bed, SocketAddr::new(vip, 7), 1500 - headers, known)?;
    }
    told_twice(&weir)?;
    Ok(bed.finish(weir)?)
}

fn told_twice(weir: &Weir) -> Tested {
    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::AnsweredTooBig), 2, "{counters:#?}");
    Ok(())
}

/// A datagram that is too long for one way is lost; who sent it learns why, and sends the next one in fragments.
fn opens_and_learns(
    bed: &Testbed,
    to: SocketAddr,
    len: usize,
    learnt: impl Fn(&Testbed) -> Result<Option<u32>, Error>,
) -> Tested {
    assert_eq!(ask_by_udp(&bed.client, to, b"hello")?, b"hello");
    assert_eq!(learnt(bed)?, None, "before");
    let words = vec![7; len];
    // A kernel believes only errors about packets of a socket that it still has.
    let socket = bed.client.enter(move || UdpSocket::bind(any_port(to)))??;
    socket.send_to(&words, to)?;
    until(&format!("word of its size about one to {to}"), PATIENCE, String::new, || {
        Ok((learnt(bed)? == Some(NARROW)).then_some(()))
    })?;
    assert_eq!(ask_by_udp(&bed.client, to, &words)?, words, "in fragments");
    Ok(())
}
