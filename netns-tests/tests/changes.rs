//! Changes under load: targets come and go, the daemon dies and comes back, a bad file is refused.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ─┬─ sb1   nginx, echo
//!                        weir, killed    ├─ sb2   the same
//!                        and restarted   └─ sb3   the same
//! ```

use std::time::{Duration, Instant};

use weir_netns_tests::busy::Chat;
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::counters::snmp;
use weir_netns_tests::error::Tested;
use weir_netns_tests::load::{self, Load};
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::topology::{Topology, VIP, vip};
use weir_path::Reason;

const SOME: u64 = 500;
const SLOW: Duration = Duration::from_secs(60);

fn config(targets: usize) -> Config {
    Config::new(Hook::Xdp, [Service::web(1..=targets)])
}

#[test]
fn no_request_fails_while_targets_come_and_go() -> Tested {
    let mut bed = Topology { name: "scale", sandboxes: 3 }.build()?;
    bed.serve_http()?;
    let mut weir = bed.weir(&config(1))?;
    let load = Load::start(&bed.client, VIP);

    for targets in [3, 2, 1, 3] {
        weir.reconfigure(&bed, &config(targets))?;
        load.wait_for(SOME, Instant::now(), SLOW)?;
    }

    let total = load.stop()?;
    assert_eq!(total.failed(), 0, "{total:?}");
    assert!(
        ["sandbox-1", "sandbox-2", "sandbox-3"].iter().all(|name| total.served.contains_key(*name)),
        "{total:?}"
    );
    Ok(bed.finish(weir)?)
}

#[test]
fn a_connection_keeps_its_target_when_that_leaves_the_group() -> Tested {
    let mut bed = Topology { name: "constancy", sandboxes: 2 }.build()?;
    bed.serve_echo()?;
    let mut weir = bed.weir(&Config::new(Hook::Xdp, [Service::echo(1..=1)]))?;
    let mut conversation = Conversation::begin(&bed.client, vip(7))?;
    assert!(conversation.exchange(b"to sandbox 1")?);

    weir.reconfigure(&bed, &Config::new(Hook::Xdp, [Service::echo(2..=2)]))?;

    assert!(conversation.exchange(b"still to sandbox 1")?);
    assert!(Conversation::begin(&bed.client, vip(7))?.exchange(b"to sandbox 2")?);
    let accepted = |n: usize| snmp(&bed.sandboxes[n].netns, "Tcp", "PassiveOpens");
    assert_eq!((accepted(0)?, accepted(1)?), (1, 1));
    drop(conversation);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_killed_daemon_is_not_missed_and_its_successor_adopts() -> Tested {
    let mut bed = Topology { name: "kill", sandboxes: 2 }.build()?;
    bed.serve_http()?;
    bed.serve_echo()?;
    let mut weir = bed.weir(&Config::new(Hook::Xdp, [Service::web(1..=2), Service::echo(1..=2)]))?;
    let load = Load::start(&bed.client, VIP);
    let chat = Chat::begin(Conversation::begin(&bed.client, vip(7))?);
    let before = weir.counters()?;

    weir.kill()?;
    load.wait_for(SOME, Instant::now(), SLOW)?;
    chat.wait_for_more()?;
    weir.start()?;
    load.wait_for(SOME, Instant::now(), SLOW)?;
    chat.wait_for_more()?;

    chat.end()?;
    let total = load.stop()?;
    assert_eq!(total.failed(), 0, "{total:?}");
    let after = weir.counters()?;
    assert!(
        after.of(Reason::Opened) > before.of(Reason::Opened),
        "the counters live on: {before:#?} {after:#?}"
    );
    assert_eq!(after.conservation_diff(), 0, "{after:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_bad_file_leaves_the_old_configuration_in_force() -> Tested {
    let mut bed = Topology { name: "bad-reload", sandboxes: 2 }.build()?;
    bed.serve_http()?;
    let mut weir = bed.weir(&config(2))?;

    let bad = config(1).toml(&bed).replace("port = 80\n", "port = 80000\n");
    weir.write(&bad)?;
    let status = weir.reload()?;

    let tally = load::requests(&bed.client, VIP, 200)?;
    assert_eq!((tally.failed(), tally.served.len()), (0, 2), "{tally:?}");
    assert!(!status.is_empty(), "the status says that the file was refused");
    assert!(weir.log().contains("80000"), "the log shows the value: {}", weir.log());

    weir.reconfigure(&bed, &config(1))?;
    let tally = load::requests(&bed.client, VIP, 50)?;
    assert_eq!(
        (tally.failed(), tally.served.get("sandbox-1")),
        (0, Some(&50)),
        "a good file is taken again: {tally:?}"
    );
    Ok(bed.finish(weir)?)
}

#[test]
fn stopping_leaves_the_dataplane_forwarding_and_releasing_takes_it_away() -> Tested {
    let mut bed = Topology { name: "stop", sandboxes: 2 }.build()?;
    bed.serve_http()?;
    let mut weir = bed.weir(&config(2))?;

    weir.stop()?;
    let stopped = load::requests(&bed.client, VIP, 100)?;
    assert_eq!((stopped.failed(), stopped.served.len()), (0, 2), "{stopped:?}");

    weir.start()?;
    assert_eq!(load::requests(&bed.client, VIP, 100)?.failed(), 0);

    weir.release()?;
    assert_eq!(load::requests(&bed.client, VIP, 1)?.failed(), 1);
    Ok(bed.finish_without_weir()?)
}

#[test]
fn an_uplink_changes_its_hook_and_every_hook_serves() -> Tested {
    let mut bed = Topology { name: "hooks", sandboxes: 1 }.build()?;
    bed.serve_http()?;
    let mut weir = bed.weir(&config(1))?;
    let xdp = config(1).toml(&bed);

    for hook in ["xdp-generic", "xdp", "tc", "xdp-generic", "tc", "xdp"] {
        let text = xdp.replacen("hook = \"xdp\"", &format!("hook = \"{hook}\""), 1);
        weir.write(&text)?;
        let status = weir.reload()?;
        assert!(!status.contains("refused"), "{hook}: {status}\n{}", weir.log());
        assert_eq!(load::requests(&bed.client, VIP, 50)?.failed(), 0, "{hook}");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn a_second_dataplane_on_the_same_uplink_is_refused_and_leaves_nothing() -> Tested {
    let mut bed = Topology { name: "second", sandboxes: 1 }.build()?;
    bed.serve_http()?;
    let weir = bed.weir(&config(1))?;
    let own = config(1).toml(&bed);
    let other_pins = bed.pin_dir().with_file_name(format!("weir-other-{}", std::process::id()));
    let other = own
        .replace(&bed.pin_dir().display().to_string(), &other_pins.display().to_string())
        .replace("/state\"", "/second-state\"");

    let same = weir.try_command(&["run"])?;
    weir.write(&other)?;
    let second = weir.try_command(&["run"])?;
    weir.write(&own)?;

    let said = [&same, &second].map(|run| String::from_utf8_lossy(&run.stderr).into_owned());
    assert!(!same.status.success() && said[0].contains("pid"), "{}", said[0]);
    assert!(!second.status.success() && said[1].contains("XDP"), "{}", said[1]);
    assert!(!other_pins.exists(), "{} is left behind", other_pins.display());
    assert_eq!(load::requests(&bed.client, VIP, 50)?.failed(), 0);
    Ok(bed.finish(weir)?)
}
