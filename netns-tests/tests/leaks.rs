//! Nothing leaves but by an ENI: not when ports are exhausted, not from spoofed senders, not before Weir is there, not
//! when its daemon is gone. The host forwards, and has a default route, so that a leak would really leave.
//!
//! ```text
//!   client ── router ───────── [XDP | TC] host [TC] ─┬─ sb1   has a connector
//!     echo    caught here       ip_forward = 1       └─ sb2   has one as well
//!             echo on the link  default: router
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{
    BOTH, Connector, ENI, SERVERS, active, addresses, connected, identities, outwards, serve_echo,
    stand_on_the_link,
};
use weir_netns_tests::error::Tested;
use weir_netns_tests::frames::senders;
use weir_netns_tests::ipv6;
use weir_netns_tests::netns::Netns;
use weir_netns_tests::raw::{Segment, send_frame};
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::talk::{Conversation, ask_by_udp, refusal_by_tcp};
use weir_netns_tests::topology::{CLIENT, HOST, ROUTER_DEVICE, SANDBOX, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

const GATEWAY_MAC: [u8; 6] = [2, 0x57, 0x45, 0x49, 0x52, 1];
const SANDBOX_MAC: [u8; 6] = [2, 0x57, 0x45, 0x49, 0x52, 2];

fn config(hook: Hook) -> Config {
    outwards(hook, Connector::of(1..=2, BOTH))
}

#[test]
fn spoofed_addresses_and_macs_go_nowhere_though_there_is_a_connector() -> Tested {
    let (bed, weir, _) = connected("leak-spoof", 2, &config(Hook::Tc))?;
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let sandbox = &bed.sandboxes[0].netns;
    let to = SocketAddrV4::new(CLIENT, ECHO_PORT);

    for claimed in [Ipv4Addr::new(169, 254, 100, 9), VIP, HOST, ENI, Ipv4Addr::new(10, 0, 1, 9)] {
        let from = SocketAddrV4::new(claimed, 1234);
        Segment { from, to, sequence: 1, acknowledges: None }.send(sandbox)?;
    }
    send_frame(sandbox, "eth0", datagram([2, 0, 0, 0, 0, 0x99], SANDBOX))?;
    send_frame(sandbox, "eth0", datagram(GATEWAY_MAC, SANDBOX))?;
    // One that is heard, which comes after them.
    assert_eq!(ask_by_udp(sandbox, to.into(), b"own")?, b"own");

    assert_eq!(weir.counters()?.of(Reason::SpoofedSource), 7, "{:#?}", weir.counters()?);
    assert_eq!(senders(&on_the_wire.stop()), [IpAddr::V4(ENI)].into());
    Ok(bed.finish(weir)?)
}

/// A datagram to the client, framed for the gateway.
fn datagram(station: [u8; 6], from: Ipv4Addr) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(station, GATEWAY_MAC).ipv4(from.octets(), CLIENT.octets(), 64);
    let mut frame = Vec::new();
    // A Vec takes whatever is written to it.
    assert!(builder.udp(4000, ECHO_PORT).write(&mut frame, b"leak?").is_ok());
    frame
}

#[test]
fn a_sandbox_that_sends_before_weir_is_there_is_heard_only_through_weir() -> Tested {
    let mut bed = ipv6::dual("leak-early", 2)?;
    stand_on_the_link(&bed, BOTH)?;
    serve_echo(&mut bed)?;
    for sandbox in &bed.sandboxes {
        bed.host.ip(&["link", "set", &sandbox.port, "down"])?;
    }
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let eager = Eager::begin(&bed.sandboxes[0].netns);

    let weir = bed.weir(&config(Hook::Xdp))?;
    let enis = active(&weir)?;

    until("a flow of the eager one", PATIENCE, String::new, || {
        Ok((weir.counters()?.of(Reason::Opened) > 0).then_some(()))
    })?;
    eager.end();
    let heard = senders(&on_the_wire.stop());
    assert!(heard.is_subset(&addresses(&enis)) && !heard.is_empty(), "{heard:?}");
    Ok(bed.finish(weir)?)
}

/// A sandbox that sends without a pause, whether it can or not.
struct Eager {
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Eager {
    fn begin(netns: &Netns) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (told, door) = (Arc::clone(&ends), netns.door());
        let thread = thread::spawn(move || {
            let socket = door.enter(|| UdpSocket::bind("0.0.0.0:0"));
            let Ok(Ok(socket)) = socket else { return };
            while !told.load(Ordering::Relaxed) {
                // There is no carrier at first.
                let _: std::io::Result<usize> = socket.send_to(b"early", (CLIENT, ECHO_PORT));
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { ends, thread }
    }

    fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

#[test]
fn with_the_daemon_killed_flows_go_on_new_ones_open_and_nothing_leaks() -> Tested {
    nothing_leaks_without("leak-killed", Hook::Xdp, Weir::kill)
}

#[test]
fn with_the_daemon_stopped_flows_go_on_new_ones_open_and_nothing_leaks() -> Tested {
    nothing_leaks_without("leak-stopped", Hook::Tc, Weir::stop)
}

fn nothing_leaks_without(
    name: &'static str,
    hook: Hook,
    end: fn(&mut Weir) -> Result<(), weir_netns_tests::error::Error>,
) -> Tested {
    let (bed, mut weir, enis) = connected(name, 2, &config(hook))?;
    let sandbox = &bed.sandboxes[0].netns;
    let before = SERVERS.map(|to| Conversation::begin(sandbox, to));
    let mut before = before.into_iter().collect::<Result<Vec<_>, _>>()?;
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    end(&mut weir)?;

    for talk in &mut before {
        assert!(talk.exchange(b"goes on")?);
    }
    for to in SERVERS {
        assert!(Conversation::begin(&bed.sandboxes[1].netns, to)?.exchange(b"new")?, "{to}");
        assert_eq!(ask_by_udp(&bed.sandboxes[1].netns, to, b"new")?, b"new", "{to}");
    }
    send_frame(sandbox, "eth0", datagram(SANDBOX_MAC, Ipv4Addr::new(10, 0, 1, 9)))?;
    let nowhere = SocketAddr::new([169, 254, 169, 254].into(), 80);
    assert_eq!(refusal_by_tcp(sandbox, nowhere)?, Some(ErrorKind::ConnectionRefused));
    assert_eq!(senders(&on_the_wire.stop()), addresses(&enis));

    weir.start()?;
    assert_eq!(identities(&active(&weir)?), identities(&enis));
    for talk in &mut before {
        assert!(talk.exchange(b"still")?);
    }
    Ok(bed.finish(weir)?)
}
