//! Real programs of a VPC, asked by the real clients of many sandboxes: all of them see one address.
//!
//! ```text
//!   client ─────────── router ────────── [XDP | TC] host [TC] ─┬─ sb1    psql, redis-cli, curl, dig, ping, ssh
//!   PostgreSQL, Redis, tx off            ENI 192.0.2.100,      ├─ …
//!   nginx, dnsmasq,                          2001:db8:2::100   └─ sb50   the same
//!   sshd
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;

use weir_netns_tests::busy::Visits;
use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{BOTH, Connector, SERVERS, active, addresses, connected, outwards};
use weir_netns_tests::counters::losses;
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::frames::senders;
use weir_netns_tests::ipv6::{self, CLIENT6};
use weir_netns_tests::load;
use weir_netns_tests::netns::Netns;
use weir_netns_tests::programs::{Dns, Postgres, Redis, SshServer};
use weir_netns_tests::servers::{HTTP_PORT, nginx, visitors};
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{CLIENT, ROUTER_DEVICE, Testbed};
use weir_netns_tests::waiting::{PATIENCE, until};

const SANDBOXES: usize = 50;
/// How many of them ask at the same moment.
const AT_ONCE: usize = 10;
/// Requests of each by HTTP.
const REQUESTS: u32 = 4;

fn config(hook: Hook, sandboxes: usize) -> Config {
    outwards(hook, Connector::of(1..=sandboxes, BOTH))
}

#[test]
fn fifty_sandboxes_ask_five_servers_by_ipv4_and_one_address_is_seen() -> Tested {
    fifty_are_seen_as_one("fifty", Hook::Xdp, CLIENT.into())
}

#[test]
fn fifty_sandboxes_ask_five_servers_by_ipv6_and_one_address_is_seen() -> Tested {
    fifty_are_seen_as_one("fifty6", Hook::Tc, CLIENT6.into())
}

fn fifty_are_seen_as_one(name: &'static str, hook: Hook, server: IpAddr) -> Tested {
    let mut bed = ipv6::dual(name, SANDBOXES)?;
    let dns = Dns::begin(&bed.client, bed.dir())?;
    let _postgres = Postgres::begin(&bed.client, bed.dir())?;
    let _redis = Redis::begin(&bed.client, bed.dir())?;
    bed.keep(nginx(&bed.client, "web", bed.dir())?);
    let weir = bed.weir(&config(hook, SANDBOXES))?;
    let enis = active(&weir)?;
    let seen: Vec<IpAddr> =
        addresses(&enis).into_iter().filter(|it| it.is_ipv4() == server.is_ipv4()).collect();
    assert_eq!(seen.len(), 1, "{enis:?}");
    let the_one = BTreeSet::from([seen[0]]);
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    assert_eq!(BTreeSet::from_iter(by_all(&bed, |it| Postgres::who_am_i(it, server))?), the_one);
    assert_eq!(BTreeSet::from_iter(by_all(&bed, |it| Redis::who_am_i(it, server))?), the_one);
    for how in [&["+notcp"], &["+tcp"]] {
        assert_eq!(by_all(&bed, |it| Dns::ask(it, server, how))?, [true; SANDBOXES], "{how:?}");
    }
    let web = std::net::SocketAddr::new(server, HTTP_PORT);
    let tallies = by_all(&bed, |it| load::requests(it, web, REQUESTS))?;
    let pings = by_all(&bed, |it| ping(it, server, 56))?;

    assert_eq!(tallies.iter().map(load::Tally::failed).sum::<u64>(), 0, "{tallies:?}");
    assert!(pings.iter().all(|said| said.is_well), "{pings:?}");
    let askers = dns.askers()?;
    assert_eq!((askers.len(), BTreeSet::from_iter(askers)), (2 * SANDBOXES, the_one.clone()));
    assert_eq!(who_came_by_http(&bed)?, the_one);
    let frames = on_the_wire.stop();
    assert_eq!(senders(&frames), the_one);
    assert_eq!(Verdicts::of(&frames).wrong, Vec::<String>::new());
    drop((dns, _postgres, _redis));
    Ok(bed.finish(weir)?)
}

/// Does something in every sandbox, in several of them at once.
fn by_all<T: Send>(bed: &Testbed, ask: impl Fn(&Netns) -> Result<T, Error> + Sync) -> Result<Vec<T>, Error> {
    let mut answers = Vec::new();
    for some in bed.sandboxes.chunks(AT_ONCE) {
        let told: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|sandbox| scope.spawn(|| ask(&sandbox.netns))).collect();
            threads
                .into_iter()
                .map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        answers.extend(told.into_iter().collect::<Result<Vec<T>, Error>>()?);
    }
    Ok(answers)
}

/// Who came to nginx, once it has written all of them down.
fn who_came_by_http(bed: &Testbed) -> Result<BTreeSet<IpAddr>, Failure> {
    let all = SANDBOXES * REQUESTS as usize;
    let came = || visitors(&bed.client, bed.dir());
    let count = || came().map_or_else(|error| error.to_string(), |came| came.len().to_string());
    let came =
        until("every visitor's name", PATIENCE, count, || Ok(Some(came()?).filter(|it| it.len() == all)))?;
    Ok(came.into_iter().collect())
}

#[test]
fn an_idle_ssh_session_outlives_the_flows_of_others_and_two_daemons() -> Tested {
    let (bed, mut weir, enis) = connected("ssh", 2, &config(Hook::Xdp, 2))?;
    let server = SshServer::begin(&bed.client, bed.dir())?;
    let sessions = [CLIENT.into(), CLIENT6.into()].map(|it| server.log_in(&bed.sandboxes[0].netns, it));
    let mut sessions = sessions.into_iter().collect::<Result<Vec<_>, _>>()?;
    for session in &mut sessions {
        assert!(addresses(&enis).contains(&session.seen_as), "{session:?}");
        assert!(session.exchange("before")?);
    }

    let others: Vec<_> = bed
        .sandboxes
        .iter()
        .flat_map(|sandbox| SERVERS.map(|to| Visits::begin(&sandbox.netns, to)))
        .collect();
    weir.kill()?;
    others.iter().try_for_each(|visits| visits.wait_for(100, PATIENCE))?;
    weir.start()?;
    others.iter().try_for_each(|visits| visits.wait_for(200, PATIENCE))?;
    weir.stop()?;
    weir.start()?;

    for session in &mut sessions {
        assert!(session.exchange("after")?);
    }
    for visits in others {
        let visited = visits.end()?;
        assert_eq!(visited.failed(), 0, "{visited:?}");
    }
    assert_eq!(losses(&bed.client)?, 0);
    drop((sessions, server));
    Ok(bed.finish(weir)?)
}
