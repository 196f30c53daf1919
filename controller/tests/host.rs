//! Devices and namespaces, for real: each promise on a small topology of its own. Takes root.
//!
//! ```text
//!   weir-h-…  (where the daemon would be)          weir-s-…  (the sandbox)
//!     up0 ── up1, beside it
//!     slot0 ◄──────────── veth ────────────────────► eth0
//!     tap0, bridge0                                  tap1, in0 ── in1
//! ```
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use weir_controller::config::{Config, Document};
use weir_controller::host::{Filter, Host, Resolved, free_ports, gro_is_on};
use weir_controller::plan::Point;
use weir_path::addr::Mac;
use weir_path::tables::Delivery;

#[test]
fn a_slot_is_found_from_the_sandboxs_end_and_from_the_hosts() {
    let bed = Bed::new();
    for slot in [bed.inside("eth0"), "interface = \"slot0\"".to_owned()] {
        let resolved = bed.resolve(&slot);
        assert_eq!(resolved.problems, []);
        let found = resolved.slots.values().next().unwrap();
        assert_eq!(found.device.name, "slot0");
        let end = found.sandbox.as_ref().unwrap();
        assert_eq!((end.name.as_str(), end.namespace.to_string()), ("eth0", bed.sandbox.0.clone()));
        let wanted = resolved.wanted.slots.first().unwrap();
        assert_eq!((wanted.ifindex, wanted.delivery), (found.device.ifindex, Delivery::VETH_PEER));
    }
}

#[test]
fn a_tap_is_a_slot_that_is_transmitted_to() {
    let bed = Bed::new();
    let resolved = bed.resolve("interface = \"tap0\"");
    assert_eq!(resolved.wanted.slots.first().unwrap().delivery, Delivery::TRANSMIT);
    assert_eq!(resolved.slots.values().next().unwrap().sandbox, None);
}

#[test]
fn an_uplink_on_a_veth_takes_tc_unless_its_senders_complete_checksums() {
    let bed = Bed::new();
    let text = bed.text("interface = \"slot0\"");
    let point = |uplink: &str| {
        let resolved = bed.resolve_text(&text.replace("\"up0\"", uplink));
        resolved.wanted.uplinks.first().map(|uplink| uplink.point).ok_or(resolved.problems)
    };
    assert_eq!(point("\"up0\""), Ok(Point::Tc));
    let refused = point("\"up0\"\nhook = \"xdp\"").unwrap_err().first().unwrap().to_string();
    assert!(refused.contains("up0 is a veth") && refused.contains("checksums"), "{refused}");
    assert_eq!(point("\"up0\"\nhook = \"xdp\"\nsenders_complete_checksums = true"), Ok(Point::XdpNative));
}

#[test]
fn what_cannot_be_a_slot_is_said_at_its_line() {
    let bed = Bed::new();
    let own = "netns = \"/proc/thread-self/ns/net\"\ninterface = \"slot0\"".to_owned();
    let here = |device: &str| format!("interface = \"{device}\"");
    let cases = [
        (here("nothing0"), "15:13", "there is no device nothing0", "slot0"),
        (bed.inside("nothing0"), "16:13", "there is no device nothing0 in namespace", "make it first"),
        (bed.inside("tap1"), "16:13", "tap1 in namespace", "move a TAP there"),
        (
            bed.inside("in0"),
            "16:13",
            "both ends of the veth pair in0 are in namespace",
            "the daemon's namespace",
        ),
        (here("up0"), "15:13", "an uplink and a target", "the device of a sandbox"),
        (here("up1"), "15:13", "both ends of the veth pair up1", "a namespace of its own"),
        (here("bridge0"), "15:13", "bridge0 is a bridge", "a veth or a TAP"),
        ("netns = \"weir-none\"\ninterface = \"eth0\"".to_owned(), "16:13", "weir-none", "ip netns add"),
        (own, "16:13", "both ends of the veth pair slot0", "a namespace of its own"),
    ];
    for (slot, place, message, remedy) in cases {
        let shown = bed.complaint(&slot);
        let words = shown.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        for said in [&format!("[weir.toml:{place}]"), message, remedy] {
            assert!(words.contains(said), "{said:?} is not in\n{shown}");
        }
    }
}

