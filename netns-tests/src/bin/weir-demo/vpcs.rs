//! The other way round: sandboxes open connections into their VPCs, and nobody is let in by the address they share.
//!
//! ```text
//!   vpc-a: 192.0.2.0/24, a web server at 192.0.2.77 ── hu0 ┐      ┌─ sandbox-1, sandbox-2: of vpc-a
//!                                                          ├ host ┤
//!   vpc-b: 192.0.2.0/24, a web server at 192.0.2.77 ── hu1 ┘      └─ sandbox-3, sandbox-4: of vpc-b
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{Connector, ENI, NEIGHBOUR, V4, active, stand_on_the_link};
use weir_netns_tests::counters::Counters;
use weir_netns_tests::error::Error;
use weir_netns_tests::frames::ends;
use weir_netns_tests::load;
use weir_netns_tests::netns::{End, Netns, veth};
use weir_netns_tests::probes::{Kind, Probe};
use weir_netns_tests::servers::{HTTP_PORT, nginx, visitors};
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::topology::{ROUTER, Testbed, Topology};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

use crate::report::Report;
use crate::stage::Stage;

const VPCS: [&str; 2] = ["vpc-a", "vpc-b"];
/// The second one's name in the configuration.
const OTHER: &str = "other";
/// Of each sandbox.
const REQUESTS: u32 = 50;
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(NEIGHBOUR), HTTP_PORT);

/// Tells this part of the story, on a testbed of its own.
pub(crate) fn tell(stage: &Stage, report: &mut Report) -> Result<(), Error> {
    stage.step(
        "Outwards: two VPCs with the same addresses, a web server at 192.0.2.77 in each, four sandboxes",
    );
    let bed = Topology { name: "demo-vpcs", sandboxes: 4 }.build()?;
    stand_on_the_link(&bed, V4)?;
    let other = second_vpc(&bed)?;
    let webs = [nginx(&bed.router, VPCS[0], bed.dir())?, nginx(&other, VPCS[1], bed.dir())?];
    let weir = bed.weir(&config())?;
    for eni in active(&weir)? {
        let vpc = if eni.vpc == OTHER { VPCS[1] } else { VPCS[0] };
        let addresses: Vec<_> = eni.addresses.iter().map(ToString::to_string).collect();
        stage.say(&format!("  In {vpc} two sandboxes share {}, of {}", addresses.join(", "), eni.id));
    }
    fetch(stage, &bed, &other, report)?;
    probe(stage, &bed, &other, &weir, report)?;
    drop(webs);
    match bed.finish(weir) {
        Ok(()) => {}
        Err(Error::LeftBehind(left)) => report.left_behind.extend(left),
        Err(error) => return Err(error),
    }
    other.delete()
}

/// A network with the same addresses, behind another uplink of the host.
fn second_vpc(bed: &Testbed) -> Result<Netns, Error> {
    let other = Netns::add("weir-demo-vpcs-other")?;
    veth(End { netns: &other, device: "o0" }, End { netns: &bed.host, device: "hu1" })?;
    for (netns, device) in [(&other, "o0"), (&bed.host, "hu1")] {
        netns.set_offload(device, "tx", false)?;
    }
    other.set_offload("o0", "gro", true)?;
    for address in [ROUTER, NEIGHBOUR] {
        other.ip(&["addr", "add", &format!("{address}/24"), "dev", "o0"])?;
    }
    Ok(other)
}

fn config() -> Config {
    let own = Connector { name: "out-a", ..Connector::of(1..=2, V4) };
    let other = Connector { name: "out-b", vpc: OTHER, ..Connector::of(3..=4, V4) };
    let more = "\n[[vpc]]\nname = \"other\"\n\n[[uplink]]\ninterface = \"hu1\"\nvpc = \"other\"\nhook = \"xdp\"\n\
                senders_complete_checksums = true\n";
    Config { connectors: vec![own, other], more: more.into(), ..Config::new(Hook::Xdp, []) }
}

/// Every sandbox fetches, and the servers say who came.
fn fetch(stage: &Stage, bed: &Testbed, other: &Netns, report: &mut Report) -> Result<(), Error> {
    for ((vpc, server), sandboxes) in VPCS.iter().zip([&bed.router, other]).zip(bed.sandboxes.chunks(2)) {
        let mut answered = 0;
        for sandbox in sandboxes {
            let tally = load::requests(&sandbox.netns, SERVER, REQUESTS)?;
            let right = tally.served.get(*vpc).copied().unwrap_or_default();
            let name = &sandbox.name;
            stage
                .say(&format!("  {name}: {right} of {REQUESTS} requests to {SERVER} were answered in {vpc}"));
            report.outward_requests += u64::from(REQUESTS);
            report.outward_failed += u64::from(REQUESTS).saturating_sub(right);
            answered += right;
        }
        // It writes a line once it has answered.
        let log = || Ok(Some(visitors(server, bed.dir())?).filter(|came| came.len() as u64 >= answered));
        let sources = BTreeSet::from_iter(until("every visitor's name", PATIENCE, String::new, log)?);
        stage.say(&format!("  The log of the server in {vpc} knows these clients: {sources:?}"));
        report.vpc_sees_sources.insert((*vpc).to_owned(), sources.len() as u64);
    }
    Ok(())
}

/// Whoever is in a VPC sends to the ENI whatever there is; the sandboxes' devices are watched.
fn probe(stage: &Stage, bed: &Testbed, other: &Netns, weir: &Weir, report: &mut Report) -> Result<(), Error> {
    let held = bed
        .sandboxes
        .iter()
        .map(|it| Conversation::begin(&it.netns, SERVER))
        .collect::<Result<Vec<_>, _>>()?;
    let flows = weir.shown(&["get", "flows"])?;
    let ports = flows.as_array().into_iter().flatten().filter_map(|it| it.get("eni_port")?.as_u64());
    let ports: BTreeSet<_> =
        ports.filter_map(|port| u16::try_from(port).ok()).chain([22, 80]).take(8).collect();
    let before = turned_away(&weir.counters()?);
    let watched =
        bed.sandboxes.iter().map(|it| Capture::start(&it.netns, "eth0")).collect::<Result<Vec<_>, _>>()?;
    let mut sent = 0;
    for vpc in [&bed.router, other] {
        for port in &ports {
            for kind in Kind::ALL {
                // From another address than the flows' remote.
                let (from, to) = (SocketAddr::from((ROUTER, 40_000)), SocketAddr::from((ENI, *port)));
                Probe { kind, from, to }.send(vpc)?;
                sent += 1;
            }
        }
    }
    let told = || Ok(Some(turned_away(&weir.counters()?) - before).filter(|count| *count >= sent));
    let counted = until("every probe's count", PATIENCE, String::new, told)?;
    report.uninvited_let_in = watched.into_iter().map(|it| ends(&it.stop()).len() as u64).sum();
    report.uninvited_sent = sent;
    stage.say(&format!(
        "  {sent} packets that nobody asked for (SYNs, datagrams, pings, fragments, RSTs, ICMP errors), at ports in use and \
         others: {counted} turned away and counted by name, {} let in",
        report.uninvited_let_in
    ));
    drop(held);
    Ok(())
}

fn turned_away(counters: &Counters) -> u64 {
    [Reason::Uninvited, Reason::ErrorWithoutFlow, Reason::FragmentAhead]
        .map(|it| counters.of(it))
        .iter()
        .sum()
}
