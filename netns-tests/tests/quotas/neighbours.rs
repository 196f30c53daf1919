//! One that takes all it may, and more, while others open connections: they fail in nothing, and how long they take is beside
//! how long they took without it. Then the same without a quota, for comparison.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use weir_netns_tests::busy::{Visited, Visits};
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{Connector, V4, active, outwards};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::flood::{self, Flood};
use weir_netns_tests::forge::{Between, flags};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::quotas::{Held, Kind, Whose, tenant};
use weir_netns_tests::servers::{ECHO_PORT, Echo};
use weir_netns_tests::topology::{CLIENT, SANDBOX, Testbed, Topology};
use weir_netns_tests::waiting::PATIENCE;
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// What the machine of a test can send beside everything else it does.
const A_SECOND: u32 = 10_000;
const SERVER: SocketAddrV4 = SocketAddrV4::new(CLIENT, ECHO_PORT);

/// What others do.
type Meanwhile<'a> = dyn FnMut() -> Result<(), Error> + 'a;

/// Who takes more than its share: of what, and how much each sandbox may have where there is a quota.
struct Greed {
    name: &'static str,
    kind: Kind,
    most: u32,
    /// How many connections each neighbour makes meanwhile.
    visits: u64,
    /// What of the dataplane is scarce, so that there is something to take.
    scarce: fn(Config) -> Config,
    /// Takes what it gets while others do something, holds it for as long, and says what it was.
    take: fn(&Netns, &mut Meanwhile<'_>) -> Result<String, Error>,
}

/// A bed of three sandboxes; the third is of another tenant, and so has an ENI of its own.
fn bed(greed: &Greed) -> Result<(Testbed, Weir), Failure> {
    let mut bed = Topology { name: greed.name, sandboxes: 3 }.build()?;
    let servers = [Echo::tcp(&bed.client, ECHO_PORT)?, Echo::udp(&bed.client, ECHO_PORT)?];
    servers.into_iter().for_each(|server| bed.keep(server));
    flood::route_back(&bed)?;
    // 1,024 ports on the host's own address.
    bed.host.sysctl("net.ipv4.ip_local_port_range", "2048 65535")?;
    let weir = bed.weir(&config(&bed, greed, &[(Whose::Sandbox, greed.kind, greed.most)]))?;
    assert_eq!(active(&weir)?.len(), 2, "two tenants, two ENIs");
    Ok((bed, weir))
}

fn config(bed: &Testbed, greed: &Greed, quotas: &[(Whose, Kind, u32)]) -> Config {
    let theirs = format!(
        "\n[[connector]]\nname = \"theirs\"\ntenant = \"other\"\nsubnets = [\"out\"]\n\
         \n[[slot]]\nnetns = \"{}\"\ninterface = \"eth0\"\nconnector = \"theirs\"\n",
        bed.sandboxes[2].netns.name()
    );
    let more = tenant("acme", quotas) + &tenant("other", quotas) + &theirs;
    let ours = Connector::of(1..=2, V4).with("rest", 0);
    let ours = if greed.kind == Kind::Ports { ours.of_the_host() } else { ours };
    (greed.scarce)(Config { more, ..outwards(Hook::Xdp, ours) })
}

/// What the neighbours noticed, of the same tenant and of another one.
struct Noticed([Visited; 2]);

impl Noticed {
    /// Both open so many connections, and more until the slower one has made its own.
    fn of(bed: &Testbed, visits: u64) -> Result<Self, Error> {
        let both = [1, 2].map(|it| Visits::begin(&bed.sandboxes[it].netns, SocketAddr::from(SERVER)));
        both.iter().try_for_each(|it| it.wait_for(visits, PATIENCE))?;
        let [same, other] = both.map(Visits::end);
        Ok(Self([same?, other?]))
    }

    fn failed(&self) -> u64 {
        self.0.iter().map(Visited::failed).sum()
    }

