//! Whoever else uses the uplink's device: the host itself, what it forwards, its own rules, programs of others.
//!
//! ```text
//!   client ─────── router ─────── hu0 [XDP | TC] host ─┬─ [TC] sb1   a target: nginx
//!   10.0.1.2                      192.0.2.2            └─ sb2        none: 10.9.9.2, fd09::2, which goes out
//!   2001:db8:1::2                 2001:db8:2::2                      by the host's masquerade
//!                                 nftables: counts, drops, masquerades
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::ipv6::{self, CLIENT6, HOST6, VIP6};
use weir_netns_tests::load;
use weir_netns_tests::process::output;
use weir_netns_tests::servers::Echo;
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{CLIENT, HOST, ROUTER_DEVICE, Testbed, UPLINK, VIP};
use weir_netns_tests::weir::Weir;

const HOSTS: [IpAddr; 2] = [IpAddr::V4(HOST), IpAddr::V6(HOST6)];
const CLIENTS: [IpAddr; 2] = [IpAddr::V4(CLIENT), IpAddr::V6(CLIENT6)];

/// Where the host listens, and which of its ports its rules close.
const OPEN: u16 = 22;
const CLOSED: u16 = 23;
/// Where the client listens.
const AT_CLIENT: u16 = 7007;

const RULES: &str = "table inet own {
  counter opened { }
  chain in {
    type filter hook input priority 0;
    tcp dport 22 tcp flags & (syn | ack) == syn counter name opened
    tcp dport 23 drop
  }
  chain out {
    type nat hook postrouting priority 100;
    ip saddr 10.9.9.0/24 oifname hu0 masquerade
    ip6 saddr fd09::/64 oifname hu0 masquerade
  }
}";

fn services() -> [Service; 2] {
    [Service::web(1..=1), Service::web(1..=1).on_ipv6("web6")]
}

/// A testbed whose host has rules and a second user, and whose client listens.
fn shared(name: &'static str) -> Result<Testbed, Failure> {
    let mut bed = ipv6::dual(name, 2)?;
    bed.serve_http()?;
    let rules = bed.dir().join("rules.nft");
    std::fs::write(&rules, RULES)?;
    output(bed.host.command("nft").arg("-f").arg(&rules))?;
    let (other, port) = (&bed.sandboxes[1].netns, bed.sandboxes[1].port.as_str());
    bed.host.allow_ipv6(&[port])?;
    for (gateway, own) in [("10.9.9.1", "10.9.9.2/24"), ("fd09::1", "fd09::2/64")] {
        bed.host.ip(&["addr", "add", &own.replacen("2/", "1/", 1), "dev", port])?;
        other.ip(&["addr", "add", own, "dev", "eth0"])?;
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        other.ip(&[family, "route", "replace", "default", "via", gateway])?;
    }
    let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let servers = [
        Echo::tcp_at(&bed.host, any(OPEN))?,
        Echo::tcp_at(&bed.host, any(CLOSED))?,
        Echo::tcp_at(&bed.client, any(AT_CLIENT))?,
    ];
    servers.into_iter().for_each(|server| bed.keep(server));
    Ok(bed)
}

/// How many connections the host's own rule has seen.
fn counted(bed: &Testbed) -> Result<u64, Error> {
    let listed = output(bed.host.command("nft").args(["list", "counter", "inet", "own", "opened"]))?;
    let mut words = listed.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|packets| packets.parse().ok()).ok_or_else(|| Error::Output {
        command: "nft list counter inet own opened".into(),
        why: "no count of packets".into(),
        output: listed.clone(),
    })
}

#[test]
fn the_hosts_rules_and_traffic_are_as_ever_beside_an_xdp_uplink() -> Tested {
    host_is_as_ever("beside-xdp", Hook::Xdp)
}

#[test]
fn the_hosts_rules_and_traffic_are_as_ever_beside_a_tc_uplink() -> Tested {
    host_is_as_ever("beside-tc", Hook::Tc)
}

fn host_is_as_ever(name: &'static str, hook: Hook) -> Tested {
    let bed = shared(name)?;
    let weir = bed.weir(&Config::new(hook, services()))?;

    for (host, client) in HOSTS.into_iter().zip(CLIENTS) {
        assert!(Conversation::begin(&bed.client, SocketAddr::new(host, OPEN))?.exchange(b"hello")?);
        let closed = SocketAddr::new(host, CLOSED);
        let tried =
            bed.client.enter(move || TcpStream::connect_timeout(&closed, Duration::from_millis(500)))?;
        assert_eq!(tried.err().map(|error| error.kind()), Some(ErrorKind::TimedOut), "dropped by the host");
        assert!(ping(&bed.client, host, 56)?.is_well);

        let other = &bed.sandboxes[1].netns;
        let mut out = Conversation::begin(other, SocketAddr::new(client, AT_CLIENT))?;
        assert!(out.exchange(b"hello")?);
        let seen = output(bed.client.command("ss").args(["-Htn", "state", "established"]))?;
        assert!(seen.contains(&host.to_string()), "masqueraded as the host: {seen}");
        assert!(ping(other, client, 56)?.is_well);
    }
    assert_eq!(counted(&bed)?, 2, "one connection of each family");
    for vip in [VIP.to_string(), format!("[{VIP6}]")] {
        assert_eq!(load::requests(&bed.client, vip, 20)?.failed(), 0);
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn another_program_on_tc_is_named_and_sees_what_is_passed() -> Tested {
    let mut bed = ipv6::dual("two", 2)?;
    bed.serve_http()?;
    // The other one is Weir again, which knows nothing of the first: its VIPs are other ones.
    bed.router.ip(&["route", "add", "203.0.113.0/24", "dev", ROUTER_DEVICE])?;
    let config = Config::new(Hook::Tc, [Service::web(1..=1)]);
    let other = Config::new(Hook::Tc, [Service { address: "203.0.113.10".parse()?, ..Service::web(2..=2) }]);
    let first = bed.weir(&config)?;
    let second = Weir::beside(&bed, "other", &other)?;

    let tally = load::requests(&bed.client, VIP, 20)?;
    assert_eq!((tally.failed(), tally.served.get("sandbox-1")), (0, Some(&20)), "{tally:?}");
    let tally = load::requests(&bed.client, "203.0.113.10", 20)?;
    assert_eq!((tally.failed(), tally.served.get("sandbox-2")), (0, Some(&20)), "{tally:?}");

    assert!(second.log().contains("uplink_tc"), "{}", second.log());
    let shown = first.try_command(&["get", "interfaces"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("uplink_tc"), "{shown}");
    second.release()?;
    assert_eq!(load::requests(&bed.client, VIP, 20)?.failed(), 0);
    Ok(bed.finish(first)?)
}

#[test]
fn an_xdp_program_of_another_is_named_and_left_where_it_is() -> Tested {
    let mut bed = ipv6::dual("taken", 2)?;
    bed.serve_http()?;
    let first = bed.weir(&Config::new(Hook::Xdp, [Service::web(1..=1)]))?;
    let other = Config::new(Hook::Xdp, [Service { address: "203.0.113.10".parse()?, ..Service::web(2..=2) }]);

    let refused = match Weir::beside(&bed, "other", &other) {
        Ok(_) => panic!("two XDP programs on one device"),
        Err(error) => error.to_string(),
    };

    assert!(refused.contains(UPLINK) && refused.contains("uplink_xdp (id "), "{refused}");
    assert_eq!(load::requests(&bed.client, VIP, 20)?.failed(), 0);
    Ok(bed.finish(first)?)
}
