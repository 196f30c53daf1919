//! The daemon on a real link: what its neighbours hear, what it learns of them, and whom it meets on the device.
//! Takes root and a bpffs.
//!
//! ```text
//!   weir-h-…  (the daemon)                weir-n-…  (a router)
//!     up0, no address ◄──── veth, tx off ────► up1  10.0.0.1/24, fd00::1/64
//! ```
#![expect(clippy::unwrap_used, reason = "test code")]

mod daemon;
mod net;

use net::{Weir, inside, ip, namespace, run};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

const VIPS: [&str; 2] = ["198.51.100.10", "2001:db8::10"];
const OWN: [&str; 2] = ["10.0.0.5", "fd00::5"];
const UPLINK_MAC: &str = "02:00:00:00:00:05";
const ROUTER_MAC: &str = "02:00:00:00:00:01";
const GENERIC: &str = "hook = \"xdp-generic\"\nsenders_complete_checksums = true\n";
/// Who had all of the addresses before.
const OTHER_MAC: &str = "02:00:00:00:00:99";

#[test]
fn neighbours_learn_at_once_that_an_address_has_come_here() {
    let bed = Bed::new();
    for address in VIPS.iter().chain(&OWN) {
        let known = ["neigh", "replace", address, "lladdr", OTHER_MAC, "nud", "stale", "dev", "up1"];
        ip(&bed.router, &known);
    }
    let mut heard = bed.neighbours();
    let daemon = bed.run();
    let mut awaited: Vec<_> = VIPS.iter().chain(&OWN).collect();
    for line in heard.lines().map_while(Result::ok) {
        let is_now_here =
            |address: &&str| line.starts_with(&format!("{address} ")) && line.contains(UPLINK_MAC);
        awaited.retain(|address| !is_now_here(address));
        if awaited.is_empty() {
            break;
        }
    }
    assert_eq!(awaited, [&""; 0], "not announced; the daemon said:\n{}", daemon.said);
    daemon.stop();
}

#[test]
fn what_could_not_be_said_while_the_device_was_down_is_said_when_it_is_up() {
    let bed = Bed::new();
    ip(&bed.host, &["link", "set", "up0", "down"]);
    let mut daemon = bed.run();
    daemon.wait_for("its queue dropped the frame; is it up? device=\"up0\"");
    ip(&bed.host, &["link", "set", "up0", "up"]);
    daemon.wait_for("neighbours hear from us again");
    daemon.wait_for("gateway found");
    daemon.stop();
}

#[test]
fn a_gateway_is_asked_for_and_shown_with_its_mac() {
    let bed = Bed::new();
    let mut daemon = bed.run();
    daemon.wait_for("gateway found");
    daemon.wait_for("gateway found");
    let shown = bed.weir(&["get", "interfaces"]).out;
    for said in ["uplink", "up0", "prod", "tc", "1500", "active", "10.0.0.5, fd00::5"] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
    for gateway in ["10.0.0.1", "fd00::1"] {
        assert!(shown.contains(&format!("{gateway} {ROUTER_MAC}")), "{shown}");
    }
    daemon.stop();
}

#[test]
fn a_gateway_that_is_not_there_is_said_to_be_missing() {
    let bed = Bed::new();
    ip(&bed.router, &["address", "flush", "dev", "up1"]);
    let mut daemon = bed.run();
    daemon.wait_for("gateway 10.0.0.1 does not answer on device up0;");
    assert!(bed.weir(&["get", "interfaces"]).out.contains("10.0.0.1 unresolved"));
    daemon.stop();
}

#[test]
fn a_device_that_changes_its_mtu_is_followed_up_to_what_is_configured() {
    let bed = Bed::new();
    bed.write(&configuration("mtu = 1450\n"));
    let mut daemon = bed.run();
    // By then the configuration is kept, so that it can be asked about.
    daemon.wait_for("gateway found");
    let mtu = || {
        let shown = bed.weir(&["get", "interfaces", "-o", "json"]).out;
        let lines = shown.lines().map(str::trim);
        lines
            .filter(|line| line.starts_with("\"mtu\"") || line.starts_with("\"interface\""))
            .collect::<String>()
    };
    assert_eq!(mtu(), "\"interface\": 0,\"mtu\": 1450,");
    ip(&bed.host, &["link", "set", "up0", "mtu", "1400"]);
    daemon.wait_for("configuration applied");
    assert_eq!(mtu(), "\"interface\": 0,\"mtu\": 1400,");
    daemon.stop();
}

