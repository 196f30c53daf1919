//! Both ends of a connection that was silent for too long hear of it at once, and neither has to send anything.
//!
//! ```text
//!   client ───────── router ───────── [XDP] host [TC] ───────── sb1
//!   calls the VIP                                    serves it
//!   serves                     ENI 192.0.2.100       calls the client
//! ```

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::connectors::{BOTH, Connector, connected, outwards};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::flows::{Ended, Events};
use weir_netns_tests::ipv6::{self, CLIENT6, VIP6, vip6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::topology::{CLIENT, VIP, vip};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// The least that a listener or a connector may have.
const IDLE: Duration = Duration::from_secs(60);
/// What a flow is given beyond its time, and what a busy machine may take to notice.
const LAG: Duration = Duration::from_secs(10);

/// On all addresses: a socket on none of IPv6 hears IPv4 as well.
fn listen(netns: &Netns, port: u16) -> Result<TcpListener, Failure> {
    Ok(netns.enter(move || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))??)
}

/// Both ends speak once, and are silent from then on.
fn speak_once(caller: &mut TcpStream, called: &mut TcpStream) -> Tested {
    let mut word = [0; 4];
    caller.write_all(b"here")?;
    called.read_exact(&mut word)?;
    called.write_all(&word)?;
    caller.read_exact(&mut word)?;
    assert_eq!(&word, b"here");
    [caller, called].iter().try_for_each(|end| end.set_read_timeout(Some(IDLE + LAG)))?;
    Ok(())
}

/// Two ends of a connection, and who they are.
type Pair = [(&'static str, TcpStream); 2];

/// Waits at all ends, which send nothing, until they hear that it is over. Each connection's end is told by `weir events`
/// under the caller's port, and its reason is silence.
fn all_hear_the_end(pairs: Vec<Pair>, events: &mut Events, called: [IpAddr; 2]) -> Tested {
    let begun = Instant::now();
    for ([(who, caller), (whom, called)], address) in pairs.into_iter().zip(called) {
        let from = caller.local_addr()?;
        for (who, mut end) in [(who, caller), (whom, called)] {
            let heard = end.read(&mut [0]).map_err(|error| error.kind());
            assert_eq!(heard, Err(ErrorKind::ConnectionReset), "what the {who} hears by {address}");
        }
        let told = events.wait_for(from.port())?;
        let Ended { flow, reason, .. } = &told;
        let ends = [flow.client.parse::<IpAddr>()?, flow.vip.parse()?];
        assert_eq!((reason.as_str(), flow.protocol.as_str(), ends), ("idle", "tcp", [from.ip(), address]));
        assert!(told.idle_seconds >= IDLE.as_secs_f64(), "{told:?}");
    }
    let waited = begun.elapsed();
    assert!(waited + Duration::from_secs(1) >= IDLE && waited < IDLE + LAG, "it took {waited:?}");
    Ok(())
}

/// Whatever ended, ended of silence, and nobody sent anything that had to be answered.
fn two_ended_in_silence(weir: &Weir) -> Tested {
    let counters = weir.counters()?;
    assert_eq!((counters.ended("idle"), counters.of(Reason::AnsweredReset)), (2, 0), "{counters:#?}");
    Ok(())
}

#[test]
fn a_client_of_a_vip_and_the_sandbox_that_serves_it_are_both_told() -> Tested {
    let bed = ipv6::dual("silence-vip", 1)?;
    let listener = listen(&bed.sandboxes[0].netns, ECHO_PORT)?;
    let idle_timeout_s = Some(IDLE.as_secs() as u16);
    let service = Service { idle_timeout_s, tells_both_ends: true, ..Service::echo(1..=1) };
    let weir = bed.weir(&Config::new(Hook::Xdp, [service.clone(), service.on_ipv6("echo6")]))?;
    let mut events = weir.events()?;

    let pairs = [vip(7), vip6(7)].map(|to| -> Result<Pair, Failure> {
        let mut client = bed.client.enter(move || TcpStream::connect(to))??;
        let (mut server, _) = listener.accept()?;
        speak_once(&mut client, &mut server)?;
        Ok([("client", client), ("server", server)])
    });
    let pairs = pairs.into_iter().collect::<Result<Vec<_>, _>>()?;
    all_hear_the_end(pairs, &mut events, [VIP.into(), VIP6.into()])?;

    two_ended_in_silence(&weir)?;
    drop(events);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_and_whom_it_called_through_an_eni_are_both_told() -> Tested {
    const PORT: u16 = 7_070;
    let connector =
        Connector::of(1..=1, BOTH).with("tcp_idle", IDLE.as_secs()).with("on_idle", "\"both_ends\"");
    let (bed, weir, _) = connected("silence-out", 1, &outwards(Hook::Xdp, connector))?;
    let listener = listen(&bed.client, PORT)?;
    let mut events = weir.events()?;

    let remotes = [IpAddr::V4(CLIENT), CLIENT6.into()];
    let pairs = remotes.map(|to| -> Result<Pair, Failure> {
        let mut sandbox = bed.sandboxes[0].netns.enter(move || TcpStream::connect((to, PORT)))??;
        let (mut remote, _) = listener.accept()?;
        speak_once(&mut sandbox, &mut remote)?;
        Ok([("sandbox", sandbox), ("remote", remote)])
    });
    let pairs = pairs.into_iter().collect::<Result<Vec<_>, _>>()?;
    all_hear_the_end(pairs, &mut events, remotes)?;

    two_ended_in_silence(&weir)?;
    drop(events);
    Ok(bed.finish(weir)?)
}
