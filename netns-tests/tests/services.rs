//! What of the host its sandboxes may reach: the services that their connector lists, at exactly those ports, and nothing
//! else of it.
//!
//! ```text
//!   router ── [XDP] host [TC] ─┬─ sb1, sb2   may call the API and the name server
//!             │ ▲              ├─ sb3        may call the name server
//!             │ └ svc0 [XDP|TC]└─ sb4        may call neither
//!             └── svc1  10.255.1.1, fd00:255:1::1; and 169.254.100.1, fd57:4549:52::1, as sandboxes know their gateway
//!                 API: TCP 9001; name server: UDP and TCP 53; and what nobody may reach
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{BOTH, Connector, ENI, active, outwards};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::frames::ends;
use weir_netns_tests::hosted::{self, END, END6, HERE, HERE6, HOSTS, SEEN, SEEN6};
use weir_netns_tests::ipv6::{self, GATEWAY6, HOST6, SANDBOX6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::probes::{Kind, Probe};
use weir_netns_tests::programs::Dns;
use weir_netns_tests::security::beside;
use weir_netns_tests::servers::{ECHO_PORT, Echo};
use weir_netns_tests::talk::{Conversation, any_port, connect_from, refusal_by_tcp, refusal_by_udp};
use weir_netns_tests::topology::{GATEWAY, HOST, ROUTER_DEVICE, SANDBOX, Testbed};
use weir_netns_tests::trap::Trap;
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// The runtime's API.
const API: u16 = 9001;
/// The name server's.
const DNS: u16 = 53;
/// Where the host listens, and nobody may come.
const CLOSED: [u16; 2] = [9002, 22];

/// As sandboxes call them: the API has another address in truth, the name server has this one.
const GATEWAYS: [IpAddr; 2] = [IpAddr::V4(GATEWAY), IpAddr::V6(GATEWAY6)];
const HERES: [IpAddr; 2] = [IpAddr::V4(HERE), IpAddr::V6(HERE6)];
const SEENS: [IpAddr; 2] = [IpAddr::V4(SEEN), IpAddr::V6(SEEN6)];

fn config(bed: &Testbed, hook: Hook) -> Config {
    let api: String = GATEWAYS
        .iter()
        .zip(HERES)
        .map(|(at, to)| hosted::service((*at, API).into(), "tcp", Some(to)))
        .collect();
    let dns: String = GATEWAYS.iter().map(|at| hosted::service((*at, DNS).into(), "tcp_udp", None)).collect();
    // A service belongs to the connector in front of it, and who lists other ones has ENIs of its own.
    let with = |connector: String, services: &str| {
        connector.replacen("\n[[slot]]", &format!("{services}\n[[slot]]"), 1)
    };
    let more = [
        hosted::vpc(hook),
        with(beside(bed, ["second", "both"], 1..=2, &[]), &format!("{api}{dns}")),
        with(beside(bed, ["third", "names"], 3..=3, &[]), &dns),
    ];
    Config { more: more.concat(), ..outwards(Hook::Xdp, Connector::of(4..=4, BOTH)) }
}

fn hosting(name: &'static str, hook: Hook) -> Result<(Testbed, Weir), Failure> {
    let bed = ipv6::dual(name, 4)?;
    hosted::link(&bed)?;
    let weir = bed.weir(&config(&bed, hook))?;
    active(&weir)?;
    Ok((bed, weir))
}

#[test]
fn whoever_may_call_a_service_of_the_host_reaches_it_by_an_xdp_link() -> Tested {
    allowed_ones_are_reached("svc-xdp", Hook::Xdp)
}

#[test]
fn whoever_may_call_a_service_of_the_host_reaches_it_by_a_tc_link() -> Tested {
    allowed_ones_are_reached("svc-tc", Hook::Tc)
}

fn allowed_ones_are_reached(name: &'static str, hook: Hook) -> Tested {
    let (mut bed, weir) = hosting(name, hook)?;
    for here in HERES {
        bed.keep(Echo::tcp_at(&bed.host, (here, API).into())?);
    }
    let names = Dns::begin(&bed.host, bed.dir())?;
    let words: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();

    for sandbox in [0, 1, 2].map(|it| &bed.sandboxes[it].netns) {
        for server in GATEWAYS {
            assert!(Dns::ask(sandbox, server, &[])?, "{server} from {}", sandbox.name());
            assert!(Dns::ask(sandbox, server, &["+tcp"])?, "{server} from {}", sandbox.name());
        }
    }
    for sandbox in [0, 1].map(|it| &bed.sandboxes[it].netns) {
        for api in GATEWAYS.map(|at| SocketAddr::new(at, API)) {
            assert!(Conversation::begin(sandbox, api)?.exchange_bulk(&words)?, "{api}");
        }
    }

    let askers = names.askers()?;
    assert_eq!(askers.len(), 12, "{askers:?}");
    assert!(askers.iter().all(|asker| SEENS.contains(asker)), "the host sees ENIs alone: {askers:?}");
    drop(names);
    Ok(bed.finish(weir)?)
}

#[test]
fn two_sandboxes_that_call_from_the_same_port_get_their_own_answers() -> Tested {
    const PORT: u16 = 20_000;
    let (bed, weir) = hosting("svc-own", Hook::Tc)?;
    let listener = bed.host.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, API)))??;

    for api in GATEWAYS.map(|at| SocketAddr::new(at, API)) {
        let mut talks = Vec::new();
        for sandbox in [0, 1].map(|it| &bed.sandboxes[it].netns) {
            let caller = connect_from(sandbox, PORT, api)?;
            let (server, peer) = listener.accept()?;
            [&caller, &server].iter().try_for_each(|it| it.set_read_timeout(Some(PATIENCE)))?;
            assert!(SEENS.contains(&peer.ip().to_canonical()), "{peer}");
            talks.push((caller, server, peer));
        }
        assert_ne!(talks[0].2, talks[1].2, "one port inside, two outside");
        for (who, (_, server, _)) in talks.iter_mut().enumerate() {
            server.write_all(&[who as u8])?;
        }
        for (who, (caller, ..)) in talks.iter_mut().enumerate() {
            let mut heard = [u8::MAX];
            caller.read_exact(&mut heard)?;
            assert_eq!(heard, [who as u8], "{api}");
        }
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn nothing_else_of_the_host_is_reached_by_anybody() -> Tested {
    let (bed, weir) = hosting("svc-closed", Hook::Tc)?;
    let ports: Vec<_> = CLOSED.into_iter().chain([API, DNS]).collect();
    let trap = Trap::set(&bed.host, &ports, bed.dir())?;
    let [both, names, nobody] = [0, 2, 3].map(|it| &bed.sandboxes[it].netns);

    // The addresses of services by other ports, and by the other transport.
    for at in GATEWAYS {
        for caller in [both, names, nobody] {
            CLOSED.into_iter().try_for_each(|port| is_refused(caller, (at, port).into()))?;
        }
        refused_by_udp(both, (at, API).into())?;
        // Listed by another connector.
        is_refused(names, (at, API).into())?;
        is_refused(nobody, (at, API).into())?;
        is_refused(nobody, (at, DNS).into())?;
    }
    // The host's addresses on its own uplink, where the kernel is asked for itself and is silent; and the sandboxes' ENI.
    for to in [HOST.into(), HOST6.into()].map(|at: IpAddr| SocketAddr::new(at, API)) {
        knock(both, to)?;
    }
    [API, DNS, CLOSED[0]].into_iter().try_for_each(|port| is_refused(both, (ENI, port).into()))?;

    // Where services are in truth, and where sandboxes are seen: in their VPC that is somewhere beyond its router.
    let elsewhere: Vec<_> = HERES.into_iter().chain([END.into(), END6.into()]).chain(SEENS).collect();
    let at_the_router = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let before = weir.counters()?.of(Reason::Opened);
    for (at, port) in elsewhere.iter().flat_map(|at| [API, DNS, CLOSED[0]].map(|port| (*at, port))) {
        knock(both, (at, port).into())?;
    }
    until(
        "every knock's end",
        PATIENCE,
        || format!("{:#?}", weir.counters()),
        || Ok((weir.counters()?.of(Reason::Opened) == before + 6 * elsewhere.len() as u64).then_some(())),
    )?;
    let knocked: BTreeSet<_> = ends(&at_the_router.stop()).into_iter().map(|it| it.to).collect();
    assert!(elsewhere.iter().all(|at| knocked.contains(at)), "{knocked:?}");

    assert_eq!(trap.visits()?, [0, 0], "knocks, and what was taken: {:#?}", weir.counters()?);
    Ok(bed.finish(weir)?)
}

/// A SYN and a datagram, which nobody is to answer.
fn knock(by: &Netns, to: SocketAddr) -> Tested {
    let own: IpAddr = if to.is_ipv4() { SANDBOX.into() } else { SANDBOX6.into() };
    for kind in [Kind::Syn, Kind::Udp] {
        Probe { kind, from: (own, 40_000).into(), to }.send(by)?;
    }
    Ok(())
}

fn is_refused(by: &Netns, to: SocketAddr) -> Tested {
    let refusal = refusal_by_tcp(by, to)?;
    assert!(refusal.is_some(), "{to} from {}", by.name());
    assert_ne!(refusal, Some(ErrorKind::TimedOut), "{to} from {}: it is told", by.name());
    refused_by_udp(by, to)
}

fn refused_by_udp(by: &Netns, to: SocketAddr) -> Tested {
    let refusal = refusal_by_udp(by, to)?;
    assert!(refusal.is_some(), "{to} from {}", by.name());
    assert_ne!(refusal, Some(ErrorKind::WouldBlock), "{to} from {}: it is told", by.name());
    Ok(())
}

#[test]
fn the_host_reaches_no_sandbox_by_the_link() -> Tested {
    let (mut bed, weir) = hosting("svc-back", Hook::Tc)?;
    ipv6::serve_echo(&mut bed)?;

    for seen in SEENS {
        let before = weir.counters()?.of(Reason::Uninvited);
        let route = bed.host.ip(&["route", "get", &seen.to_string()])?;
        assert!(route.contains(HOSTS), "{route}");
        bed.host.enter(move || {
            let socket = UdpSocket::bind(any_port((seen, ECHO_PORT).into()))?;
            socket.send_to(b"knock", (seen, ECHO_PORT)).map(drop)
        })??;
        until(
            "an uninvited datagram",
            PATIENCE,
            || format!("{:#?}", weir.counters()),
            || Ok((weir.counters()?.of(Reason::Uninvited) == before + 1).then_some(())),
        )?;
    }
    Ok(bed.finish(weir)?)
}
