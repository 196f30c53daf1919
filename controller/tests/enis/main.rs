//! The pool of ENIs on a real link: what is made, what neighbours and devices are told, what survives, and what is left.
//! Takes root and a bpffs.
//!
//! ```text
//!   weir-h-…  (the daemon)                        weir-n-…  (a router)
//!     up0, no address ◄──── veth, tx off ────► up1  10.0.1.1/24, fd00:1::1/64
//!     tap0, tap1: the slots
//! ```
#![expect(clippy::unwrap_used, reason = "test code")]

mod bed;
#[path = "../daemon/mod.rs"]
mod daemon;
mod flow;
#[path = "../net/mod.rs"]
mod net;

use bed::{Bed, ENI_MAC, GROUP, connector, field, slot};
use flow::towards_one_remote;
use net::{ip, run};
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;
use std::time::Duration;
use weir_dataplane::Tables;
use weir_path::flow::V4;

#[test]
fn an_eni_is_announced_and_let_in_and_leaves_nothing_when_nobody_needs_it_any_more() {
    let bed = Bed::new();
    let connector = connector("web-fn", "acme", "mac = \"own\"\n");
    bed.write(&(connector.clone() + &slot("tap0", "web-fn")));
    let mut daemon = bed.run();
    daemon.wait_for("up0 has no link-local IPv6 address");
    let shown = bed.json("enis");
    let (address, mac) = (field(&shown, "addresses"), field(&shown, "mac"));
    assert!(address.starts_with("10.0.1.") && mac.starts_with(ENI_MAC), "{shown}");
    bed.eventually("the router knows the ENI", || {
        bed.neighbours().contains(&format!("{address} lladdr {mac}"))
    });
    let let_in = bed.filters();
    assert!(let_in.contains(&mac) && let_in.contains(GROUP), "{let_in}");

    bed.write(&connector);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("ENI released");
    bed.eventually("nothing is left", || {
        let left = bed.filters();
        bed.json("enis") == "[]" && !left.contains(ENI_MAC) && !left.contains(GROUP)
    });
    assert!(!bed.json("interfaces").contains("eni-"));
    daemon.stop();
}

#[test]
fn a_daemon_that_was_killed_takes_up_the_same_enis() {
    let bed = Bed::new();
    bed.write(&[connector("web-fn", "acme", "mac = \"own\"\n"), slot("tap0", "web-fn")].concat());
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    let (before, interfaces) = (bed.json("enis"), bed.json("interfaces"));
    // By SIGKILL.
    drop(daemon);
    assert_eq!(bed.json("enis"), before, "it is shown beside a dead daemon");
    let daemon = bed.run();
    assert_eq!((bed.json("enis"), bed.json("interfaces")), (before, interfaces));
    daemon.stop();
}

#[test]
fn what_is_in_the_tables_and_in_no_file_goes_on_where_a_slot_tells_whose_it_is() {
    let bed = Bed::new();
    bed.write(&[connector("web-fn", "acme", "mac = \"own\"\n"), slot("tap0", "web-fn")].concat());
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    let (address, mac) = (field(&bed.json("enis"), "addresses"), field(&bed.json("enis"), "mac"));
    // By SIGKILL.
    drop(daemon);
    fs::remove_file(bed.state_dir().join("enis.json")).unwrap();
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    let enis = bed.json("enis");
    assert_eq!((field(&enis, "addresses"), field(&enis, "mac")), (address, mac));
    assert_eq!(bed.json("interfaces").matches("\"name\": \"eni").count(), 1);
    assert_eq!(bed.filters().matches(ENI_MAC).count(), 1);
    daemon.stop();
}

#[test]
fn what_is_in_the_tables_and_in_no_file_and_of_no_slot_is_taken_away() {
    let bed = Bed::new();
    let connector = connector("web-fn", "acme", "mac = \"own\"\n");
    bed.write(&[connector.clone(), slot("tap0", "web-fn")].concat());
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    // By SIGKILL.
    drop(daemon);
    fs::remove_file(bed.state_dir().join("enis.json")).unwrap();
    bed.write(&connector);
    let daemon = bed.run();
    bed.eventually("nothing is left", || {
        !bed.json("interfaces").contains("eni-") && !bed.filters().contains(ENI_MAC)
    });
    daemon.stop();
}

