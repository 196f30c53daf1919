//! Frames that cannot be, by the thousand, from a sandbox and from the wire: each is counted, nothing that leaves is
//! malformed, and nobody else notices.

use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::connectors::{BOTH, Connector, ENI, ENI6, connected};
use weir_netns_tests::counters::{received, snmp};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::forge::{Between, Mac, ethertype, frame, mend};
use weir_netns_tests::ipv6::{self, CLIENT6, SANDBOX6, VIP6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::process::output;
use weir_netns_tests::raw::Wire;
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{CLIENT, GATEWAY, ROUTER_DEVICE, SANDBOX, Testbed, UPLINK, VIP};
use weir_netns_tests::trap::Tripwire;
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;

use crate::mangle::{Dice, Route, by_hand};
use crate::{GATEWAY_MAC, Neighbour, SANDBOX_MAC, is_at_rest};

/// How many frames are left to the dice, of each route.
const DICED: usize = 3_000;

/// So many are sent before it is looked whether all were counted.
const AT_ONCE: usize = 250;

const SEED: u64 = 0x5745_4952;

fn bed(name: &'static str, hook: Hook) -> Result<(Testbed, Weir), Failure> {
    let both = Service { protocol: Protocol::TcpUdp, ..Service::echo(2..=2) };
    let config = Config {
        connectors: vec![Connector::of(1..=2, BOTH)],
        ..Config::new(hook, [both.clone(), both.on_ipv6("echo6")])
    };
    let (mut bed, weir, _) = connected(name, 2, &config)?;
    ipv6::serve_echo(&mut bed)?;
    // What comes to them is an answer to what they sent: then it is complete as well.
    bed.sandboxes.iter().try_for_each(|it| it.netns.set_offload("eth0", "tx", false))?;
    Ok((bed, weir))
}

#[test]
fn malformed_frames_from_a_sandbox_are_all_counted_and_nothing_malformed_leaves() -> Tested {
    let (bed, weir) = bed("bad-out", Hook::Xdp)?;
    let [hostile, neighbour] = [0, 1].map(|it| &bed.sandboxes[it]);
    // Longer than what the uplink takes, too.
    for (netns, device) in [(&bed.host, hostile.port.as_str()), (&hostile.netns, "eth0")] {
        netns.ip(&["link", "set", device, "mtu", "9000"])?;
    }
    let tripwire = Tripwire::set(&bed.host, &[&hostile.port, &neighbour.port], bed.dir())?;
    let watched = Watched::begin(&bed)?;
    let books = Books::open(&bed, &weir)?;
    let talk = Neighbour::begin(&neighbour.netns)?;
    let wire = Wire::begin(&hostile.netns, "eth0")?;

    let own = Conversation::begin(&hostile.netns, (CLIENT, ECHO_PORT).into())?;
    let route = |ports| Route {
        stations: [GATEWAY_MAC, SANDBOX_MAC],
        v4: Between::V4(SANDBOX, CLIENT),
        v6: Between::V6(SANDBOX6, CLIENT6),
        ports,
    };
    // Of a flow of its own, of one of the neighbour's, and of none.
    let ours = own.local_address()?.port();
    let theirs = weir.flows()?.iter().map(|flow| flow.client_port).find(|port| *port != ours).unwrap_or(1);
    let mut sent = 0;
    for port in [ours, theirs, 4000] {
        sent += send_all(&books, &wire, &route([port, ECHO_PORT]))?;
    }
    let long = route([4000, ECHO_PORT]);
    for (kind, packet) in [
        (ethertype::IPV4, long.v4.udp(long.ports, &[0x55; 4000])),
        (ethertype::IPV6, long.v6.udp(long.ports, &[0x55; 8000])),
    ] {
        wire.send(&frame(long.stations, kind, &packet))?;
    }

    let rounds = talk.must_be_unhurt()?;
    drop(own);
    books.must_be_closed()?;
    assert_eq!(tripwire.heard()?, 0, "frames that were left to the host");
    let verdicts = watched.must_all_be_right();
    println!(
        "malformed frames from a sandbox: {sent}; the neighbour talked {rounds} rounds; what arrived: {verdicts:?}"
    );
    println!("their reasons: {:?}", weir.counters()?.reasons());
    Ok(bed.finish(weir)?)
}

#[test]
fn malformed_frames_to_an_xdp_uplink_are_all_counted_and_nothing_malformed_goes_on() -> Tested {
    malformed_from_the_wire("bad-in-xdp", Hook::Xdp)
}

#[test]
fn malformed_frames_to_a_tc_uplink_are_all_counted_and_nothing_malformed_goes_on() -> Tested {
    malformed_from_the_wire("bad-in-tc", Hook::Tc)
}

fn malformed_from_the_wire(name: &'static str, hook: Hook) -> Tested {
    let (bed, weir) = bed(name, hook)?;
    // What is passed to the host is the host's: it is not to send it back as it is.
    let rules = bed.dir().join("rules.nft");
    std::fs::write(
        &rules,
        "table inet own {\n chain on {\n  type filter hook forward priority 0\n  policy drop\n }\n}\n",
    )?;
    output(bed.host.command("nft").arg("-f").arg(&rules))?;
    let watched = Watched::begin(&bed)?;
    let books = Books::open(&bed, &weir)?;
    let talk = Neighbour::begin(&bed.sandboxes[1].netns)?;
    let wire = Wire::begin(&bed.router, ROUTER_DEVICE)?;
    let stations = [mac(&bed.host, UPLINK)?, mac(&bed.router, ROUTER_DEVICE)?];

    let in_use = ports_in_use(&weir)?;
    let mut sent = 0;
    let to_vip = (Between::V4(CLIENT, VIP), Between::V6(CLIENT6, VIP6), [4000, 7]);
    let to_flow = (Between::V4(CLIENT, ENI), Between::V6(CLIENT6, ENI6), [ECHO_PORT, in_use]);
    let to_none = (Between::V4(CLIENT, ENI), Between::V6(CLIENT6, ENI6), [4000, 9]);
    for (v4, v6, ports) in [to_vip, to_flow, to_none] {
        sent += send_all(&books, &wire, &Route { stations, v4, v6, ports })?;
    }

    let rounds = talk.must_be_unhurt()?;
    books.must_be_closed()?;
    let verdicts = watched.must_all_be_right();
    println!(
        "malformed frames from the wire: {sent}; the neighbour talked {rounds} rounds; what arrived: {verdicts:?}"
    );
    println!("their reasons: {:?}", weir.counters()?.reasons());
    Ok(bed.finish(weir)?)
}

/// Sends what is made by hand and what the dice make.
fn send_all(books: &Books<'_>, wire: &Wire, route: &Route) -> Result<usize, Failure> {
    let mut dice = Dice(SEED);
    let diced = std::iter::repeat_with(|| dice.mangled(route)).take(DICED);
    let frames: Vec<_> = by_hand(route).into_iter().chain(diced).collect();
    for some in frames.chunks(AT_ONCE) {
        some.iter().try_for_each(|frame| wire.send(frame))?;
        books.catch_up()?;
    }
    Ok(frames.len())
}

/// What the kernel says came in, and what Weir counted.
struct Books<'a> {
    bed: &'a Testbed,
    weir: &'a Weir,
    /// By the slots, and by the uplink, before Weir was there.
    before: [u64; 2],
}