#[test]
fn a_missing_uplink_is_said_at_its_line_with_the_devices_there_are() {
    let bed = Bed::new();
    let text = bed.text("interface = \"slot0\"").replace("\"up0\"", "\"up9\"");
    let shown = document(&text).invalid(bed.resolve_text(&text).problems).rendered();
    for said in ["[weir.toml:7:13]", "there is no device up9", "slot0"] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
}

#[test]
fn a_vip_that_is_the_hosts_own_address_is_refused_unless_it_is_another_vpcs() {
    let bed = Bed::new();
    let on = |device: &str, address: &str| ip(&["-n", &bed.host.0, "address", "add", address, "dev", device]);
    on("bridge0", "198.51.100.10/24");
    on("slot0", "198.51.100.11/24");
    on("up1", "198.51.100.12/24");
    let listener = |address: &str| {
        format!(
            "\n[[uplink]]\ninterface = \"up1\"\nvpc = \"other\"\n[[vpc]]\nname = \"other\"\n\
             [[listener]]\nname = \"web\"\nvpc = \"prod\"\naddress = \"{address}\"\nport = 80\n\
             protocol = \"tcp\"\ntarget_group = \"web\"\n"
        )
    };
    let slot = "interface = \"tap0\"";
    for (address, device) in [("198.51.100.10", "bridge0"), ("198.51.100.11", "slot0")] {
        let shown = bed.complaint(&(slot.to_owned() + &listener(address)));
        assert!(shown.contains(&format!("{address} is the host's own address, on {device}")), "{shown}");
        assert!(shown.contains("[weir.toml:24:11]"), "{shown}");
    }
    for address in ["198.51.100.12", "198.51.100.13"] {
        assert_eq!(bed.resolve(&(slot.to_owned() + &listener(address))).problems, []);
    }
}

#[test]
fn an_uplinks_own_address_that_is_the_hosts_is_refused_with_what_to_do() {
    let bed = Bed::new();
    ip(&["-n", &bed.host.0, "address", "add", "10.0.0.5/24", "dev", "bridge0"]);
    let text = bed.text("interface = \"tap0\"");
    let text = text.replace("\"up0\"\n", "\"up0\"\naddress = \"10.0.0.5/24\"\n");
    let shown = document(&text).invalid(bed.resolve_text(&text).problems).rendered();
    let words = shown.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for said in [
        "[weir.toml:8:11]",
        "10.0.0.5 is the host's own address, on bridge0: Weir would answer for it",
        "ip address del",
    ] {
        assert!(words.contains(said), "{said:?} is not in\n{shown}");
    }
}

#[test]
fn uplinks_of_one_device_take_its_mtu_or_less_and_one_hook() {
    let bed = Bed::new();
    ip(&["-n", &bed.host.0, "link", "set", "up0", "mtu", "1600"]);
    ip(&["-n", &bed.host.0, "link", "set", "tap0", "mtu", "1300"]);
    let tagged = |vlan: u16, rest: &str| {
        format!("\n[[uplink]]\ninterface = \"up0\"\nvpc = \"prod\"\nvlan = {vlan}\n{rest}")
    };
    let hook = "hook = \"xdp\"\nsenders_complete_checksums = true\n";
    let text = bed.text("interface = \"tap0\"")
        + &tagged(7, "mtu = 1450\n")
        + &tagged(8, "mtu = 9000\n")
        + &tagged(9, hook);
    let resolved = bed.resolve_text(&text);
    assert_eq!(resolved.problems, []);
    let uplinks = &resolved.wanted.uplinks;
    let frames: Vec<_> = uplinks.iter().map(|it| (it.vlan.0, it.mtu)).collect();
    assert_eq!(frames, [(0, 1_600), (7, 1_450), (8, 1_600), (9, 1_600)]);
    assert!(uplinks.iter().all(|it| it.point == Point::XdpNative));
    assert_eq!(resolved.wanted.slots.first().unwrap().mtu, 1_300);
}

