//! Two NATs in the same place: Weir, and the kernel's own. Packets are said on one side, and heard on the other.
//!
//! ```text
//!     client                  router                    host                            sb1 … sb5
//!   ┌───────────────────┐   ┌──────────────────┐     ┌───────────────────────────┐   ┌─────────────────────────┐
//!   │ 10.0.1.2 … .9     │   │      192.0.2.1   │     │  Weir, or nf_conntrack    │   │ Weir: all 169.254.100.2 │
//!   │ 2001:db8:1::2 … 9 ├───┤ rh0  192.0.2.77  ├─────┤ hu0  192.0.2.100,         ├───┤ kernel: each another    │
//!   │ beyond            │   │      heard here  │ mtu │      2001:db8:2::100      │   │ heard here              │
//!   └───────────────────┘   └──────────────────┘1400 └───────────────────────────┘   └─────────────────────────┘
//! ```
//!
//! Whoever is not the NAT is deaf: what arrives is heard at the device and then thrown away, so nothing but the test answers.
//!
//! | sandbox | with Weir | with the kernel |
//! |---|---|---|
//! | 1, 2 | one connector, all as it is where nothing is said, but for the times | `snat` to one address |
//! | 3 | `udp_mapping = "endpoint_independent"` | as 1 and 2 |
//! | 4 | four addresses | `snat` to four addresses |
//! | 5 | 128 ports | `snat` to 128 ports, of UDP |

mod flow;
mod kernel;
pub mod packet;
mod times;
mod weir;
mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::connectors::{BOTH, ENI, ENI6, NEIGHBOUR, NEIGHBOUR6, stand_on_the_link};
use crate::error::Error;
use crate::ipv6::{self, CLIENT6};
use crate::process;
use crate::topology::{CLIENT, ROUTER_DEVICE, Testbed, UPLINK};
use crate::waiting::{PATIENCE, until};
use crate::weir::Weir;

pub use flow::{Connection, Side};
pub use packet::{Heard, Packet, Trouble};
pub use times::Times;
use wire::{Ear, Mouth};

/// How many sandboxes there are.
const SANDBOXES: usize = 5;
/// How many addresses the client has, of each family.
const ADDRESSES: u8 = 8;
/// The longest packet that leaves.
pub const MTU: usize = 1400;
/// How many ports the fifth sandbox has.
pub const FEW_PORTS: usize = 128;

/// Which NAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Weir, by connectors.
    Weir,
    /// The kernel's own: nftables and nf_conntrack.
    Kernel,
}

/// Which addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Where a remote is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Beyond the gateway, by the nth address there: 0 to 7.
    Beyond(u8),
    /// On the link.
    Link,
}

/// A port, or an identifier, of a sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inside {
    /// Which sandbox, counted from 1.
    pub sandbox: usize,
    /// As it is inside.
    pub at: SocketAddr,
}

/// A NAT at work, with ears on both sides.
#[derive(Debug)]
pub struct Nat {
    /// Which one.
    pub kind: Kind,
    /// How long its flows may be silent.
    pub times: Times,
    weir: Option<Weir>,
    outside: Ear,
    insides: Vec<Ear>,
    mouths: Mouths,
    next_port: AtomicU16,
    next_word: AtomicU32,
    bed: Testbed,
}

#[derive(Debug)]
struct Mouths {
    client: Mouth,
    router: Mouth,
    sandboxes: Vec<Mouth>,
}

impl Nat {
    /// Builds everything, and waits until every sandbox reaches every place.
    pub fn begin(kind: Kind, name: &'static str) -> Result<Self, Error> {
        let bed = ipv6::dual(name, SANDBOXES)?;
        more_addresses(&bed)?;
        // Before anything is set.
        let times = Times::of(kind, &bed)?;
        bed.host.ip(&["link", "set", UPLINK, "mtu", &MTU.to_string()])?;
        let weir = match kind {
            Kind::Weir => Some(weir::begin(&bed)?),
            Kind::Kernel => {
                kernel::begin(&bed)?;
                None
            }
        };
        let sandboxes = || bed.sandboxes.iter().map(|it| &it.netns);
        [&bed.client, &bed.router].into_iter().chain(sandboxes()).try_for_each(deafen)?;
        let nat = Self {
            kind,
            times,
            weir,
            outside: Ear::at(&bed.router, ROUTER_DEVICE)?,
            insides: sandboxes().map(|it| Ear::at(it, "eth0")).collect::<Result<_, _>>()?,
            mouths: Mouths {
                client: Mouth::of(&bed.client)?,
                router: Mouth::of(&bed.router)?,
                sandboxes: sandboxes().map(Mouth::of).collect::<Result<_, _>>()?,
            },
            next_port: AtomicU16::new(20_000),
            next_word: AtomicU32::new(1),
            bed,
        };
        nat.warm_up()?;
        Ok(nat)
    }

    /// Neighbours are found, so that no vector's first packet has to wait.
    fn warm_up(&self) -> Result<(), Error> {
        for (sandbox, family) in (1..=SANDBOXES).flat_map(|it| FAMILIES.map(|family| (it, family))) {
            for place in [Place::Beyond(0), Place::Link] {
                let (inside, remote) = (self.inside(sandbox, family), self.remote(place, family));
                let what = format!("a datagram of sandbox {sandbox} to {remote} by {:?}", self.kind);
                until(
                    &what,
                    PATIENCE,
                    || self.log(),
                    || Ok(self.datagram(inside, remote)?.is_some().then_some(())),
                )?;
            }
        }
        Ok(())
    }

    fn log(&self) -> String {
        self.weir.as_ref().map(|it| format!("{:#?}\n{}", it.counters(), it.log())).unwrap_or_default()
    }