impl<'a> Books<'a> {
    /// Begins to compare. Nobody may talk yet.
    fn open(bed: &'a Testbed, weir: &'a Weir) -> Result<Self, Failure> {
        is_at_rest(weir)?;
        let books = Self { bed, weir, before: [0; 2] };
        let ([slots, uplink], counted) = (books.came()?, books.counted()?);
        Ok(Self { before: [slots - counted[0], uplink - counted[1]], ..books })
    }

    fn came(&self) -> Result<[u64; 2], Error> {
        let slots = self.bed.sandboxes.iter().map(|it| received(&self.bed.host, &it.port));
        let [before_slots, before_uplink] = self.before;
        let slots = slots.sum::<Result<u64, _>>()?;
        Ok([slots - before_slots, received(&self.bed.host, UPLINK)? - before_uplink])
    }

    fn counted(&self) -> Result<[u64; 2], Error> {
        let counters = self.weir.counters()?;
        let on_uplink = counters.entered_on_uplink();
        Ok([counters.entered() - on_uplink, on_uplink])
    }

    /// Waits until what came by now was counted. The neighbour goes on meanwhile.
    fn catch_up(&self) -> Tested {
        let came = self.came()?;
        let evidence = || format!("{came:?} came; {:#?}", self.weir.counters());
        Ok(until("the count of all that came", PATIENCE, evidence, || {
            let counted = self.counted()?;
            Ok((counted[0] >= came[0] && counted[1] >= came[1]).then_some(()))
        })?)
    }

    /// What came is what was counted, and each of it left for one reason. Nobody may talk any more.
    fn must_be_closed(&self) -> Tested {
        self.catch_up()?;
        is_at_rest(self.weir)?;
        let (came, counted) = (self.came()?, self.counted()?);
        println!("frames by the slots and by the uplink: {came:?}, counted: {counted:?}");
        assert_eq!(came, counted, "{:#?}", self.weir.counters()?);
        Ok(())
    }
}