#[test]
fn a_slot_under_two_names_is_one_device_and_each_of_its_ports_one_target() {
    let bed = Bed::new();
    let and_inside = |port: u16| {
        let inside = bed.inside("eth0");
        bed.resolve(&format!(
            "interface = \"slot0\"\n[[target_group.target]]\nname = \"other\"\n{inside}\nport = {port}"
        ))
    };
    let two_ports = and_inside(81);
    assert_eq!((two_ports.wanted.slots.len(), two_ports.slots.len(), two_ports.problems.len()), (1, 2, 0));
    let one_port = and_inside(80).problems.first().unwrap().to_string();
    assert!(one_port.contains("the same port of the same slot"), "{one_port}");
}

#[test]
fn a_pair_elsewhere_with_the_same_numbers_is_not_taken_for_ours() {
    // Both pairs are devices 70 and 2000. Ours leads to one namespace, the sandbox's comes from another.
    let bed = Bed::new();
    let [far, other] = [TestNamespace::new("f"), TestNamespace::new("o")];
    for (outer_namespace, outer, inner, inner_namespace) in
        [(&bed.host, "ours0", "far0", &far), (&other, "theirs0", "eth9", &bed.sandbox)]
    {
        let mut words = vec!["-n", &outer_namespace.0, "link", "add", outer, "index", "70", "type", "veth"];
        words.extend(["peer", "name", inner, "index", "2000", "netns", &inner_namespace.0]);
        ip(&words);
    }
    let shown = bed.complaint(&bed.inside("eth9"));
    assert!(shown.contains("is not in the daemon's namespace"), "{shown}");
    assert_eq!(bed.resolve("interface = \"ours0\"").problems, []);
}

#[test]
fn gro_is_turned_on_at_the_sandboxs_end_once() {
    let bed = Bed::new();
    let resolved = bed.resolve("interface = \"slot0\"");
    let end = resolved.slots.values().next().unwrap().sandbox.clone().unwrap();
    let is_on = || bed.sandbox.enter(|| gro_is_on("eth0").unwrap());
    assert!(!is_on());
    assert!(bed.host.enter(|| end.enable_gro().unwrap()));
    assert!(is_on());
    assert!(!bed.host.enter(|| end.enable_gro().unwrap()));
}

#[test]
fn a_device_that_comes_is_heard_of() {
    let bed = Bed::new();
    let heard = async || {
        let mut host = Host::connect().unwrap();
        let before = host.devices().await.unwrap().len();
        ip(&["-n", &bed.host.0, "link", "add", "late0", "type", "bridge"]);
        host.changed().await;
        host.devices().await.unwrap().len() - before
    };
    assert_eq!(bed.host.enter(|| runtime().block_on(heard())), 1);
}

#[test]
fn a_device_lets_in_the_macs_that_it_is_told_of() {
    let bed = Bed::new();
    let told = async |host: &Host| {
        let up0 = host.devices().await.unwrap().into_values().find(|it| it.name == "up0").unwrap().ifindex;
        // A station's, and a group's.
        let macs = [Mac::of_eni(7), Mac([0x33, 0x33, 0xff, 0, 0, 7])];
        let filters = macs.map(|mac| Filter { device: up0, mac });
        let present = async || {
            let known = host.filters().await.unwrap();
            filters.map(|filter| known.contains(&filter))
        };
        assert_eq!(present().await, [false; 2]);
        for _ in 0..2 {
            for filter in filters {
                host.add_filter(filter).await.unwrap();
            }
            assert_eq!(present().await, [true; 2]);
        }
        for _ in 0..2 {
            for filter in filters {
                host.remove_filter(filter).await.unwrap();
            }
            assert_eq!(present().await, [false; 2]);
        }
        ip(&["-n", &bed.host.0, "link", "del", "up0"]);
        for filter in filters {
            host.remove_filter(filter).await.unwrap();
        }
    };
    bed.on_host(told);
}

