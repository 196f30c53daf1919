//! Uplinks that are VLANs of a device, whose untagged frames are the host's own.
//!
//! ```text
//!                                                              ┌─ sb1   echo, of VPC "prod"
//!   client ── router ──── VLAN 7 ──┐                           │
//!   other ─────────────── VLAN 8 ──┼── hu0 [XDP | TC] host [TC]┤
//!   the router's addresses as well │   a TAP: tags are in the  └─ sb2   echo, of VPC "other"
//!   beside ────────────── no tag ──┘   bytes, as on a wire
//!   192.0.2.9
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use weir_netns_tests::cable::Cable;
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::counters::snmp;
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::ipv6::{self, HOST6, ROUTER6, VIP6};
use weir_netns_tests::netns::{End, Netns};
use weir_netns_tests::servers::Echo;
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{HOST, ROUTER, Testbed, Topology, VIP};
use weir_path::Reason;
use weir_path::packet::VlanTag;

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

const OURS: VlanTag = VlanTag(7);
const OTHERS: VlanTag = VlanTag(8);

/// Where the host itself listens.
const HOST_PORT: u16 = 22;

/// A client's port.
const PORT: u16 = 40_000;

struct Trunk {
    bed: Testbed,
    /// In the other VLAN.
    other: Netns,
    /// In none.
    beside: Netns,
    cable: Cable,
}

fn trunk(name: &'static str) -> Result<Trunk, Failure> {
    let mut bed = Topology { name, sandboxes: 2 }.build()?;
    let [other, beside] = ["other", "beside"].map(|role| Netns::add(format!("weir-{name}-{role}")));
    let (other, beside) = (other?, beside?);
    let others = [
        (OTHERS, End { netns: &other, device: "o0" }),
        (VlanTag::NONE, End { netns: &beside, device: "b0" }),
    ];
    let cable = bed.plug_trunk(OURS, &others)?;
    ipv6::add_to(&bed)?;
    ipv6::serve_echo(&mut bed)?;
    for (netns, device, addresses) in [
        (&other, "o0", [format!("{ROUTER}/24"), format!("{ROUTER6}/64")]),
        (&beside, "b0", ["192.0.2.9/24".into(), "2001:db8:2::9/64".into()]),
    ] {
        netns.allow_ipv6(&[device])?;
        for address in addresses {
            netns.ip(&["addr", "add", &address, "dev", device])?;
        }
        netns.ip(&["route", "add", "198.51.100.0/24", "dev", device])?;
        netns.ip(&["-6", "route", "add", "2001:db8:100::/64", "dev", device])?;
    }
    Ok(Trunk { bed, other, beside, cable })
}

impl Trunk {
    fn finish(self, weir: weir_netns_tests::weir::Weir) -> Tested {
        self.bed.finish(weir)?;
        drop(self.cable);
        self.other.delete()?;
        Ok(self.beside.delete()?)
    }
}

fn echo() -> [Service; 2] {
    let echo = Service { protocol: Protocol::TcpUdp, ..Service::echo(1..=1) };
    [echo.clone(), echo.on_ipv6("echo6")]
}

#[test]
fn a_vlan_of_an_xdp_uplink_is_served_and_untagged_frames_are_the_hosts() -> Tested {
    vlan_is_served("vlan-xdp", Hook::Xdp)
}

#[test]
fn a_vlan_of_a_tc_uplink_is_served_and_untagged_frames_are_the_hosts() -> Tested {
    vlan_is_served("vlan-tc", Hook::Tc)
}

