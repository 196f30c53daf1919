//! The flow core: both directions of a flow made, followed, aged and ended as one, in one program run each.
//!
//! ```text
//!   packet ─► key ─► entry (hash, one a direction)          record (array, one a flow)
//!                      stamp: whose, due when ────────────►   life: phase, incarnation, last seen
//!                      key again, rewrite, next hop           both keys
//!                      packets, bytes                         opened, timeout, place among the half-open
//! ```
//!
//! A known packet reads its entry and nothing else: one cold access. The record is looked at when the stamp
//! says so, a few times in a timeout, and by TCP's SYN, FIN and RST.
//!
//! | step | file |
//! |---|---|
//! | find a direction, follow the flow | [`follow`] |
//! | TCP's handshake and end, UDP's answer, what times out when | [`state`] |
//! | enter both directions or neither | [`open`] |
//! | records, the budget of half-open flows, taking back what is over | [`room`] |
//! | the ports of an address: finding a free one, giving it back | [`ports`] |
//! | remove both directions, once | [`end`] |
//! | what the core needs from its tables | [`store`] |
//!
//! The rules, each kept by a test that fails without it:
//! 1. An entry is believed only if its stamp is the same before and after it was read, and its key is the
//!    one looked up: the kernel gives a removed element to another flow at once.
//! 2. Only the run that moved the life word to *ending* removes keys, both, and the record is free only
//!    afterwards. So nobody can take out a key that is another flow's by now.
//! 3. A claim is made, taken, or finds no room; no room never looks like taken.
//! 4. Who loses the race for a key follows the winner only if that is the same flow.

pub mod datagram;
pub mod end;
pub mod event;
pub mod follow;
pub mod open;
pub mod ports;
pub mod room;
pub mod state;
pub mod store;

mod entry;
mod key;
mod record;

pub use datagram::{Datagram, Datagram4, Datagram6};
pub use entry::{Counts, Entry4, Entry6, Hop, Stamp};
pub use key::{Ends, Key, Key4, Key6, Part};
pub use record::{Account, Life, Meta, Phase, PortUse, Record4, Record6, RecordId, Side};

use crate::addr::{Address, Ip4, Ip6};

/// IPv4 or IPv6: how its flows are kept.
pub trait Family: Copy + 'static {
    /// Its addresses.
    type Address: Address;
    /// Its keys.
    type Key: Key<Address = Self::Address>;
    /// Where a datagram's fragments go.
    type Datagram: Datagram<Address = Self::Address>;
}

/// IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V6;

impl Family for V4 {
    type Address = Ip4;
    type Key = Key4;
    type Datagram = Datagram4;
}

impl Family for V6 {
    type Address = Ip6;
    type Key = Key6;
    type Datagram = Datagram6;
}
