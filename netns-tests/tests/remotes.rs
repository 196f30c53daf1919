//! A listener whose targets are servers in the VPC, which are reached from ENIs: beyond the gateway, and on the link.
//!
//! ```text
//!   client ───────── router ───────── [XDP | TC] host [TC] ───────── sb1
//!   calls the VIP,   serves on the    VIP 198.51.100.10,             calls the VIP
//!   and serves       link: .77        ENI 192.0.2.100
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{BOTH, Connector, ENI, ENI6, SERVERS, connected, outwards};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::ipv6::{CLIENT6, VIP6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::pace::socket_towards;
use weir_netns_tests::quotas::{Held, Kind, Whose, tenant};
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::tools::learnt_mtu;
use weir_netns_tests::topology::{CLIENT, ROUTER_DEVICE, Testbed, VIP, vip};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// Where the test itself serves, beyond the gateway.
const OWN: u16 = 7_300;

/// A VIP's port, and the server that it leads to.
#[derive(Clone, Copy)]
struct Remote(SocketAddr, SocketAddr);

/// Those that every test has: the echo servers beyond the gateway and on the link, by each family.
fn remotes() -> [Remote; 4] {
    [0, 1, 2, 3].map(|nth| {
        let to = SERVERS[nth];
        let address: IpAddr = if to.is_ipv4() { VIP.into() } else { VIP6.into() };
        Remote((address, 70 + nth as u16 / 2).into(), to)
    })
}

fn config(hook: Hook, remotes: &[Remote]) -> Config {
    let mut more = String::new();
    for (nth, Remote(vip, to)) in remotes.iter().enumerate() {
        more += &format!(
            "\n[[target_group]]\nname = \"remote-{nth}\"\nconnector = \"out\"\n\
             \n  [[target_group.target]]\n  name = \"server\"\n  address = \"{}\"\n  port = {}\n\
             \n[[listener]]\nname = \"remote-{nth}\"\nvpc = \"prod\"\naddress = \"{}\"\nport = {}\n\
             protocol = \"tcp_udp\"\ntarget_group = \"remote-{nth}\"\n",
            to.ip(),
            to.port(),
            vip.ip(),
            vip.port(),
        );
    }
    let outwards = outwards(hook, Connector::of(1..=1, BOTH).with("rest", 0));
    Config { more, timeouts: vec![("tcp_closing", 1), ("udp_unanswered", 1)], ..outwards }
}

fn begin(name: &'static str, hook: Hook, remotes: &[Remote]) -> Result<(Testbed, Weir), Failure> {
    let (bed, weir, _) = connected(name, 1, &config(hook, remotes))?;
    Ok((bed, weir))
}

#[test]
fn clients_outside_and_a_sandbox_reach_servers_of_the_vpc_by_an_xdp_uplink() -> Tested {
    everybody_reaches_them("remote-xdp", Hook::Xdp)
}

#[test]
fn clients_outside_and_a_sandbox_reach_servers_of_the_vpc_by_a_tc_uplink() -> Tested {
    everybody_reaches_them("remote-tc", Hook::Tc)
}

fn everybody_reaches_them(name: &'static str, hook: Hook) -> Tested {
    let (bed, weir) = begin(name, hook, &remotes())?;
    let words: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    for from in [&bed.client, &bed.sandboxes[0].netns] {
        for Remote(vip, to) in remotes() {
            let whom = format!("from {} by {vip} to {to}", from.name());
            assert!(Conversation::begin(from, vip)?.exchange(b"hello")?, "{whom}");
            assert!(Conversation::begin(from, vip)?.exchange_bulk(&words)?, "{whom}");
            assert_eq!(ask_by_udp(from, vip, b"hello")?, b"hello", "{whom}");
        }
    }

    let verdicts = Verdicts::of(&on_the_wire.stop());
    assert_eq!(verdicts.wrong, Vec::<String>::new());
    assert!(verdicts.tcp > 0 && verdicts.udp > 0, "{verdicts:?}");
    let counters = weir.counters()?;
    assert_eq!(counters.dropped(), counters.of(Reason::IcmpIgnored), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_server_sees_the_eni_and_two_ports_of_a_vip_that_lead_to_it_don_t_mix_up_one_port_of_a_client() -> Tested
{
    /// The client's one port.
    const PORT: u16 = 40_000;
    let server = SocketAddr::from((CLIENT, OWN));
    let (bed, weir) = begin("remote-two", Hook::Xdp, &[Remote(vip(81), server), Remote(vip(82), server)])?;
    let listener = bed.client.enter(move || TcpListener::bind(server))??;
    let begin = |port| Conversation::begin_from(&bed.client, PORT, SocketAddrV4::new(VIP, port));

    let mut calls = Vec::new();
    for port in [81, 82] {
        let client = begin(port)?;
        let (stream, from) = listener.accept()?;
        calls.push((client, echo(stream), from));
    }
    for (client, ..) in &mut calls {
        assert!(client.exchange(b"to whom?")?);
    }

    let seen: Vec<_> = calls.iter().map(|(.., from)| *from).collect();
    assert_eq!(seen.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [IpAddr::V4(ENI); 2]);
    assert_ne!(seen[0].port(), seen[1].port());
    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::ReplyCollision), 0, "{counters:#?}");
    assert_eq!(weir.flows()?.len(), 2);
    drop(calls);
    ends_as_closed(&weir, 2)?;
    Ok(bed.finish(weir)?)
}

/// Sends back what comes, until the other end has no more to say.
fn echo(stream: std::net::TcpStream) -> std::thread::JoinHandle<std::io::Result<u64>> {
    std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream))
}