#[test]
fn an_eni_that_no_file_remembers_goes_on_with_its_flows() {
    let bed = Bed::new();
    bed.write(&[connector("web-fn", "acme", "addresses = \"ipv4\"\n"), slot("tap0", "web-fn")].concat());
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    let address = field(&bed.json("enis"), "addresses");
    drop(daemon);
    let tables = Tables::open(&bed.pins).unwrap();
    let flow = towards_one_remote(0, &tables.interfaces().unwrap(), tables.now());
    tables.insert_flows::<V4>(&[flow]).unwrap();
    fs::remove_file(bed.state_dir().join("enis.json")).unwrap();
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    let enis = bed.json("enis");
    assert!(enis.matches(&format!("\"{address}\"")).count() == 1 && enis.contains("\"in-use\""), "{enis}");
    assert_eq!(tables.flows().len(), 1);
    daemon.stop();
}

#[test]
fn flows_of_a_slot_end_when_it_gets_another_connector_and_stay_when_it_gets_its_first_one() {
    let bed = Bed::new();
    let connectors: String =
        ["one", "two"].map(|name| connector(name, name, "addresses = \"ipv4\"\n")).concat();
    let bound = |name| connectors.clone() + &slot("tap1", "one") + &slot("tap0", name);
    bed.write(&bound("one"));
    let mut daemon = bed.run();
    bed.wait_until_active("one");
    let tables = Tables::open(&bed.pins).unwrap();
    let flow = towards_one_remote(0, &tables.interfaces().unwrap(), tables.now());
    tables.insert_flows::<V4>(&[flow]).unwrap();
    let [zone, _] = tables.flows()[0].zones;
    let slots = || tables.interfaces().unwrap().into_iter().filter(|it| it.is_slot());
    let device = slots().find(|it| it.zone == zone).unwrap().egress.ifindex;
    let is_tap0 = slots().filter(|it| it.egress.ifindex < device).count() == 0;
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the new configuration is in force");
    assert_eq!(tables.flows().len(), 1);
    let other =
        if is_tap0 { bound("two") } else { connectors.clone() + &slot("tap0", "one") + &slot("tap1", "two") };
    bed.write(&other);
    daemon.signal(Signal::SIGHUP);
    bed.eventually("the flow has ended", || tables.flows().is_empty());
    assert!(slots().all(|it| it.zone != zone), "nobody has the old binding");
    daemon.stop();
}

#[test]
fn whenever_it_is_killed_nothing_is_left_behind() {
    let bed = Bed::new();
    let connector = |name: &str| connector(name, name, "mac = \"own\"\n");
    let both = connector("one") + &connector("two");
    let bound = [both.clone() + &slot("tap0", "one"), both.clone() + &slot("tap1", "two"), both.clone()];
    for turn in 0..20 {
        bed.write(&bound[turn % 3]);
        let daemon = bed.start();
        // From before it has read anything to after a reload.
        std::thread::sleep(Duration::from_millis(turn as u64 * 23 % 250));
        bed.write(&bound[(turn + 1) % 3]);
        daemon.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(turn as u64 * 7 % 40));
        // By SIGKILL.
        drop(daemon);
    }
    bed.write(&bound[0]);
    let daemon = bed.run();
    bed.wait_until_active("one");
    let are_in_force = |count: usize| {
        let (enis, interfaces) = (bed.json("enis"), bed.json("interfaces"));
        let counts = [enis.matches("\"id\"").count(), interfaces.matches("\"name\": \"eni").count()];
        counts == [count; 2] && bed.filters().matches(ENI_MAC).count() == count
    };
    bed.eventually("there is one ENI", || are_in_force(1));
    bed.write(&both);
    daemon.signal(Signal::SIGHUP);
    bed.eventually("there is none", || are_in_force(0) && !bed.filters().contains(GROUP));
    daemon.stop();
}

#[test]
fn connectors_of_one_key_share_their_enis_and_those_of_another_tenant_do_not() {
    let bed = Bed::new();
    let connectors = [("one", "acme"), ("two", "acme"), ("three", "other")];
    let connectors: String = connectors.map(|(name, tenant)| connector(name, tenant, "")).concat();
    bed.write(&[connectors, slot("tap0", "one"), slot("tap1", "two")].concat());
    let daemon = bed.run();
    bed.wait_until_active("one");
    let shown = bed.json("enis");
    assert_eq!(shown.matches("\"id\"").count(), 1, "{shown}");
    assert!(bed.connector("two").contains("\"references\": 2"), "{}", bed.connector("two"));
    assert!(bed.connector("three").contains("\"references\": 0"), "{}", bed.connector("three"));
    daemon.stop();
}