#[test]
fn a_device_is_brought_up() {
    let bed = Bed::new();
    bed.on_host(async |host: &Host| {
        let slot0 = async || {
            let devices = host.devices().await.unwrap();
            devices.into_values().find(|it| it.name == "slot0").unwrap()
        };
        assert!(!slot0().await.is_up);
        host.bring_up(slot0().await.ifindex).await.unwrap();
        assert!(slot0().await.is_up);
    });
}

#[test]
fn ports_are_free_that_neither_the_kernel_nor_a_socket_of_the_namespace_has() {
    let bed = Bed::new();
    bed.host.enter(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 50000").unwrap();
        let free = || {
            let free = free_ports().unwrap();
            (free.first.port(0).number(), free.blocks)
        };
        assert_eq!(free(), (50_048, 242));
        let _listener = std::net::TcpListener::bind("0.0.0.0:50100").unwrap();
        assert_eq!(free(), (50_112, 241));
        let _socket = std::net::UdpSocket::bind("[::]:65535").unwrap();
        assert_eq!(free(), (50_112, 240));
    });
}

/// A namespace that is there for one test.
struct TestNamespace(String);

impl TestNamespace {
    fn new(role: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-{role}-{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        Self(name)
    }

    /// In a thread of its own, so that the test's never moves.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        let inside = || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        // A leftover is better than a panic while another one unwinds.
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

struct Bed {
    host: TestNamespace,
    sandbox: TestNamespace,
}

impl Bed {
    fn new() -> Self {
        let bed = Self { host: TestNamespace::new("h"), sandbox: TestNamespace::new("s") };
        let (host, sandbox) = (bed.host.0.as_str(), bed.sandbox.0.as_str());
        ip(&["-n", host, "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        ip(&["-n", host, "link", "add", "slot0", "type", "veth", "peer", "name", "eth0", "netns", sandbox]);
        ip(&["-n", host, "tuntap", "add", "tap0", "mode", "tap"]);
        ip(&["-n", host, "link", "add", "bridge0", "type", "bridge"]);
        ip(&["-n", sandbox, "tuntap", "add", "tap1", "mode", "tap"]);
        ip(&["-n", sandbox, "link", "add", "in0", "type", "veth", "peer", "name", "in1"]);
        bed
    }

    /// A slot by a device in the sandbox.
    fn inside(&self, device: &str) -> String {
        format!("netns = \"{}\"\ninterface = \"{device}\"", self.sandbox.0)
    }

    /// A configuration with one uplink and this slot.
    fn text(&self, slot: &str) -> String {
        format!(
            "version = 1\n\n[[vpc]]\nname = \"prod\"\n\n[[uplink]]\ninterface = \"up0\"\nvpc = \"prod\"\n\n\
             [[target_group]]\nname = \"web\"\nport = 80\n[[target_group.target]]\nname = \"one\"\n{slot}\n"
        )
    }

    fn resolve(&self, slot: &str) -> Resolved {
        self.resolve_text(&self.text(slot))
    }

    fn resolve_text(&self, text: &str) -> Resolved {
        let config: Config =
            document(text).parse().unwrap_or_else(|invalid| panic!("{}", invalid.rendered()));
        let resolve = async || Host::connect().unwrap().resolve(&config).await.unwrap();
        self.host.enter(|| runtime().block_on(resolve()))
    }

    /// Does this where the daemon would be.
    fn on_host(&self, work: impl AsyncFnOnce(&Host) + Send) {
        let on_host = async || {
            let host = Host::connect().unwrap();
            work(&host).await;
        };
        self.host.enter(|| runtime().block_on(on_host()));
    }

    /// What is said about a slot, by the file's own check or by the host's.
    fn complaint(&self, slot: &str) -> String {
        let document = document(&self.text(slot));
        match document.parse() {
            Err(invalid) => invalid.rendered(),
            Ok(_) => document.invalid(self.resolve(slot).problems).rendered(),
        }
    }
}

fn document(text: &str) -> Document {
    Document { name: "weir.toml".to_owned(), text: text.to_owned() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn ip(words: &[&str]) {
    let done = Command::new("ip").args(words).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {}: {said}(these tests take root and iproute2)", words.join(" "));
}