/// The places where something malformed would be seen.
struct Watched(Vec<Capture>);

impl Watched {
    fn begin(bed: &Testbed) -> Result<Self, Failure> {
        let places = bed.sandboxes.iter().map(|it| (&it.netns, "eth0")).chain([(&bed.router, ROUTER_DEVICE)]);
        let captures = places.map(|(netns, device)| Capture::start(netns, device));
        Ok(Self(captures.collect::<Result<_, _>>()?))
    }

    fn must_all_be_right(self) -> Verdicts {
        let frames = self.0.into_iter().flat_map(Capture::stop).collect::<Vec<_>>();
        let mut verdicts = Verdicts::of(&frames);
        // That checker forgets bits that nobody uses: a sum that it finds wrong is reckoned byte by byte.
        let why = |frame: &Vec<u8>| {
            let found = Verdicts::of(std::slice::from_ref(frame)).wrong.pop()?;
            let is_a_sum = found.contains("checksum 0x");
            (!is_a_sum || !is_summed_up_right(frame)).then(|| format!("{found}: {frame:02x?}"))
        };
        let wrong: Vec<_> = frames.iter().filter_map(why).collect();
        assert_eq!((&wrong[..], verdicts.merged), (&[][..], 0), "{} are wrong", wrong.len());
        verdicts.wrong.clear();
        verdicts
    }
}

fn is_summed_up_right(frame: &[u8]) -> bool {
    let mut mended = frame.to_vec();
    mend(&mut mended[14..]);
    mended == frame
}

fn mac(netns: &Netns, device: &str) -> Result<Mac, Failure> {
    let text = netns.mac(device)?;
    let bytes: Vec<_> = text.split(':').filter_map(|it| u8::from_str_radix(it, 16).ok()).collect();
    Ok(bytes.try_into().map_err(|_| std::io::Error::other(text))?)
}

/// A port of the ENI from which a flow of the neighbour's to the client leaves.
fn ports_in_use(weir: &Weir) -> Result<u16, Failure> {
    let flows = weir.shown(&["get", "flows"])?;
    let of_client = |flow: &&serde_json::Value| flow["vip"] == CLIENT.to_string().as_str();
    let port =
        flows.as_array().into_iter().flatten().find(of_client).and_then(|flow| flow["eni_port"].as_u64());
    Ok(u16::try_from(port.unwrap_or_default())?)
}

#[test]
fn a_wrong_checksum_stays_wrong_and_is_never_made_right() -> Tested {
    const TIMES: u64 = 50;
    let (bed, weir) = bed("bad-sum", Hook::Xdp)?;
    let wire = Wire::begin(&bed.sandboxes[0].netns, "eth0")?;
    let counted = || {
        Ok::<_, Error>([snmp(&bed.client, "Udp", "InCsumErrors")?, snmp(&bed.router, "Ip", "InHdrErrors")?])
    };
    let before = counted()?;
    let send = |at: usize| {
        let mut datagram = Between::V4(SANDBOX, CLIENT).udp([4000, ECHO_PORT], b"words");
        datagram[at] ^= 1;
        wire.send(&frame([GATEWAY_MAC, SANDBOX_MAC], ethertype::IPV4, &datagram))
    };

    // A word of the datagram, and one of the header's sum. It is of a flow by then: what is of none is not believed.
    for at in [30, 10] {
        (0..TIMES).try_for_each(|_| send(at))?;
    }

    let evidence = || format!("{:?}, was {before:?}", counted().ok());
    until("what the client and the router find wrong", PATIENCE, evidence, || {
        Ok((counted()? == before.map(|it| it + TIMES)).then_some(()))
    })?;

    // A ping of the gateway, which Weir answers in its place.
    let answers = Capture::start(&bed.sandboxes[0].netns, "eth0")?;
    let mut echo = Between::V4(SANDBOX, GATEWAY).echo(7);
    *echo.last_mut().unwrap() ^= 1;
    wire.send(&frame([GATEWAY_MAC, SANDBOX_MAC], ethertype::IPV4, &echo))?;
    assert!(ping(&bed.sandboxes[0].netns, GATEWAY, 56)?.is_well);
    let verdicts = Verdicts::of(&answers.stop());
    assert_eq!((verdicts.icmp, verdicts.wrong.len()), (3, 1), "the right ones alone are right: {verdicts:?}");
    Ok(bed.finish(weir)?)
}