/// Waits until so many flows have ended in order, and nothing is held any more.
fn ends_as_closed(weir: &Weir, flows: u64) -> Tested {
    let state = || -> Result<_, Error> {
        Ok((weir.counters()?.ended("closed"), Held::by_tenant(weir, "acme")?.is_nothing()))
    };
    let ended = || Ok((state()? == (flows, true)).then_some(()));
    Ok(until("the flows to end", PATIENCE, || format!("{:?}", state()), ended)?)
}

#[test]
fn a_server_sees_the_eni_whoever_calls_and_hears_of_an_error_about_its_answer() -> Tested {
    let servers = [SocketAddr::from((CLIENT, OWN)), SocketAddr::from((CLIENT6, OWN))];
    let vips: [SocketAddr; 2] = [vip(81), (VIP6, 81).into()];
    let (bed, weir) = begin("remote-icmp", Hook::Xdp, &[0, 1].map(|it| Remote(vips[it], servers[it])))?;

    for ((vip, server), eni) in vips.into_iter().zip(servers).zip([IpAddr::V4(ENI), ENI6.into()]) {
        let socket = bed.client.enter(move || UdpSocket::bind(server))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        let call = |from: &Netns| -> Result<(UdpSocket, SocketAddr), Failure> {
            let caller = socket_towards(from, vip)?;
            caller.set_read_timeout(Some(PATIENCE))?;
            caller.send(b"who am I?")?;
            let (_, seen) = socket.recv_from(&mut [0; 16])?;
            assert_eq!(seen.ip(), eni, "of {}", from.name());
            Ok((caller, seen))
        };
        let (sandbox, seen) = call(&bed.sandboxes[0].netns)?;
        socket.send_to(b"you", seen)?;
        assert_eq!(sandbox.recv(&mut [0; 16])?, 3);

        // Nobody hears the answer: the client's kernel says so to the VIP.
        let (caller, seen) = call(&bed.client)?;
        drop(caller);
        socket.connect(seen)?;
        socket.send(b"you")?;
        let heard = socket.recv(&mut [0; 8]).map_err(|error| error.kind());
        assert_eq!(heard, Err(ErrorKind::ConnectionRefused), "{server}");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn a_server_learns_of_a_narrow_way_to_the_client_behind_the_vip() -> Tested {
    const NARROW: u32 = 1_300;
    let remotes = remotes();
    let (bed, weir) = begin("remote-mtu", Hook::Xdp, &remotes)?;
    let words: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let narrow =
        |netns: &Netns, device| netns.ip(&["link", "set", device, "mtu", &NARROW.to_string()]).map(drop);

    // On the link: what it sends to the ENI comes back to the router on its way to the client.
    let mut talks = [&remotes[2], &remotes[3]]
        .map(|Remote(vip, _)| Conversation::begin(&bed.client, *vip))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    narrow(&bed.router, "rc0")?;
    narrow(&bed.client, "c0")?;

    for talk in &mut talks {
        assert!(talk.exchange_bulk(&words)?);
    }
    for eni in [IpAddr::V4(ENI), ENI6.into()] {
        assert_eq!(learnt_mtu(&bed.router, eni)?, Some(NARROW), "to {eni}");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn what_clients_open_counts_for_the_tenant_and_ends_when_nobody_answers() -> Tested {
    const MOST: u32 = 5;
    let server = SocketAddr::from((CLIENT, OWN));
    let mut config = config(Hook::Xdp, &[Remote(vip(81), server)]);
    config.more += &tenant("acme", &[(Whose::Tenant, Kind::Ports, MOST)]);
    config.timeouts = vec![("udp_unanswered", 3)];
    let (bed, weir, _) = connected("remote-quota", 1, &config)?;
    let silent = bed.client.enter(move || UdpSocket::bind((CLIENT, OWN)))??;
    let ask = || -> Result<UdpSocket, Failure> {
        let socket = socket_towards(&bed.client, vip(81))?;
        socket.send(b"anybody?")?;
        Ok(socket)
    };
    let held = || Held::by_tenant(&weir, "acme");
    let held_is = |is_it: fn(&Held) -> bool| {
        until(
            "the tenant's account",
            PATIENCE,
            || format!("{:?}", held()),
            || Ok(is_it(&held()?).then_some(())),
        )
    };

    let asked = (0..MOST).map(|_| ask()).collect::<Result<Vec<_>, _>>()?;
    held_is(|it| it.ports == u64::from(MOST) && it.flows == u64::from(MOST) && it.refused_at_all() == 0)?;
    let _refused = ask()?;
    held_is(|it| it.ports == u64::from(MOST) && it.refused(Kind::Ports) == 1)?;
    assert_eq!(weir.counters()?.of(Reason::QuotaReached), 1);

    held_is(Held::is_nothing)?;
    assert_eq!(weir.counters()?.ended("unanswered"), u64::from(MOST));
    let _again = ask()?;
    held_is(|it| it.ports == 1)?;
    drop((asked, silent));
    Ok(bed.finish(weir)?)
}