#[test]
fn a_reload_follows_the_rate_of_answers_and_the_way_to_the_gateway() {
    let bed = Bed::new();
    let mut daemon = bed.run();
    daemon.wait_for("gateway found");
    let text = fs::read_to_string(bed.file()).unwrap();
    let text = text.replace("gateway = \"10.0.0.1\"", "gateway = \"10.0.0.2\"");
    fs::write(bed.file(), text + "[answers]\nper_second = 7\n").unwrap();
    ip(&bed.router, &["address", "add", "10.0.0.2/24", "dev", "up1"]);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the new configuration is in force");
    daemon.wait_for("gateway found gateway=10.0.0.2");
    let shown = bed.weir(&["get", "interfaces", "-o", "json"]).out;
    assert!(
        shown.contains("\"answers_per_second\": 7") && shown.contains("\"address\": \"10.0.0.2\""),
        "{shown}"
    );
    daemon.stop();
}

#[test]
fn another_xdp_program_is_an_error_that_names_it() {
    let bed = Bed::new();
    bed.write(&configuration(GENERIC));
    let daemon = bed.run();
    let other = Weir::new(&bed.host);
    other.write(&configuration(GENERIC));
    let refused = other.weir(&["run"]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    for said in ["up0 has an XDP program that is not Weir's: uplink_xdp (id ", "hook = \"tc\""] {
        assert!(refused.err.contains(said), "{said:?} is not in\n{}", refused.err);
    }
    daemon.stop();
}

#[test]
fn another_program_on_tc_is_named_and_lived_with() {
    let bed = Bed::new();
    let first = bed.run();
    let other = Weir::new(&bed.host);
    other.write(&configuration("hook = \"tc\"\n"));
    let mut second = other.run();
    second.wait_for("another program is on the device's TC ingress device=\"up0\" program=uplink_tc (id ");
    let shown = bed.weir(&["get", "interfaces"]).out;
    assert!(shown.contains("tc uplink_tc (id "), "{shown}");
    first.stop();
    second.stop();
    other.release();
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
        ip(
            &host,
            &[
                "link", "add", "up0", "address", UPLINK_MAC, "type", "veth", "peer", "name", "up1", "netns",
                &router,
            ],
        );
        ip(&router, &["link", "set", "up1", "address", ROUTER_MAC]);
        run(inside(&router, "ethtool").args(["-K", "up1", "tx", "off"]));
        ip(&router, &["address", "add", "10.0.0.1/24", "dev", "up1"]);
        ip(&router, &["address", "add", "fd00::1/64", "dev", "up1", "nodad"]);
        ip(&host, &["link", "set", "up0", "up"]);
        ip(&router, &["link", "set", "up1", "up"]);
        let weir = Weir::new(&host);
        weir.write(&configuration("hook = \"tc\"\n"));
        Self { weir, host, router }
    }

    /// Changes of the router's neighbours, for as long as a test may take.
    fn neighbours(&self) -> Heard {
        let mut monitor = inside(&self.router, "timeout");
        monitor.args(["20", "ip", "monitor", "neigh"]).stdout(Stdio::piped());
        Heard(monitor.spawn().unwrap())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.weir.release();
        for namespace in [&self.host, &self.router] {
            // A leftover is better than a panic while another one unwinds.
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// What another command says, until it is dropped.
struct Heard(Child);

impl Heard {
    fn lines(&mut self) -> Lines<BufReader<ChildStdout>> {
        BufReader::new(self.0.stdout.take().unwrap()).lines()
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A configuration with these lines in its uplink.
fn configuration(uplink: &str) -> String {
    let ([vip, vip6], [own, own6]) = (VIPS, OWN);
    let listener = |name: &str, address: &str| {
        format!(
            "[[listener]]\nname = \"{name}\"\nvpc = \"prod\"\naddress = \"{address}\"\nport = \"any\"\n\
             protocol = \"tcp_udp\"\ntarget_group = \"web\"\n"
        )
    };
    format!(
        "[sandbox]\naddress6 = \"fd01::2\"\ngateway6 = \"fd01::1\"\n[[vpc]]\nname = \"prod\"\n\
         [[target_group]]\nname = \"web\"\n{}{}[[uplink]]\ninterface = \"up0\"\nvpc = \"prod\"\n\
         address = \"{own}/24\"\ngateway = \"10.0.0.1\"\naddress6 = \"{own6}/64\"\ngateway6 = \"fd00::1\"\n\
         {uplink}",
        listener("web", vip),
        listener("web6", vip6),
    )
}