fn vlan_is_served(name: &'static str, hook: Hook) -> Tested {
    let mut trunk = trunk(name)?;
    let server = Echo::tcp_at(&trunk.bed.host, (std::net::Ipv6Addr::UNSPECIFIED, HOST_PORT).into())?;
    trunk.bed.keep(server);
    let config = Config::new(hook, echo()).with_own_addresses().with_uplink("vlan", OURS.0);
    let weir = trunk.bed.weir(&config)?;

    for vip in VIPS {
        let to = SocketAddr::new(vip, 7);
        let words: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
        assert!(Conversation::begin(&trunk.bed.client, to)?.exchange_bulk(&words)?, "{vip}");
        for len in [1, 1_400, 4_000] {
            assert_eq!(ask_by_udp(&trunk.bed.client, to, &words[..len])?, &words[..len], "{vip}");
        }
        assert!(ping(&trunk.bed.client, vip, 56)?.is_well, "{vip}");
        // The VIP is one of the VLAN alone.
        assert!(!ping(&trunk.beside, vip, 56)?.is_well, "{vip}");
        assert!(!ping(&trunk.other, vip, 56)?.is_well, "{vip}");
    }
    for host in [IpAddr::V4(HOST), IpAddr::V6(HOST6)] {
        let to = SocketAddr::new(host, HOST_PORT);
        assert!(Conversation::begin(&trunk.beside, to)?.exchange(b"untagged")?, "{host}");
        assert!(ping(&trunk.beside, host, 56)?.is_well, "{host}");
    }
    let counters = weir.counters()?;
    assert!(counters.of(Reason::OtherVlan) > 0 && counters.of(Reason::UnknownInterface) > 0, "{counters:#?}");
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    trunk.finish(weir)
}

#[test]
fn two_vlans_with_the_same_addresses_on_an_xdp_uplink_do_not_mix() -> Tested {
    vlans_do_not_mix("mix-xdp", Hook::Xdp)
}

#[test]
fn two_vlans_with_the_same_addresses_on_a_tc_uplink_do_not_mix() -> Tested {
    vlans_do_not_mix("mix-tc", Hook::Tc)
}

fn vlans_do_not_mix(name: &'static str, hook: Hook) -> Tested {
    let trunk = trunk(name)?;
    let config = Config::new(hook, echo()).with_own_addresses().with_uplink("vlan", OURS.0);
    let weir = trunk.bed.weir(&Config { more: another_vpc(&trunk.bed), ..config })?;

    // The same sender, the same port, the same VIP, at the same time.
    let to = SocketAddrV4::new(VIP, 7);
    let mut ours = Conversation::begin_from(&trunk.bed.router, PORT, to)?;
    let mut others = Conversation::begin_from(&trunk.other, PORT, to)?;
    for words in [&b"first"[..], b"second"] {
        assert!(ours.exchange(words)? && others.exchange(words)?);
    }
    assert_eq!([&ours, &others].map(|end| end.local_address().ok()), [Some((ROUTER, PORT).into()); 2]);
    for netns in [&trunk.bed.router, &trunk.other] {
        assert!(Conversation::begin(netns, SocketAddr::new(VIPS[1], 7))?.exchange(b"six")?);
    }
    let accepted = |n: usize| snmp(&trunk.bed.sandboxes[n].netns, "Tcp", "PassiveOpens");
    assert_eq!([accepted(0)?, accepted(1)?], [2, 2]);
    let shown = weir.try_command(&["get", "interfaces"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let macs = [trunk.bed.router.mac("rh0")?, trunk.other.mac("o0")?];
    assert!(macs.iter().all(|mac| shown.contains(&format!("{ROUTER} {mac}"))), "{macs:?} in\n{shown}");
    trunk.finish(weir)
}

/// The second VPC, on the other VLAN, with everything as in the first one, and the second sandbox.
fn another_vpc(bed: &Testbed) -> String {
    let own = Config::new(Hook::Tc, []).with_own_addresses();
    let keys: String = own.uplink.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let listener = |name: &str, address: IpAddr| {
        format!(
            "\n[[listener]]\nname = \"{name}\"\nvpc = \"other\"\naddress = \"{address}\"\nport = 7\n\
             protocol = \"tcp\"\ntarget_group = \"other\"\n"
        )
    };
    format!(
        "\n[[vpc]]\nname = \"other\"\n\n[[uplink]]\ninterface = \"hu0\"\nvpc = \"other\"\nvlan = {}\n{keys}\n\
         [[target_group]]\nname = \"other\"\nport = 7007\n\n  [[target_group.target]]\n  name = \"sandbox-2\"\n  \
         netns = \"{}\"\n  interface = \"eth0\"\n{}{}",
        OTHERS.0,
        bed.sandboxes[1].netns.name(),
        listener("other", VIPS[0]),
        listener("other6", VIPS[1]),
    )
}
