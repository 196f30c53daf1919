//! Sandboxes that look the same from outside, and call from the same ports at once: each connection is its own.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use weir_netns_tests::config::Hook;
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::talk::connect_from;
use weir_netns_tests::topology::Testbed;
use weir_netns_tests::waiting::PATIENCE;
use weir_path::Reason;

use crate::{SERVED, calling, listen, vips};

/// Connections of each caller.
const EACH: u16 = 500;
/// The first port of both callers.
const FIRST_PORT: u16 = 20_000;

/// Which connection it is: by its caller and that one's port.
type Name = [u8; 3];

/// A caller's end.
type Caller = (Name, TcpStream);

#[test]
fn five_hundred_connections_from_the_same_ports_of_two_sandboxes_and_of_a_client_are_all_their_own() -> Tested
{
    let (bed, weir, _) = calling("crowd", Hook::Xdp)?;
    let (listener, _socket) = listen(&bed.sandboxes[0].netns)?;

    // The first sandbox serves: half of the connections are its own to itself.
    for to in vips(SERVED[0]) {
        let (callers, servers) = all_at_once(&bed, &listener, to)?;
        let peers: Result<BTreeSet<_>, _> = servers.iter().map(TcpStream::peer_addr).collect();
        assert_eq!(peers?.len(), 3 * usize::from(EACH), "no two connections look the same to the server");
        each_hears_its_own(callers, servers)?;
    }

    let counters = weir.counters()?;
    // What the gateway says of itself to the ENI is read, and then nobody's.
    assert_eq!(counters.dropped(), counters.of(Reason::IcmpIgnored), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

/// Connects from all three, and takes every connection while the next ones are made: callers' ends, and the server's.
fn all_at_once(
    bed: &Testbed,
    listener: &TcpListener,
    to: SocketAddr,
) -> Result<(Vec<Caller>, Vec<TcpStream>), Failure> {
    let from = [&bed.sandboxes[0].netns, &bed.sandboxes[1].netns, &bed.client];
    thread::scope(|scope| {
        let calling = [0, 1, 2].map(|who| scope.spawn(move || call(who, from[usize::from(who)], to)));
        let servers = (0..3 * EACH).map(|_| accept(listener)).collect::<Result<Vec<_>, _>>()?;
        let mut callers = Vec::new();
        for thread in calling {
            callers.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok((callers, servers))
    })
}

fn accept(listener: &TcpListener) -> Result<TcpStream, Failure> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn call(who: u8, netns: &Netns, to: SocketAddr) -> Result<Vec<Caller>, Error> {
    let connect = |port: u16| {
        let stream = connect_from(netns, port, to)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(Error::io("set a time limit on a socket"))?;
        let [high, low] = port.to_be_bytes();
        Ok(([who, high, low], stream))
    };
    (FIRST_PORT..FIRST_PORT + EACH).map(connect).collect()
}

/// All of them are open now. Each caller says which it is, and hears that back.
fn each_hears_its_own(mut callers: Vec<Caller>, servers: Vec<TcpStream>) -> Tested {
    for (name, caller) in &mut callers {
        caller.write_all(name)?;
    }
    let mut named = BTreeSet::new();
    for mut server in &servers {
        let mut name = Name::default();
        server.read_exact(&mut name)?;
        named.insert(name);
        server.write_all(&name)?;
    }
    assert_eq!(named.len(), callers.len());
    for (name, caller) in &mut callers {
        let mut heard = Name::default();
        caller.read_exact(&mut heard)?;
        assert_eq!(heard, *name, "somebody else's answer");
    }
    Ok(())
}
