//! A sandbox that claims to be somebody else, in every way there is to.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;

use serde_json::Value;
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::connectors::{BOTH, Connector, SERVERS, addresses, connected};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::frames::senders;
use weir_netns_tests::netns::Netns;
use weir_netns_tests::process;
use weir_netns_tests::raw::Wire;
use weir_netns_tests::topology::{ROUTER_DEVICE, Topology};
use weir_netns_tests::trap::Tripwire;
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;
use weir_path::reason::Class;

use crate::lies::{Lie, MARK, lies};
use crate::{Neighbour, is_at_rest};

#[test]
fn no_lie_of_a_sandbox_is_heard_by_anybody_and_each_is_dropped_by_name() -> Tested {
    let config = Config {
        connectors: vec![Connector::of(1..=2, BOTH)],
        ..Config::new(Hook::Xdp, [Service::echo(2..=2), Service::echo(2..=2).on_ipv6("echo6")])
    };
    let (bed, weir, enis) = connected("lies", 2, &config)?;
    let [liar, neighbour] = [0, 1].map(|it| &bed.sandboxes[it]);
    let talk = Neighbour::begin(&neighbour.netns)?;
    let tripwire = Tripwire::set(&bed.host, &[&liar.port, &neighbour.port], bed.dir())?;
    let bystanders = [&bed.host, &neighbour.netns, &bed.router, &bed.client];
    let before = bystanders.map(Known::by);
    let wire = Wire::begin(&liar.netns, "eth0")?;
    let captures = [
        (&bed.router, ROUTER_DEVICE),
        (&bed.client, "c0"),
        (&neighbour.netns, "eth0"),
        (&liar.netns, "eth0"),
    ]
    .map(|(netns, device)| Capture::start(netns, device));

    let lies = lies();
    let mut dropped = Dropped::by(&weir)?;
    for lie in &lies {
        wire.send(&lie.frame)?;
        dropped.must_be_one_more(&weir, lie)?;
    }

    let rounds = talk.must_be_unhurt()?;
    let [on_the_wire, at_the_client, at_the_neighbour, at_the_liar] =
        captures.map(|it| it.map(Capture::stop));
    for frames in [&on_the_wire, &at_the_client, &at_the_neighbour, &at_the_liar] {
        let frames = frames.as_ref().map_err(ToString::to_string).unwrap();
        assert!(!frames.iter().any(|frame| has_mark(frame)), "a lie got through, or came back");
    }
    let servers: BTreeSet<IpAddr> = SERVERS.iter().map(|to| to.ip()).collect();
    assert_eq!(senders(&on_the_wire?), addresses(&enis), "nobody else speaks on the wire");
    assert_eq!(senders(&at_the_neighbour?), servers, "nobody else speaks to the neighbour");
    assert_eq!(senders(&at_the_liar?), BTreeSet::new(), "no lie is answered");
    assert_eq!(tripwire.heard()?, 0, "frames that were left to the host");
    for ((netns, before), after) in bystanders.into_iter().zip(before).zip(bystanders.map(Known::by)) {
        after?.must_be_no_more_than(&before?, netns);
    }
    is_at_rest(&weir)?;
    println!("lies told: {}, all dropped: {dropped:?}; the neighbour talked {rounds} rounds", lies.len());
    Ok(bed.finish(weir)?)
}

#[test]
fn without_weir_the_host_would_be_left_with_every_lie() -> Tested {
    let bed = Topology { name: "lies-bare", sandboxes: 1 }.build()?;
    let liar = &bed.sandboxes[0];
    let tripwire = Tripwire::set(&bed.host, &[&liar.port], bed.dir())?;
    let wire = Wire::begin(&liar.netns, "eth0")?;

    let lies = lies();
    lies.iter().try_for_each(|lie| wire.send(&lie.frame))?;

    let evidence = || format!("{:?} of {}", tripwire.heard().ok(), lies.len());
    until("every lie at the host", PATIENCE, evidence, || {
        Ok((tripwire.heard()? == lies.len() as u64).then_some(()))
    })?;
    Ok(bed.finish_without_weir()?)
}

fn has_mark(frame: &[u8]) -> bool {
    frame.windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// How many packets were dropped, by each reason there was so far.
struct Dropped(Vec<(Reason, u64)>);

impl Dropped {
    fn by(weir: &Weir) -> Result<Self, Error> {
        let counters = weir.counters()?;
        let reasons = Reason::ALL.iter().filter(|reason| reason.class() == Class::Dropped);
        let dropped = reasons.map(|reason| (*reason, counters.of(*reason)));
        Ok(Self(dropped.filter(|(_, packets)| *packets > 0).collect()))
    }

    /// Waits until a packet more was dropped, and it was this one, by its name.
    fn must_be_one_more(&mut self, weir: &Weir, lie: &Lie) -> Tested {
        let sum = |dropped: &Self| dropped.0.iter().map(|(_, packets)| packets).sum::<u64>();
        let before = sum(self);
        let evidence = || format!("{:#?}", weir.counters());
        let now = until(&format!("the end of what {:?}", lie.what), PATIENCE, evidence, || {
            Ok(Some(Self::by(weir)?).filter(|now| sum(now) > before))
        })?;
        let of = |dropped: &Self| {
            dropped.0.iter().find(|(reason, _)| *reason == lie.reason).map_or(0, |(_, it)| *it)
        };
        assert!(
            of(&now) == of(self) + 1 && sum(&now) == before + 1,
            "{:?} is to be {:?}: {now:?}, was {self:?}",
            lie.what,
            lie.reason
        );
        *self = now;
        Ok(())
    }
}

impl std::fmt::Debug for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(reason, packets)| (reason.name(), packets))).finish()
    }
}

/// What a namespace knows of the network.
struct Known {
    /// Neighbours with their MACs.
    neighbours: BTreeSet<String>,
    /// Routes and its own addresses.
    rest: BTreeSet<String>,
}

impl Known {
    fn by(netns: &Netns) -> Result<Self, Failure> {
        let listed = |what: &[&str], fields: &[&str]| -> Result<BTreeSet<String>, Error> {
            let listed = process::json(Command::new("ip").args(["-j", "-n", netns.name()]).args(what))?;
            let line = |it: &Value| fields.iter().map(|field| format!("{} ", it[*field])).collect();
            Ok(listed.as_array().into_iter().flatten().map(line).collect())
        };
        // Who was looked for in vain has no MAC.
        let mut neighbours = listed(&["neigh", "show"], &["dst", "dev", "lladdr"])?;
        neighbours.retain(|line| !line.contains("null"));
        let mut rest = listed(&["addr", "show"], &["ifname", "address", "addr_info"])?;
        for family in ["-4", "-6"] {
            rest.extend(listed(&[family, "route", "show", "table", "all"], &["dst", "gateway", "dev"])?);
        }
        Ok(Self { neighbours, rest })
    }

    /// A kernel forgets neighbours by itself. None is new, or another station.
    fn must_be_no_more_than(&self, before: &Self, netns: &Netns) {
        let new: Vec<_> = self.neighbours.difference(&before.neighbours).collect();
        assert_eq!(new, Vec::<&String>::new(), "neighbours of {}", netns.name());
        assert_eq!(self.rest, before.rest, "routes and addresses of {}", netns.name());
    }
}
