//! One link, and what is on both of its sides.

use crate::daemon::Running;
use crate::net::{Weir, inside, ip, namespace, run};
use std::process::Command;
use std::time::{Duration, Instant};

/// What MACs of ENIs begin with.
pub(crate) const ENI_MAC: &str = "06:e1:";
/// What groups of IPv6 addresses begin with that neighbours ask for.
pub(crate) const GROUP: &str = "33:33:ff:";

/// The link, and the daemon that is to be on it.
pub(crate) struct Bed {
    pub(crate) weir: Weir,
    pub(crate) host: String,
    router: String,
}

impl std::ops::Deref for Bed {
    type Target = Weir;

    fn deref(&self) -> &Weir {
        &self.weir
    }
}

impl Bed {
    pub(crate) fn new() -> Self {
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
    pub(crate) fn write(&self, rest: &str) {
        self.write_pool("10.0.1.100-10.0.1.200", rest);
    }

    pub(crate) fn write_pool(&self, pool: &str, rest: &str) {
        let head = "[sandbox]\naddress6 = \"fd01::2\"\ngateway6 = \"fd01::1\"\n[[vpc]]\nname = \"prod\"\n\
                    [[uplink]]\ninterface = \"up0\"\nvpc = \"prod\"\nhook = \"tc\"\n";
        self.weir.write(&format!(
            "{head}[[subnet]]\nname = \"prod-a\"\nvpc = \"prod\"\nprefix = \"10.0.1.0/24\"\n\
             gateway = \"10.0.1.1\"\npool = \"{pool}\"\nprefix6 = \"fd00:1::/64\"\ngateway6 = \"fd00:1::1\"\n{rest}"
        ));
    }

    /// The daemon, once what it does is kept and can be asked for.
    pub(crate) fn run(&self) -> Running {
        let daemon = self.weir.run();
        self.eventually("it can be asked", || self.weir(&["get", "connectors"]).code == 0);
        daemon
    }

    pub(crate) fn json(&self, noun: &str) -> String {
        let said = self.weir(&["get", noun, "-o", "json"]);
        assert_eq!(said.code, 0, "{}", said.err);
        said.out.trim().to_owned()
    }

    /// What is said of one connector.
    pub(crate) fn connector(&self, name: &str) -> String {
        let all = self.json("connectors");
        let (_, from) = all.split_once(&format!("\"name\": \"{name}\"")).unwrap_or_default();
        from.split("\"name\":").next().unwrap_or_default().to_owned()
    }

    pub(crate) fn wait_until_active(&self, name: &str) {
        self.eventually(&format!("{name} is active"), || {
            self.connector(name).contains("\"state\": \"Active\"")
        });
    }

    /// Whom the router knows.
    pub(crate) fn neighbours(&self) -> String {
        run(Command::new("ip").args(["-n", &self.router, "neigh", "show", "dev", "up1"]))
    }

    /// What up0 lets in.
    pub(crate) fn filters(&self) -> String {
        run(Command::new("bridge").args(["-n", &self.host, "fdb", "show", "dev", "up0"]))
    }

    pub(crate) fn eventually(&self, what: &str, is_so: impl Fn() -> bool) {
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

pub(crate) fn connector(name: &str, tenant: &str, rest: &str) -> String {
    format!("[[connector]]\nname = \"{name}\"\ntenant = \"{tenant}\"\nsubnets = [\"prod-a\"]\n{rest}")
}

pub(crate) fn slot(device: &str, connector: &str) -> String {
    format!("[[slot]]\ninterface = \"{device}\"\nconnector = \"{connector}\"\n")
}

/// The first value of this name, of a list its first element.
pub(crate) fn field(json: &str, name: &str) -> String {
    let (_, from) = json.split_once(&format!("\"{name}\":")).unwrap_or_default();
    let from = from.trim_start_matches(|it: char| it.is_whitespace() || "[\"".contains(it));
    from.split(|it: char| "\",\n".contains(it)).next().unwrap_or_default().to_owned()
}
