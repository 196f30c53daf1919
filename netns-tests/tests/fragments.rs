//! Datagrams that are longer than the wire allows, both ways, and both protocols on one port.
//!
//! ```text
//!   client ─────── router ─────── [XDP | TC] host [TC] ─┬─ sb1   echo :7007, dnsmasq :53
//!   dig             tx off         VIP 198.51.100.10    └─ sb2   the same
//! ```

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::counters::{snmp, snmp6};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::ipv6::{self, VIP6};
use weir_netns_tests::process::{Process, output};
use weir_netns_tests::talk::ask_by_udp;
use weir_netns_tests::topology::{Sandbox, Testbed, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_path::Reason;

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

/// What is asked for: sixteen strings, of together some 3,400 bytes.
const NAME: &str = "large.example";
const STRINGS: usize = 16;

fn both(service: Service, name6: &'static str) -> [Service; 2] {
    [service.clone(), service.on_ipv6(name6)]
}

fn dns() -> [Service; 2] {
    both(Service { protocol: Protocol::TcpUdp, ..Service::tcp("dns", 53, 53, 1..=2) }, "dns6")
}

/// A name server in each sandbox that knows one name.
fn serve_dns(bed: &mut Testbed) -> Result<(), Failure> {
    let servers =
        bed.sandboxes.iter().map(|sandbox| dnsmasq(sandbox, bed.dir())).collect::<Result<Vec<_>, _>>()?;
    servers.into_iter().for_each(|server| bed.keep(server));
    Ok(())
}

fn dnsmasq(sandbox: &Sandbox, dir: &Path) -> Result<Process, Error> {
    let mut command = sandbox.netns.command("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"]);
    command.args(["--no-resolv", "--no-hosts", "--edns-packet-max=4096"]);
    for n in 0..STRINGS {
        command.arg(format!("--txt-record={NAME},{}", char::from(b'a' + n as u8).to_string().repeat(200)));
    }
    let log = dir.join(format!("dnsmasq-{}.log", sandbox.name));
    let mut process = Process::start(format!("dnsmasq of {}", sandbox.name), &mut command, &log)?;
    until("dnsmasq listening", PATIENCE, String::new, || {
        process.must_run()?;
        let listening = output(sandbox.netns.command("ss").args(["-Hln", "sport", "=", ":53"]))?;
        Ok(["udp", "tcp"].iter().all(|protocol| listening.contains(protocol)).then_some(()))
    })?;
    Ok(process)
}

/// Asks a VIP for the name, and says how many of its strings came, and with which header flags.
fn dig(bed: &Testbed, vip: IpAddr, how: &[&str]) -> Result<(usize, String), Failure> {
    let mut command = bed.client.command("dig");
    command.args([&format!("@{vip}"), NAME, "TXT", "+tries=1", "+time=5", "+bufsize=4096", "+ignore"]);
    let said = output(command.args(how))?;
    Ok((said.lines().filter(|line| line.starts_with(NAME)).count(), said))
}

#[test]
fn a_long_answer_of_dns_comes_in_fragments_by_an_xdp_uplink() -> Tested {
    long_answer_comes("dns-xdp", Hook::Xdp)
}

#[test]
fn a_long_answer_of_dns_comes_in_fragments_by_a_tc_uplink() -> Tested {
    long_answer_comes("dns-tc", Hook::Tc)
}

fn long_answer_comes(name: &'static str, hook: Hook) -> Tested {
    let mut bed = ipv6::dual(name, 2)?;
    serve_dns(&mut bed)?;
    let weir = bed.weir(&Config::new(hook, dns()))?;

    // Several, so that both sandboxes answer: each counts its identifications for itself.
    for vip in VIPS {
        for _ in 0..10 {
            let (strings, said) = dig(&bed, vip, &["+notcp"])?;
            assert_eq!(strings, STRINGS, "from {vip}: {said}");
        }
    }
    let put_together = (snmp(&bed.client, "Ip", "ReasmOKs")?, snmp6(&bed.client, "Ip6ReasmOKs")?);
    assert_eq!(put_together, (10, 10));
    Ok(bed.finish(weir)?)
}

#[test]
fn one_listener_is_asked_by_udp_and_by_tcp() -> Tested {
    let mut bed = ipv6::dual("dns-both", 2)?;
    serve_dns(&mut bed)?;
    let weir = bed.weir(&Config::new(Hook::Xdp, dns()))?;

    for vip in VIPS {
        for how in ["+notcp", "+tcp"] {
            let (strings, said) = dig(&bed, vip, &[how])?;
            assert_eq!(strings, STRINGS, "{how} from {vip}: {said}");
        }
    }
    let flows = weir.flows()?;
    for protocol in ["tcp", "udp"] {
        assert_eq!(flows.iter().filter(|flow| flow.protocol == protocol).count(), 2, "{flows:#?}");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn datagrams_of_several_fragments_are_echoed_by_an_xdp_uplink() -> Tested {
    fragments_are_echoed("frag-xdp", Hook::Xdp)
}

#[test]
fn datagrams_of_several_fragments_are_echoed_by_a_tc_uplink() -> Tested {
    fragments_are_echoed("frag-tc", Hook::Tc)
}

fn fragments_are_echoed(name: &'static str, hook: Hook) -> Tested {
    let mut bed = ipv6::dual(name, 2)?;
    ipv6::serve_echo(&mut bed)?;
    let weir = bed.weir(&Config::new(hook, both(Service::echo_udp(1..=2), "echo-udp6")))?;

    for vip in VIPS {
        for len in [4_000, 1_473, 9_000, 60_000] {
            let words: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            assert_eq!(ask_by_udp(&bed.client, SocketAddr::new(vip, 7), &words)?, words, "{len} to {vip}");
        }
    }
    let counters = weir.counters()?;
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    assert_eq!(counters.of(Reason::FragmentAhead), 0, "{counters:#?}");
    Ok(bed.finish(weir)?)
}
