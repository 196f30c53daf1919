//! Nobody is let in by an ENI's address, whatever they send, and each packet of it is counted by name.
//!
//! ```text
//!   client ── router ── [XDP | TC] host [TC] ─┬─ sb1   talks to the client
//!   probes    probes    ENI                   └─ sb2   talks to the router
//!             tx off                 frames are caught at both
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::net::{IpAddr, SocketAddr};

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::Hook;
use weir_netns_tests::connectors::{
    BOTH, Connector, ENI, ENI6, NEIGHBOUR, NEIGHBOUR6, SERVERS, connected, outwards,
};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::frames::ends;
use weir_netns_tests::ipv6::CLIENT6;
use weir_netns_tests::netns::Netns;
use weir_netns_tests::probes::{Kind, Probe};
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::topology::CLIENT;
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

#[test]
fn nobody_is_let_in_by_an_xdp_uplink_whatever_they_send() -> Tested {
    nobody_is_let_in("uninvited-xdp", Hook::Xdp)
}

#[test]
fn nobody_is_let_in_by_a_tc_uplink_whatever_they_send() -> Tested {
    nobody_is_let_in("uninvited-tc", Hook::Tc)
}

fn nobody_is_let_in(name: &'static str, hook: Hook) -> Tested {
    let (bed, weir, _) = connected(name, 2, &outwards(hook, Connector::of(1..=2, BOTH)))?;
    let begin = |sandbox: usize, to| Conversation::begin(&bed.sandboxes[sandbox].netns, to);
    // To the client by one sandbox, to the router by the other one.
    let mut talks =
        [begin(0, SERVERS[0])?, begin(0, SERVERS[1])?, begin(1, SERVERS[2])?, begin(1, SERVERS[3])?];
    for talk in &mut talks {
        assert!(talk.exchange(b"before")?);
    }
    let ports = ports_in_use(&weir)?;
    assert_eq!(ports.len(), 4, "{ports:?}");
    let before = weir.counters()?;
    let caught = [0, 1].map(|it| Capture::start(&bed.sandboxes[it].netns, "eth0"));

    let mut sent = 0;
    let askers: [(&Netns, IpAddr); 4] = [
        (&bed.client, CLIENT.into()),
        (&bed.client, CLIENT6.into()),
        (&bed.router, NEIGHBOUR.into()),
        (&bed.router, NEIGHBOUR6.into()),
    ];
    for (netns, asker) in askers {
        let eni = if asker.is_ipv4() { IpAddr::V4(ENI) } else { ENI6.into() };
        // A port of a flow towards another remote, and towards this one; and one of nobody's.
        let of_family = ports.iter().filter(|(address, _)| *address == eni).map(|(_, port)| *port);
        for port in of_family.chain([9]) {
            for kind in Kind::of(eni) {
                let (from, to) = (SocketAddr::new(asker, 40_000), SocketAddr::new(eni, port));
                Probe { kind: *kind, from, to }.send(netns)?;
                sent += 1;
            }
        }
    }

    let told = || {
        let now = weir.counters()?;
        // A later fragment says not for which port it is.
        let names = [Reason::Uninvited, Reason::ErrorWithoutFlow, Reason::FragmentAhead];
        Ok::<_, weir_netns_tests::error::Error>(names.map(|it| now.of(it) - before.of(it)))
    };
    // To three ports each, from two askers of IPv4.
    let [errors, later_fragments] = [2 * 3, 2 * 3];
    until(
        "every probe's count",
        PATIENCE,
        || format!("{:?} of {sent}: {:#?}", told().ok(), weir.counters()),
        || Ok((told()? == [sent - errors - later_fragments, errors, later_fragments]).then_some(())),
    )?;
    for capture in caught {
        assert_eq!(ends(&capture?.stop()), [], "a sandbox was reached");
    }
    for talk in &mut talks {
        assert!(talk.exchange(b"after")?, "no probe disturbs a connection");
    }
    Ok(bed.finish(weir)?)
}

/// The addresses and ports that flows leave from.
fn ports_in_use(weir: &Weir) -> Result<Vec<(IpAddr, u16)>, Failure> {
    let flows = weir.shown(&["get", "flows"])?;
    let port = |flow: &serde_json::Value| {
        Some((flow["eni"].as_str()?.parse().ok()?, u16::try_from(flow["eni_port"].as_u64()?).ok()?))
    };
    Ok(flows.as_array().into_iter().flatten().filter_map(port).collect())
}
