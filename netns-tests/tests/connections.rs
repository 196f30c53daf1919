//! Connections through the VIP into a sandbox and back, with an uplink on XDP and one on TC.
//!
//! ```text
//!   client ── router ── [XDP | TC] host [TC] ─┬─ sb1   nginx :8080, echo :7007 (TCP, UDP)
//!                                             └─ sb2   the same
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::counters::{snmp, xdp_mode};
use weir_netns_tests::error::Tested;
use weir_netns_tests::load;
use weir_netns_tests::process::output;
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::topology::{CLIENT, Testbed, Topology, UPLINK, VIP, vip};
use weir_path::Reason;

const REQUESTS: u32 = 200;

#[test]
fn requests_through_an_xdp_uplink_are_served_by_every_sandbox() -> Tested {
    requests_are_served("http-xdp", Hook::Xdp, "native")
}

#[test]
fn requests_through_a_tc_uplink_are_served_by_every_sandbox() -> Tested {
    requests_are_served("http-tc", Hook::Tc, "none")
}

fn requests_are_served(name: &'static str, hook: Hook, mode: &str) -> Tested {
    let mut bed = Topology { name, sandboxes: 2 }.build()?;
    bed.serve_http()?;
    let weir = bed.weir(&Config::new(hook, [Service::web(1..=2)]))?;
    assert_eq!(xdp_mode(&bed.host, UPLINK)?, mode);

    let tally = load::requests(&bed.client, VIP, REQUESTS)?;

    let served: BTreeSet<_> = tally.served.keys().map(String::as_str).collect();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert_eq!(served, BTreeSet::from(["sandbox-1", "sandbox-2"]));
    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::Opened), u64::from(REQUESTS), "{counters:#?}");
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn udp_through_an_xdp_uplink_is_answered_from_the_vip() -> Tested {
    udp_is_answered("udp-xdp", Hook::Xdp)
}

#[test]
fn udp_through_a_tc_uplink_is_answered_from_the_vip() -> Tested {
    udp_is_answered("udp-tc", Hook::Tc)
}

fn udp_is_answered(name: &'static str, hook: Hook) -> Tested {
    let mut bed = Topology { name, sandboxes: 2 }.build()?;
    bed.serve_echo()?;
    let weir = bed.weir(&Config::new(hook, [Service::echo_udp(1..=2)]))?;

    for len in [1, 2, 3, 64, 1400] {
        let words = vec![len as u8; len];
        assert_eq!(ask_by_udp(&bed.client, vip(7), &words)?, words);
    }

    assert_eq!(weir.counters()?.of(Reason::Opened), 5);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_large_download_through_an_xdp_uplink_arrives_unchanged() -> Tested {
    download_arrives("bulk-xdp", Hook::Xdp)
}

#[test]
fn a_large_download_through_a_tc_uplink_arrives_unchanged() -> Tested {
    download_arrives("bulk-tc", Hook::Tc)
}

fn download_arrives(name: &'static str, hook: Hook) -> Tested {
    let mut bed = Topology { name, sandboxes: 1 }.build()?;
    // Fifty megabytes that nothing can have by chance.
    let [served, received] = ["files/random", "received"].map(|file| bed.dir().join(file));
    fs::create_dir(bed.dir().join("files"))?;
    std::io::copy(&mut File::open("/dev/urandom")?.take(50 << 20), &mut File::create(&served)?)?;
    bed.serve_http()?;
    let weir = bed.weir(&Config::new(hook, [Service::web(1..=1)]))?;

    let url = format!("http://{VIP}/files/random");
    output(bed.client.command("curl").args(["-sS", "--max-time", "60", &url, "-o"]).arg(&received))?;

    assert!(fs::read(served)? == fs::read(received)?, "what arrived is not what was sent");
    assert_no_checksum_errors(&bed)?;
    Ok(bed.finish(weir)?)
}

#[test]
fn megabytes_both_ways_at_once_through_an_xdp_uplink_arrive_unchanged() -> Tested {
    echo_arrives("both-xdp", Hook::Xdp)
}

#[test]
fn megabytes_both_ways_at_once_through_a_tc_uplink_arrive_unchanged() -> Tested {
    echo_arrives("both-tc", Hook::Tc)
}

fn echo_arrives(name: &'static str, hook: Hook) -> Tested {
    let mut bed = Topology { name, sandboxes: 1 }.build()?;
    bed.serve_echo()?;
    let weir = bed.weir(&Config::new(hook, [Service::echo(1..=1)]))?;
    let mut words = vec![0; 8 << 20];
    File::open("/dev/urandom")?.read_exact(&mut words)?;

    assert!(Conversation::begin(&bed.client, vip(7))?.exchange_bulk(&words)?);

    assert_no_checksum_errors(&bed)?;
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_sees_the_clients_own_address_and_port() -> Tested {
    let mut bed = Topology { name: "client-addr", sandboxes: 1 }.build()?;
    bed.serve_echo()?;
    let weir = bed.weir(&Config::new(Hook::Xdp, [Service::echo(1..=1)]))?;

    let mut conversation = Conversation::begin(&bed.client, vip(7))?;
    assert!(conversation.exchange(b"hello")?);
    let here = conversation.local_address()?;

    let mut command = bed.sandboxes[0].netns.command("ss");
    let connections = output(command.args(["-Htn", "state", "established"]))?;
    assert!(connections.contains(&here.to_string()) && here.ip() == CLIENT, "{here}: {connections}");
    drop(conversation);
    Ok(bed.finish(weir)?)
}

fn assert_no_checksum_errors(bed: &Testbed) -> Tested {
    let sandboxes = bed.sandboxes.iter().map(|sandbox| &sandbox.netns);
    for netns in sandboxes.chain([&bed.client]) {
        assert_eq!(snmp(netns, "Tcp", "InCsumErrors")?, 0, "in {}", netns.name());
    }
    Ok(())
}