#[test]
fn an_exhausted_subnet_fails_one_connector_alone_until_a_reload_gives_it_room() {
    let bed = Bed::new();
    let text = [
        connector("first", "acme", "addresses = \"ipv4\"\n"),
        connector("second", "other", "addresses = \"ipv4\"\n"),
        slot("tap0", "first"),
    ]
    .concat();
    bed.write_pool("10.0.1.100-10.0.1.100", &text);
    let mut daemon = bed.run();
    bed.wait_until_active("first");
    let before = bed.json("enis");

    let text = text + &slot("tap1", "second");
    bed.write_pool("10.0.1.100-10.0.1.100", &text);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("SubnetOutOfIPAddresses");
    let failed = bed.connector("second");
    assert!(failed.contains("\"state\": \"Failed\"") && failed.contains("prod-a"), "{failed}");
    assert!(bed.connector("first").contains("\"state\": \"Active\""));
    assert_eq!(bed.json("enis"), before);

    bed.write_pool("10.0.1.100-10.0.1.101", &text);
    daemon.signal(Signal::SIGHUP);
    bed.wait_until_active("second");
    assert!(bed.json("enis").contains("10.0.1.101"));
    daemon.stop();
}

#[test]
fn addresses_of_an_eni_come_and_go_by_a_reload() {
    let bed = Bed::new();
    let addresses = |count: u32| {
        let settings = format!("addresses = \"ipv4\"\naddresses_per_eni = {count}\n");
        [connector("web-fn", "acme", &settings), slot("tap0", "web-fn")].concat()
    };
    bed.write(&addresses(1));
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    let id = field(&bed.json("enis"), "id");
    for count in [3, 1] {
        bed.write(&addresses(count));
        daemon.signal(Signal::SIGHUP);
        bed.eventually("it has as many addresses", || {
            bed.json("enis").matches("\"10.0.1.").count() == count as usize
        });
    }
    assert_eq!(field(&bed.json("enis"), "id"), id);
    daemon.stop();
}

#[test]
fn one_more_eni_is_there_before_the_first_one_has_no_port_left() {
    let mut bed = Bed::new();
    bed.weir.max_flows = 65_536;
    let settings = "addresses = \"ipv4\"\n";
    bed.write(&[connector("web-fn", "acme", settings), slot("tap0", "web-fn")].concat());
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    let tables = Tables::open(&bed.pins).unwrap();
    let interfaces = tables.interfaces().unwrap();
    let flows = (0..33_000).map(|number| towards_one_remote(number, &interfaces, tables.now()));
    tables.insert_flows::<V4>(&flows.collect::<Vec<_>>()).unwrap();
    bed.eventually("there are two", || bed.json("enis").matches("\"id\"").count() == 2);
    let fullest = bed.weir(&["ports", "--top", "1", "-o", "json"]).out;
    for said in ["\"live\": 33000", "\"free\": 31512", "\"percent\": 51.2", "\"tenant\": \"acme\""] {
        assert!(fullest.contains(said), "{said} is not in\n{fullest}");
    }
    assert!(bed.json("enis").contains("\"state\": \"in-use\""));
    daemon.stop();
}

#[test]
fn the_hosts_address_is_shared_without_announcing_it() {
    let bed = Bed::new();
    let settings = "addresses = \"ipv4\"\nenis = \"host\"\n";
    bed.write(&[connector("web-fn", "acme", settings), slot("tap0", "web-fn")].concat());
    let daemon = bed.run();
    bed.eventually("it fails", || bed.connector("web-fn").contains("\"state\": \"Failed\""));
    ip(&bed.host, &["address", "add", "10.0.1.50/24", "dev", "up0"]);
    bed.wait_until_active("web-fn");
    assert_eq!(field(&bed.json("enis"), "addresses"), "10.0.1.50");
    // Half of the ports is what the kernel gives out itself.
    let left: u32 = field(&bed.json("ports"), "left").parse().unwrap();
    assert!((64..64_512 / 2).contains(&left), "{left}");
    assert!(!bed.filters().contains(ENI_MAC));
    daemon.stop();
}

#[test]
fn a_slot_that_is_down_is_brought_up_and_one_that_was_up_is_named() {
    let bed = Bed::new();
    ip(&bed.host, &["link", "set", "tap1", "up"]);
    let slots = [slot("tap0", "web-fn"), slot("tap1", "web-fn")].concat();
    bed.write(&[connector("web-fn", "acme", ""), slots].concat());
    let daemon = bed.run();
    let first = "slot tap1 was up before Weir's program was on it";
    assert!(daemon.said.contains(first) && !daemon.said.contains("slot tap0 was up"), "{}", daemon.said);
    let flags = || run(Command::new("ip").args(["-n", &bed.host, "-o", "link", "show", "tap0"]));
    bed.eventually("tap0 is up", || flags().contains(",UP"));
    daemon.stop();
}
