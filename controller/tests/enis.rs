//! The pool of ENIs on a real link: what is made, what neighbours and devices are told, what survives, and what is left.
//! Takes root and a bpffs.
//!
//! ```text
//!   weir-h-…  (the daemon)                        weir-n-…  (a router)
//!     up0, no address ◄──── veth, tx off ────► up1  10.0.1.1/24, fd00:1::1/64
//!     tap0, tap1: the slots
//! ```
#![expect(clippy::unwrap_used, reason = "test code")]

mod daemon;
mod net;

use daemon::Running;
use net::{Weir, inside, ip, namespace, run};
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};
use weir_dataplane::Tables;
use weir_dataplane::flows::{FlowState, SideState};
use weir_path::addr::{Ip4, L4Port, Mac};
use weir_path::flow::{Ends, Hop, Key, Key4, Life, Meta, Phase, RecordId, Side, Stamp, V4};
use weir_path::tables::Interface;
use weir_path::time::{Now, Seconds};

/// What MACs of ENIs begin with.
const ENI_MAC: &str = "06:e1:";
/// What groups of IPv6 addresses begin with that neighbours ask for.
const GROUP: &str = "33:33:ff:";

#[test]
fn an_eni_is_announced_and_let_in_and_leaves_nothing_when_nobody_needs_it_any_more() {
    let bed = Bed::new();
    let connector = connector("web-fn", "acme", "mac = \"own\"\n");
    bed.write(&(connector.clone() + &slot("tap0", "web-fn")));
    let mut daemon = bed.run();
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
fn what_is_in_the_tables_and_in_no_file_is_taken_away() {
    let bed = Bed::new();
    bed.write(&[connector("web-fn", "acme", "mac = \"own\"\n"), slot("tap0", "web-fn")].concat());
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    let id = field(&bed.json("enis"), "id");
    // By SIGKILL.
    drop(daemon);
    fs::remove_file(bed.state_dir().join("enis.json")).unwrap();
    let daemon = bed.run();
    bed.wait_until_active("web-fn");
    assert_ne!(field(&bed.json("enis"), "id"), id);
    let is_one = || bed.json("interfaces").matches("\"name\": \"eni").count() == 1;
    bed.eventually("the other record is gone", is_one);
    assert_eq!(bed.filters().matches(ENI_MAC).count(), 1);
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

/// A flow from the slot's sandbox, by the ENI's port of this number.
fn towards_one_remote(number: u32, interfaces: &[Interface], now: Now) -> FlowState<Key4> {
    const TCP: u8 = 6;
    let eni = interfaces.iter().find(|it| it.is_eni()).unwrap();
    let slot = interfaces.iter().find(|it| it.is_slot()).unwrap();
    let (record, remote) = (RecordId(number), Ip4([192, 0, 2, 1]));
    let [port, https] = [1_024 + number as u16, 443].map(L4Port::new);
    let keys = [
        Key4::new(Ends { src: slot.address, dst: remote, sport: port, dport: https }, TCP, slot.zone),
        Key4::new(Ends { src: remote, dst: eni.local, sport: https, dport: port }, TCP, eni.zone),
    ];
    let side = |side, by| SideState {
        hop: Hop::new(by, Mac([2; 6])),
        stamp: Stamp::new(record, 1, side, now),
        ..SideState::default()
    };
    FlowState {
        record,
        life: Life::new(Phase::Established, 1, now),
        keys,
        meta: Meta { opened: now, idle: Seconds(350), ..Meta::default() },
        sides: [side(Side::Original, eni.egress.id), side(Side::Reply, slot.egress.id)],
    }
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

/// The link, and the daemon that is to be on it.
struct Bed {
    weir: Weir,
    host: String,
    router: String,
}

impl std::ops::Deref for Bed {
    type Target = Weir;

    fn deref(&self) -> &Weir {
        &self.weir
    }
}

impl Bed {
    fn new() -> Self {
        let [host, router] = ["h", "n"].map(namespace);
        ip(&host, &["link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", &router]);
        run(inside(&router, "ethtool").args(["-K", "up1", "tx", "off"]));
        ip(&router, &["address", "add", "10.0.1.1/24", "dev", "up1"]);
        ip(&router, &["address", "add", "fd00:1::1/64", "dev", "up1", "nodad"]);
        // So that an announcement is enough to be known.
        run(inside(&router, "sysctl").args(["-w", "net.ipv4.conf.up1.arp_accept=1"]));
        // An address of the kernel's own would have a group too.
        ip(&host, &["link", "set", "up0", "addrgenmode", "none", "up"]);
        ip(&router, &["link", "set", "up1", "up"]);
        for tap in ["tap0", "tap1"] {
            ip(&host, &["tuntap", "add", tap, "mode", "tap"]);
        }
        Self { weir: Weir::new(&host), host, router }
    }

    /// Writes a configuration with a subnet, and these connectors and slots.
    fn write(&self, rest: &str) {
        self.write_pool("10.0.1.100-10.0.1.200", rest);
    }

    fn write_pool(&self, pool: &str, rest: &str) {
        let head = "[sandbox]\naddress6 = \"fd01::2\"\ngateway6 = \"fd01::1\"\n[[vpc]]\nname = \"prod\"\n\
                    [[uplink]]\ninterface = \"up0\"\nvpc = \"prod\"\nhook = \"tc\"\n";
        self.weir.write(&format!(
            "{head}[[subnet]]\nname = \"prod-a\"\nvpc = \"prod\"\nprefix = \"10.0.1.0/24\"\n\
             gateway = \"10.0.1.1\"\npool = \"{pool}\"\nprefix6 = \"fd00:1::/64\"\ngateway6 = \"fd00:1::1\"\n{rest}"
        ));
    }

    /// The daemon, once what it does is kept and can be asked for.
    fn run(&self) -> Running {
        let daemon = self.weir.run();
        self.eventually("it can be asked", || self.weir(&["get", "connectors"]).code == 0);
        daemon
    }

    fn json(&self, noun: &str) -> String {
        let said = self.weir(&["get", noun, "-o", "json"]);
        assert_eq!(said.code, 0, "{}", said.err);
        said.out.trim().to_owned()
    }

    /// What is said of one connector.
    fn connector(&self, name: &str) -> String {
        let all = self.json("connectors");
        let (_, from) = all.split_once(&format!("\"name\": \"{name}\"")).unwrap_or_default();
        from.split("\"name\":").next().unwrap_or_default().to_owned()
    }

    fn wait_until_active(&self, name: &str) {
        self.eventually(&format!("{name} is active"), || {
            self.connector(name).contains("\"state\": \"Active\"")
        });
    }

    /// Whom the router knows.
    fn neighbours(&self) -> String {
        run(Command::new("ip").args(["-n", &self.router, "neigh", "show", "dev", "up1"]))
    }

    /// What up0 lets in.
    fn filters(&self) -> String {
        run(Command::new("bridge").args(["-n", &self.host, "fdb", "show", "dev", "up0"]))
    }

    fn eventually(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            let said = || ["connectors", "enis"].map(|noun| self.weir(&["get", noun]).out).join("\n");
            assert!(begun.elapsed() < Duration::from_secs(15), "not so: {what}\n{}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.weir.release();
        // Whatever a test left: after a release devices are as they were.
        let left = Command::new("bridge").args(["-n", &self.host, "fdb", "show", "dev", "up0"]).output();
        let left = left.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default();
        for namespace in [&self.host, &self.router] {
            // A leftover is better than a panic while another one unwinds.
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
        assert!(std::thread::panicking() || !left.contains(ENI_MAC), "{left}");
    }
}

fn connector(name: &str, tenant: &str, rest: &str) -> String {
    format!("[[connector]]\nname = \"{name}\"\ntenant = \"{tenant}\"\nsubnets = [\"prod-a\"]\n{rest}")
}

fn slot(device: &str, connector: &str) -> String {
    format!("[[slot]]\ninterface = \"{device}\"\nconnector = \"{connector}\"\n")
}

/// The first value of this name, of a list its first element.
fn field(json: &str, name: &str) -> String {
    let (_, from) = json.split_once(&format!("\"{name}\":")).unwrap_or_default();
    let from = from.trim_start_matches(|it: char| it.is_whitespace() || "[\"".contains(it));
    from.split(|it: char| "\",\n".contains(it)).next().unwrap_or_default().to_owned()
}