    fn show(&self, what: &str, alone: Option<&Self>) {
        for (nth, who) in ["of the same tenant", "of another tenant"].into_iter().enumerate() {
            let it = &self.0[nth];
            let p99 = it.p99();
            let ratio = alone.map(|alone| p99.as_secs_f64() / alone.0[nth].p99().as_secs_f64());
            println!(
                "{what}, a neighbour {who}: {} served, {} failed, p99 {p99:.2?}{}",
                it.served,
                it.failed(),
                ratio.map(|ratio| format!(", {ratio:.2} times as long as alone")).unwrap_or_default(),
            );
        }
    }
}

fn harms_nobody(greed: &Greed) -> Tested {
    let (bed, mut weir) = bed(greed)?;
    let alone = Noticed::of(&bed, greed.visits)?;
    alone.show("alone", None);

    let (beside, at_its_limit) = greed.besides(&bed, &weir, &format!("quota {}", greed.most), &alone)?;
    assert_eq!(beside.failed(), 0, "{:?}", beside.0.each_ref().map(|it| &it.failures));
    // Some of the flows end at every moment.
    let held = at_its_limit.of(greed.kind);
    assert!(held <= greed.most.into() && held > u64::from(greed.most) / 2, "{at_its_limit:?}");
    assert!(at_its_limit.refused(greed.kind) > 0, "{at_its_limit:?}");
    let unserved_before = unserved(&weir)?;
    assert_eq!(unserved_before, 0, "whoever may have more finds room");

    weir.reconfigure(&bed, &config(&bed, greed, &[]))?;
    greed.besides(&bed, &weir, "no quota", &alone)?;
    println!("without a quota {} first packets found no room", unserved(&weir)?);
    Ok(bed.finish(weir)?)
}

impl Greed {
    /// What the neighbours notice while it is at work, and what it holds meanwhile.
    fn besides(
        &self,
        bed: &Testbed,
        weir: &Weir,
        quota: &str,
        alone: &Noticed,
    ) -> Result<(Noticed, Held), Error> {
        let greedy = &bed.sandboxes[0];
        let mut seen = None;
        let said = (self.take)(&greedy.netns, &mut || {
            let noticed = Noticed::of(bed, self.visits)?;
            seen = Some((noticed, Held::by_sandbox(weir, greedy)?));
            Ok(())
        })?;
        let never = || Error::Missing { what: "what the neighbours noticed".into(), by_hand: said.clone() };
        let (noticed, held) = seen.ok_or_else(never)?;
        noticed.show(&format!("beside {said}, {quota}"), Some(alone));
        println!("it held: {held:?}");
        Ok((noticed, held))
    }
}

/// First packets for which there was no room, no place, or no port.
fn unserved(weir: &Weir) -> Result<u64, Error> {
    let counters = weir.counters()?;
    let reasons = [
        Reason::AnsweredNoRoom,
        Reason::HalfOpenFull,
        Reason::FlowTableFull,
        Reason::AnsweredPortsExhausted,
        Reason::PortsExhausted,
    ];
    Ok(reasons.into_iter().map(|reason| counters.of(reason)).sum())
}

#[test]
fn a_syn_flood_at_its_quota_of_half_open_flows_costs_its_neighbours_no_connection() -> Tested {
    harms_nobody(&Greed {
        name: "greedy-syn",
        kind: Kind::HalfOpen,
        most: 256,
        visits: 300,
        scarce: |config| Config { max_flows: 1 << 17, max_half_open: Some(1024), ..config },
        take: |netns, meanwhile| {
            flood(netns, "a flood of SYNs", 20_000, meanwhile, |n| {
                let nobody = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n);
                let port = 1024 + (n % 60_000) as u16;
                Between::V4(SANDBOX, nobody).tcp([port, 80], [n, 0], flags::SYN, &[])
            })
        },
    })
}

#[test]
fn thirty_thousand_answered_flows_at_a_quota_of_flows_cost_its_neighbours_no_connection() -> Tested {
    harms_nobody(&Greed {
        name: "greedy-udp",
        kind: Kind::Flows,
        most: 2_000,
        visits: 300,
        scarce: |config| config,
        take: |netns, meanwhile| {
            flood(netns, "a flood of answered datagrams", 30_000, meanwhile, |n| {
                let port = 1024 + (n % 60_000) as u16;
                Between::V4(SANDBOX, CLIENT).udp([port, ECHO_PORT], b"flood")
            })
        },
    })
}

/// A flood of so many packets; others do something as soon as it has grown to its full height.
fn flood(
    netns: &Netns,
    what: &str,
    packets: u32,
    meanwhile: &mut Meanwhile<'_>,
    packet: fn(u32) -> Vec<u8>,
) -> Result<String, Error> {
    let flood = Flood::of(netns, SERVER, A_SECOND, move |n| Some(packet(n)))?;
    flood.wait_for(packets / 2)?;
    meanwhile()?;
    flood.wait_for(packets)?;
    let flood = flood.stop();
    Ok(format!("{what}: {}, {:.0}/s", flood.packets, flood.per_second()))
}

#[test]
fn a_hoarder_of_ports_towards_one_remote_at_its_quota_costs_its_neighbours_no_connection() -> Tested {
    harms_nobody(&Greed {
        name: "greedy-ports",
        kind: Kind::Ports,
        most: 256,
        // A port is given back a second after its connection is over.
        visits: 60,
        scarce: |config| Config { timeouts: vec![("tcp_closing", 1)], ..config },
        take: |netns, meanwhile| {
            const WANTED: usize = 1_100;
            let connect = || (0..WANTED).filter_map(|_| TcpStream::connect(SERVER).ok()).collect::<Vec<_>>();
            let hoard = netns.enter(connect)?;
            meanwhile()?;
            Ok(format!("a hoarder who got {} of {WANTED} ports", hoard.len()))
        },
    })
}