    /// Takes everything down, and says what is left.
    pub fn finish(self) -> Result<(), Error> {
        let Self { weir, outside, insides, mouths, bed, .. } = self;
        drop((outside, insides, mouths));
        match weir {
            Some(weir) => weir::is_in_order(&weir).and(bed.finish(weir)),
            None => bed.finish_without_weir(),
        }
    }

    /// A port of a sandbox that nobody had before.
    #[must_use]
    pub fn inside(&self, sandbox: usize, family: Family) -> Inside {
        self.inside_at(sandbox, family, self.fresh_port())
    }

    /// A port of a sandbox.
    #[must_use]
    pub fn inside_at(&self, sandbox: usize, family: Family, port: u16) -> Inside {
        let address = match self.kind {
            Kind::Weir => weir::sandbox(family),
            Kind::Kernel => kernel::sandbox(sandbox, family),
        };
        Inside { sandbox, at: SocketAddr::new(address, port) }
    }

    /// A port of a remote that nobody had before.
    #[must_use]
    pub fn remote(&self, place: Place, family: Family) -> SocketAddr {
        self.remote_at(place, family, self.fresh_port())
    }

    /// A port of a remote.
    #[must_use]
    pub fn remote_at(&self, place: Place, family: Family, port: u16) -> SocketAddr {
        let address = match (place, family) {
            (Place::Beyond(n), Family::V4) => IpAddr::V4(beyond(n)),
            (Place::Beyond(n), Family::V6) => beyond6(n).into(),
            (Place::Link, Family::V4) => NEIGHBOUR.into(),
            (Place::Link, Family::V6) => NEIGHBOUR6.into(),
        };
        SocketAddr::new(address, port)
    }

    /// The address that the first two sandboxes leave from.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => ENI.into(),
            Family::V6 => ENI6.into(),
        }
    }

    /// A port that nobody had before.
    pub fn fresh_port(&self) -> u16 {
        self.next_port.fetch_add(1, Ordering::Relaxed)
    }

    /// Words that nobody said before.
    pub fn fresh_words(&self) -> Vec<u8> {
        format!("words no. {:08}", self.next_word.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    /// Numbers that no connection began with before.
    fn fresh_numbers(&self) -> [u32; 2] {
        let fresh = || self.next_word.fetch_add(1, Ordering::Relaxed) << 16;
        [fresh(), fresh()]
    }

    /// A sandbox says something.
    pub fn say_inside(&self, sandbox: usize, packet: &[u8], to: IpAddr) -> Result<(), Error> {
        self.mouths.sandboxes.get(sandbox - 1).map_or(Ok(()), |it| it.say(packet, to))
    }

    /// A remote says something: whoever has the address that it comes from.
    pub fn say_outside(&self, packet: &[u8], [from, to]: [IpAddr; 2]) -> Result<(), Error> {
        let is_on_link = [IpAddr::V4(NEIGHBOUR), NEIGHBOUR6.into()].contains(&from);
        if is_on_link { &self.mouths.router } else { &self.mouths.client }.say(packet, to)
    }

    /// The first packet like that on the wire, now or soon. Its checksums have to be right.
    pub fn hear_outside(&self, is_meant: impl Fn(&Heard) -> bool) -> Option<Heard> {
        self.outside.hear(|it| is_meant(it) && it.is_sound())
    }

    /// The same in a sandbox.
    pub fn hear_inside(&self, sandbox: usize, is_meant: impl Fn(&Heard) -> bool) -> Option<Heard> {
        self.insides.get(sandbox - 1)?.hear(|it| is_meant(it) && it.is_sound())
    }

    /// The same, whatever its checksums are.
    pub fn hear_broken_inside(&self, sandbox: usize, is_meant: impl Fn(&Heard) -> bool) -> Option<Heard> {
        self.insides.get(sandbox - 1)?.hear(is_meant)
    }

    /// All packets like that on the wire so far.
    pub fn all_outside(&self, is_meant: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        self.outside.all(is_meant)
    }

    /// All packets like that in a sandbox so far.
    pub fn all_inside(&self, sandbox: usize, is_meant: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        self.insides.get(sandbox - 1).map(|it| it.all(is_meant)).unwrap_or_default()
    }

    /// Lets time pass: there is no event to wait for.
    pub fn pass_until(&self, due: Instant) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }

    /// Lets time pass, from now.
    pub fn pass(&self, time: Duration) {
        self.pass_until(Instant::now() + time);
    }

    /// From now on it says nothing by ICMP.
    pub fn hush(&mut self) -> Result<(), Error> {
        match &mut self.weir {
            Some(weir) => weir::hush(weir, &self.bed),
            None => kernel::hush(&self.bed.host),
        }
    }
}

/// The nth address of those beyond the gateway.
fn beyond(n: u8) -> Ipv4Addr {
    let [a, b, c, d] = CLIENT.octets();
    Ipv4Addr::new(a, b, c, d + n)
}

fn beyond6(n: u8) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(CLIENT6) + u128::from(n))
}

fn more_addresses(bed: &Testbed) -> Result<(), Error> {
    for n in 1..ADDRESSES {
        bed.client.ip(&["addr", "add", &format!("{}/24", beyond(n)), "dev", "c0"])?;
        bed.client.ip(&["addr", "add", &format!("{}/64", beyond6(n)), "dev", "c0", "nodad"])?;
    }
    stand_on_the_link(bed, BOTH)
}

/// What arrives in a namespace is thrown away once it was heard, but for what neighbours of IPv6 say.
fn deafen(netns: &crate::netns::Netns) -> Result<(), Error> {
    const RULES: &str = "table inet deaf { chain arriving { type filter hook input priority 0; policy drop; \
                         icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }\n}";
    process::output(netns.command("nft").arg(RULES)).map(drop)
}
