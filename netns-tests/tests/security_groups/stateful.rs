//! Rules are about who begins: what answers a flow that was allowed, and errors about it, are never asked.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::connectors::{BOTH, Connector, SERVERS, active, connected, outwards};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::ipv6::{self, CLIENT6, vip6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::security::{Far, Rule, beside, blocked, group};
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::talk::{ask_by_udp, refusal_by_tcp, refusal_by_udp};
use weir_netns_tests::tools::{learnt_mtu, tracepath, traceroute};
use weir_netns_tests::topology::{CLIENT, GATEWAY, ROUTER, Testbed, vip};
use weir_netns_tests::waiting::PATIENCE;

use crate::Attempt::{Ping, Tcp, Udp};

/// The narrow part of the way, between the router and the client.
const NARROW: u32 = 1400;

#[test]
fn answers_and_errors_come_back_to_a_sandbox_that_nobody_may_call() -> Tested {
    let more = group("quiet", &Rule::everything(), &[]);
    let quiet = Connector::of(1..=1, BOTH).with("security_groups", "[\"quiet\"]");
    let (bed, weir, _) = connected("sg-quiet", 1, &Config { more, ..outwards(Hook::Xdp, quiet) })?;
    let sandbox = &bed.sandboxes[0].netns;
    sandbox.set_offload("eth0", "tx", false)?;

    for to in SERVERS {
        Tcp(to).must_work(sandbox)?;
        Udp(to).must_work(sandbox)?;
        Ping(to.ip()).must_work(sandbox)?;
    }
    for address in [IpAddr::V4(CLIENT), CLIENT6.into()] {
        let closed = SocketAddr::new(address, 9);
        assert_eq!(refusal_by_tcp(sandbox, closed)?, Some(ErrorKind::ConnectionRefused));
        assert_eq!(refusal_by_udp(sandbox, closed)?, Some(ErrorKind::ConnectionRefused));
    }
    let hops = [GATEWAY, ROUTER, CLIENT].map(|it| it.to_string());
    assert_eq!(traceroute(sandbox, &[], CLIENT)?, hops);
    bed.router.ip(&["link", "set", "rc0", "mtu", &NARROW.to_string()])?;
    for (index, address) in [IpAddr::V4(CLIENT), CLIENT6.into()].into_iter().enumerate() {
        let words = vec![b'x'; 1500 - [28, 48][index]];
        // The first one is too long for the router, which says so.
        let _: Result<Vec<u8>, _> = ask_by_udp(sandbox, (address, ECHO_PORT).into(), &words);
        assert_eq!(learnt_mtu(sandbox, address)?, Some(NARROW), "{}", tracepath(sandbox, address)?.1);
    }

    assert_eq!(blocked(&weir)?["quiet"], [0, 0]);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_that_may_call_nobody_answers_those_who_call_it() -> Tested {
    let (mut bed, weir) = serving("sg-mute", |bed| lets_in(bed, &Rule::everything(), false))?;
    ipv6::serve_echo(&mut bed)?;
    bed.sandboxes[1].netns.set_offload("eth0", "tx", false)?;

    for to in [vip(7), vip6(7)] {
        for caller in [&bed.client, &bed.sandboxes[0].netns] {
            Tcp(to).must_work(caller)?;
            Udp(to).must_work(caller)?;
        }
    }
    Tcp(SERVERS[0]).must_be_blocked(&bed.sandboxes[1].netns)?;

    assert_eq!(blocked(&weir)?["served"], [1, 0]);
    Ok(bed.finish(weir)?)
}

#[test]
fn who_was_let_in_stays_when_the_rule_goes() -> Tested {
    let (bed, mut weir) = serving("sg-stays", |bed| lets_in(bed, &Rule::everything(), false))?;
    let mut talks = callers_talk(&bed)?;

    weir.reconfigure(&bed, &lets_in(&bed, &[], false))?;

    for talk in &mut talks {
        talk.goes_on()?;
    }
    assert_eq!(weir.counters()?.ended("blocked"), 0);
    Ok(bed.finish(weir)?)
}

#[test]
fn who_was_let_in_is_reset_when_the_rule_goes_and_flows_are_judged_again() -> Tested {
    let (bed, mut weir) = serving("sg-goes", |bed| lets_in(bed, &Rule::everything(), true))?;
    let mut talks = callers_talk(&bed)?;

    // Those outside may go on, by IPv4.
    let outside = Rule::of("tcp", Far::Cidr("10.0.1.0/24")).ports(ECHO_PORT);
    weir.reconfigure(&bed, &lets_in(&bed, &[outside], true))?;

    assert_eq!(weir.counters()?.ended("blocked"), 3);
    let (stays, goes) = talks.split_at_mut(1);
    for talk in goes {
        talk.caller.write_all(b"still there?")?;
        let heard = talk.caller.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(ErrorKind::ConnectionReset), "{:?}", talk.caller);
    }
    stays[0].goes_on()?;
    Ok(bed.finish(weir)?)
}

/// The first sandbox may call everybody, the second one serves and lets in whom the rules say.
fn lets_in(bed: &Testbed, inbound: &[Rule], rejudge: bool) -> Config {
    let both = Service { protocol: Protocol::TcpUdp, ..Service::echo(2..=2) };
    let serving = beside(bed, ["acme", "serving"], 2..=2, &["served"]);
    let more = [
        serving.replacen("subnets", &format!("rejudge = {rejudge}\nsubnets"), 1),
        group("served", &[], inbound),
    ];
    Config {
        services: vec![both.clone(), both.on_ipv6("echo6")],
        more: more.concat(),
        ..outwards(Hook::Xdp, Connector::of(1..=1, BOTH))
    }
}

/// A testbed of two sandboxes with a configuration that names them.
fn serving(
    name: &'static str,
    config: impl Fn(&Testbed) -> Config,
) -> Result<(Testbed, weir_netns_tests::weir::Weir), Failure> {
    let (bed, mut weir, _) = connected(name, 2, &outwards(Hook::Xdp, Connector::of(1..=1, BOTH)))?;
    weir.reconfigure(&bed, &config(&bed))?;
    active(&weir)?;
    Ok((bed, weir))
}

/// A connection to the serving sandbox, both ends.
struct Talk {
    caller: TcpStream,
    server: TcpStream,
}

impl Talk {
    /// A word arrives.
    fn goes_on(&mut self) -> Tested {
        let mut word = [0; 4];
        self.caller.write_all(b"here")?;
        self.server.read_exact(&mut word)?;
        assert_eq!(&word, b"here");
        Ok(())
    }
}

/// The client and the first sandbox call the second, by both families; the client by IPv4 first.
fn callers_talk(bed: &Testbed) -> Result<Vec<Talk>, Failure> {
    let [caller, server] = [0, 1].map(|it| &bed.sandboxes[it].netns);
    let listener = server.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, ECHO_PORT)))??;
    let call = |from: &Netns, to: SocketAddr| {
        let caller = from.enter(move || TcpStream::connect_timeout(&to, PATIENCE))??;
        let (server, _) = listener.accept()?;
        [&caller, &server].iter().try_for_each(|end| end.set_read_timeout(Some(PATIENCE)))?;
        let mut talk = Talk { caller, server };
        talk.goes_on()?;
        Ok(talk)
    };
    [(&bed.client, vip(7)), (&bed.client, vip6(7)), (caller, vip(7)), (caller, vip6(7))]
        .into_iter()
        .map(|(from, to)| call(from, to))
        .collect()
}
