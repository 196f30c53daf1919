//! Which ports of which ENIs' addresses are in use, towards whom: read from the flow tables.

use crate::pool::{Moment, Ports, Remote, Usage};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use weir_dataplane::{Error, Tables};
use weir_path::addr::{Ip6, Zone};
use weir_path::flow::{Ends, PortUse};
use weir_path::tables::Vip;

/// How often each address had no port towards each remote.
pub(crate) type Refusals = BTreeMap<(Vip, Remote), u64>;

/// Now, as the pool counts time.
pub(crate) fn now() -> Moment {
    // A clock before 1970 is one that was not set yet.
    Moment(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// The ports in use. Programs are not disturbed.
pub(crate) fn usage(tables: &Tables) -> Usage {
    let mut usage = Usage::new(now());
    for flow in tables.flows().iter().filter(|flow| flow.port != PortUse::NONE) {
        let [_, zone] = flow.zones;
        let (address, remote) = places(&flow.reply, flow.protocol, zone);
        usage.live(address, remote);
    }
    for it in tables.resting() {
        let (address, remote) = places(&it.reply, it.protocol, it.zone);
        usage.resting(address, remote);
    }
    usage
}

/// The crowded remotes alone, as their sets know them: cheap, however many flows there are. A set that was made late has
/// learnt of some ports only. What rests in it counts as live.
pub(crate) fn crowd(tables: &Tables) -> Usage {
    let mut usage = Usage::new(now());
    for it in tables.crowded() {
        let (address, remote) = places(&it.towards, it.protocol, it.zone);
        usage.towards.entry(address).or_default().insert(remote, Ports { live: it.used, resting: 0 });
    }
    usage
}

/// The refusals since the tables were made.
pub(crate) fn refusals(tables: &Tables) -> Result<Refusals, Error> {
    let mut refusals = Refusals::new();
    for it in tables.refused()? {
        *refusals.entry(places(&it.towards, it.protocol, it.zone)).or_default() += it.count;
    }
    Ok(refusals)
}

/// Whose port it is, and towards whom: as a reply's packet says it.
fn places(reply: &Ends<Ip6>, protocol: u8, zone: Zone) -> (Vip, Remote) {
    (Vip { address: reply.dst, zone }, Remote { address: reply.src, port: reply.sport, protocol })
}
