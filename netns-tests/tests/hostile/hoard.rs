//! A sandbox that takes every port towards a remote that it gets, and holds them. Whoever goes elsewhere, or leaves from other
//! addresses, does not notice.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ─┬─ sb1   hoards ┐ one connector, and so one ENI: 128 ports towards each remote
//!     echo    echo on                    ├─ sb2          ┘
//!             the link                   └─ sb3   another tenant's, which has an ENI of its own
//! ```
//!
//! Towards the hoarded remote nothing is left on the hoarder's own ENI, unless it has a quota.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{
    BOTH, Connector, SERVERS, active, outwards, ports, serve_echo, stand_on_the_link,
};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::ipv6;
use weir_netns_tests::netns::Netns;
use weir_netns_tests::quotas::{self, Whose, tenant};
use weir_netns_tests::talk::{Conversation, any_port, ask_by_udp, refusal_by_tcp};
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::Testbed;
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

use crate::is_at_rest;

/// How many ports the host leaves alone: two blocks.
const PORTS: usize = 128;

/// Hoarded: of a server beyond the gateway, by each family.
const HOARDED: [SocketAddr; 2] = [SERVERS[0], SERVERS[1]];

/// Two sandboxes on the host's addresses, with few ports; the third on an ENI of another tenant. With more to be configured.
fn bed(name: &'static str, more: &str) -> Result<(Testbed, Weir), Failure> {
    let mut bed = ipv6::dual(name, 3)?;
    stand_on_the_link(&bed, BOTH)?;
    serve_echo(&mut bed)?;
    bed.host.sysctl("net.ipv4.ip_local_port_range", "1152 65535")?;
    let theirs = format!(
        "\n[[connector]]\nname = \"theirs\"\ntenant = \"other\"\nsubnets = [\"out\"]\n\
         \n[[slot]]\nnetns = \"{}\"\ninterface = \"eth0\"\nconnector = \"theirs\"\n",
        bed.sandboxes[2].netns.name()
    );
    let ours = outwards(Hook::Xdp, Connector::of(1..=2, BOTH).of_the_host());
    let weir = bed.weir(&Config { more: theirs + more, ..ours })?;
    assert_eq!(active(&weir)?.len(), 2, "two tenants, two ENIs");
    Ok((bed, weir))
}

#[test]
fn who_hoards_every_port_towards_a_remote_takes_nothing_from_those_who_go_elsewhere() -> Tested {
    let (bed, weir) = bed("hoard", "")?;
    let [hoarder, neighbour, stranger] = [0, 1, 2].map(|it| &bed.sandboxes[it].netns);
    let mut before =
        SERVERS.map(|to| Conversation::begin(neighbour, to)).into_iter().collect::<Result<Vec<_>, _>>()?;

    let hoard = HOARDED.map(|to| Hoard::begin(hoarder, to));
    let hoard = hoard.into_iter().collect::<Result<Vec<_>, _>>()?;

    let taken: Vec<_> = hoard.iter().map(|it| (it.connections.len(), it.mappings.len())).collect();
    println!("hoarded of each family, connections and datagrams' ports: {taken:?} of {PORTS}");
    // The neighbour has one of each remote's.
    assert_eq!(taken, [(PORTS - 1, PORTS); 2]);
    for talk in &mut before {
        assert!(talk.exchange(b"the neighbour's own")?);
    }
    others_go_on(neighbour, &SERVERS[2..])?;
    others_go_on(stranger, &SERVERS)?;
    // Nothing is left towards what is hoarded, and that is said at once.
    for to in HOARDED {
        assert_eq!(refusal_by_tcp(neighbour, to)?, Some(ErrorKind::ConnectionRefused), "{to}");
        // Another port of the same server's is another remote.
        assert_eq!(refusal_by_tcp(neighbour, (to.ip(), 9).into())?, Some(ErrorKind::ConnectionRefused));
    }
    is_at_rest(&weir)?;
    let counters = weir.counters()?;
    println!(
        "refused: {}, ports live, resting and refused: {:?}",
        counters.of(Reason::AnsweredPortsExhausted),
        ports(&weir)?
    );
    drop(hoard);
    Ok(bed.finish(weir)?)
}

#[test]
fn who_hoards_ports_at_its_quota_leaves_the_others_to_its_neighbours_towards_the_same_remote_too() -> Tested {
    const QUOTA: u32 = 64;
    let quota = tenant("acme", &[(Whose::Sandbox, quotas::Kind::Ports, QUOTA)]) + &tenant("other", &[]);
    let (bed, weir) = bed("hoard-quota", &quota)?;
    let [hoarder, neighbour, stranger] = [0, 1, 2].map(|it| &bed.sandboxes[it].netns);

    let hoard: Vec<_> = HOARDED
        .iter()
        .flat_map(|to| (0..PORTS).map_while(|_| Conversation::begin(hoarder, *to).ok()))
        .collect();

    assert_eq!(hoard.len(), QUOTA as usize, "of both families together");
    assert_eq!(refusal_by_tcp(hoarder, SERVERS[2])?, Some(ErrorKind::ConnectionRefused), "nor elsewhere");
    others_go_on(neighbour, &SERVERS)?;
    others_go_on(stranger, &SERVERS)?;
    assert_eq!(weir.counters()?.of(Reason::AnsweredPortsExhausted), 0);
    drop(hoard);
    Ok(bed.finish(weir)?)
}

/// TCP, UDP and ping to each of these.
fn others_go_on(netns: &Netns, to: &[SocketAddr]) -> Tested {
    for to in to.iter().copied() {
        assert!(Conversation::begin(netns, to)?.exchange(b"others")?, "{to}");
        assert_eq!(ask_by_udp(netns, to, b"others")?, b"others", "{to}");
        assert!(ping(netns, to.ip(), 56)?.is_well, "{to}");
    }
    Ok(())
}

/// All that one sandbox got towards a remote.
struct Hoard {
    connections: Vec<Conversation>,
    mappings: Vec<UdpSocket>,
}

impl Hoard {
    /// Takes until it is refused, and once more for good measure.
    fn begin(netns: &Netns, to: SocketAddr) -> Result<Self, Error> {
        let connections = (0..2 * PORTS).map_while(|_| Conversation::begin(netns, to).ok()).collect();
        let mappings = (0..PORTS).map(|_| {
            netns.enter(move || {
                let socket = UdpSocket::bind(any_port(to))?;
                socket.connect(to)?;
                socket.set_read_timeout(Some(weir_netns_tests::waiting::PATIENCE))?;
                socket.send(b"mine")?;
                socket.recv(&mut [0; 8])?;
                Ok::<_, std::io::Error>(socket)
            })
        });
        let mappings = mappings.filter_map(|it| it.ok()?.ok()).collect();
        Ok(Self { connections, mappings })
    }
}
