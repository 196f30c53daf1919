//! Both ends of a connection that was silent for too long hear of it at once, and neither has to send anything.
//!
//! ```text
//!   client ───────── router ───────── [XDP] host [TC] ───────── sb1
//!   calls the VIP                                    serves it
//!   serves                     ENI 192.0.2.100       calls the client
//! ```

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::connectors::{Connector, V4, connected, outwards};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::topology::{CLIENT, Topology, vip};
use weir_path::Reason;

/// The least that a listener or a connector may have.
const IDLE: Duration = Duration::from_secs(60);
/// What a flow is given beyond its time, and what a busy machine may take to notice.
const LAG: Duration = Duration::from_secs(10);

fn listen(netns: &Netns, port: u16) -> Result<TcpListener, Failure> {
    Ok(netns.enter(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??)
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

/// Waits at both ends, which send nothing, until they hear that it is over.
fn both_hear_the_end(mut ends: [(&str, TcpStream); 2]) -> Tested {
    let begun = Instant::now();
    for (who, end) in &mut ends {
        let heard = end.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(ErrorKind::ConnectionReset), "what the {who} hears");
    }
    let waited = begun.elapsed();
    assert!(waited + Duration::from_secs(1) >= IDLE && waited < IDLE + LAG, "it took {waited:?}");
    Ok(())
}

#[test]
fn a_client_of_a_vip_and_the_sandbox_that_serves_it_are_both_told() -> Tested {
    let bed = Topology { name: "silence-vip", sandboxes: 1 }.build()?;
    let listener = listen(&bed.sandboxes[0].netns, ECHO_PORT)?;
    let idle_timeout_s = Some(IDLE.as_secs() as u16);
    let service = Service { idle_timeout_s, tells_both_ends: true, ..Service::echo(1..=1) };
    let weir = bed.weir(&Config::new(Hook::Xdp, [service]))?;
    let mut client = bed.client.enter(|| TcpStream::connect(vip(7)))??;
    let (mut server, _) = listener.accept()?;

    speak_once(&mut client, &mut server)?;
    both_hear_the_end([("client", client), ("server", server)])?;

    let counters = weir.counters()?;
    assert_eq!((counters.ended("idle"), counters.of(Reason::AnsweredReset)), (1, 0), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_and_whom_it_called_through_an_eni_are_both_told() -> Tested {
    const PORT: u16 = 7_070;
    let connector =
        Connector::of(1..=1, V4).with("tcp_idle", IDLE.as_secs()).with("on_idle", "\"both_ends\"");
    let (bed, weir, _) = connected("silence-out", 1, &outwards(Hook::Xdp, connector))?;
    let listener = listen(&bed.client, PORT)?;
    let mut sandbox = bed.sandboxes[0].netns.enter(|| TcpStream::connect((CLIENT, PORT)))??;
    let (mut remote, _) = listener.accept()?;

    speak_once(&mut sandbox, &mut remote)?;
    both_hear_the_end([("sandbox", sandbox), ("remote", remote)])?;

    let counters = weir.counters()?;
    assert_eq!((counters.ended("idle"), counters.of(Reason::AnsweredReset)), (1, 0), "{counters:#?}");
    Ok(bed.finish(weir)?)
}
