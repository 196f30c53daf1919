//! The ground the other tests stand on, without a daemon.
//!
//! ```text
//!   client ── router ── host ── sb1, sb2
//! ```
use std::process::Command;

use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::counters;
use weir_netns_tests::error::{Error, Tested};
use weir_netns_tests::load;
use weir_netns_tests::plain::PlainRoute;
use weir_netns_tests::process::Process;
use weir_netns_tests::servers::{HTTP_PORT, nginx};
use weir_netns_tests::topology::{ROUTER_DEVICE, SANDBOX, Topology, UPLINK};

#[test]
fn the_kernel_alone_forwards_to_a_sandbox_when_it_is_told_to() -> Tested {
    let mut bed = Topology { name: "plain", sandboxes: 2 }.build()?;
    let server = nginx(&bed.sandboxes[1].netns, &bed.sandboxes[1].name, bed.dir())?;
    bed.keep(server);
    let before = counters::received(&bed.host, UPLINK)?;
    let capture = Capture::start(&bed.router, ROUTER_DEVICE)?;

    let route = PlainRoute::begin(&bed, &bed.sandboxes[1])?;
    let tally = load::requests(&bed.client, format!("{SANDBOX}:{HTTP_PORT}"), 50)?;
    route.end()?;

    assert_eq!((tally.failed(), tally.served.get("sandbox-2")), (0, Some(&50)), "{tally:?}");
    assert!(
        counters::received(&bed.host, UPLINK)? >= before + 50 * 5,
        "each connection is at least five packets"
    );
    assert_eq!(counters::snmp(&bed.client, "Tcp", "ActiveOpens")?, 50);
    let verdicts = Verdicts::of(&capture.stop());
    assert!(verdicts.wrong.is_empty() && verdicts.tcp >= 50 * 4, "{verdicts:?}");
    Ok(bed.finish_without_weir()?)
}

#[test]
fn all_sandboxes_look_the_same_from_inside() -> Tested {
    let bed = Topology { name: "same", sandboxes: 3 }.build()?;
    let insides = bed.sandboxes.iter().map(|sandbox| {
        let link = sandbox.netns.link("eth0")?;
        let seen = ["ifname", "address", "mtu"].map(|field| link[field].to_string());
        Ok((seen, sandbox.netns.ip(&["-br", "addr", "show", "lo"])?, sandbox.netns.ip(&["route"])?))
    });
    let insides = insides.collect::<Result<Vec<_>, Error>>()?;

    assert!(insides.iter().all(|inside| *inside == insides[0]), "{insides:#?}");
    Ok(bed.finish_without_weir()?)
}

#[test]
fn a_process_that_outlives_its_testbed_is_named() -> Tested {
    let bed = Topology { name: "outlive", sandboxes: 0 }.build()?;
    let mut command: Command = bed.host.command("sleep");
    let process = Process::start("a sleeper", command.arg("60"), &bed.dir().join("log"))?;

    let Err(Error::LeftBehind(left)) = bed.finish_without_weir() else {
        panic!("the sleeper was not noticed")
    };

    assert_eq!(left, [format!("process {} in weir-outlive-host", process.pid())]);
    Ok(())
}
