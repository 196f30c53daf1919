//! Trouble on a script: other CPUs that come in between, tables without room, packets that refuse a write.
//!
//! They wrap what they spoil, so that the model and the frames stay free of flags.

use crate::model::View;
use crate::world::Change;
use std::cell::RefCell;
use std::collections::VecDeque;
use weir_path::Reason;
use weir_path::addr::InterfaceId;
use weir_path::checksum::{Delta, mend_l4};
use weir_path::flow::{Flow, FlowKey};
use weir_path::hash::HashKey;
use weir_path::packet::{Frame, Packet, Refused, VlanTag};
use weir_path::tables::{
    Claim, Counters, Flows, Group, GroupId, Half, Interface, Interfaces, Listener, Listeners, Target, Vip,
};

/// What goes wrong around one claim.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Trouble {
    /// What another CPU does just before it.
    pub before: Vec<Change>,
    /// Whether the table says that it is full, though it isn't.
    pub no_room: bool,
    /// What another CPU does just after it.
    pub after: Vec<Change>,
}

/// Tables with a script of trouble: one entry a claim, then none.
#[derive(Debug)]
pub struct FaultyTables<'a> {
    inner: View<'a>,
    script: RefCell<VecDeque<Trouble>>,
}

impl<'a> FaultyTables<'a> {
    /// `inner`, with this trouble.
    #[must_use]
    pub fn new(inner: View<'a>, script: impl IntoIterator<Item = Trouble>) -> Self {
        Self { inner, script: RefCell::new(script.into_iter().collect()) }
    }

    /// Why the last packet left.
    #[must_use]
    pub fn last_reason(&self) -> Option<Reason> {
        self.inner.last_reason()
    }
}

impl Flows for FaultyTables<'_> {
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.inner.flow(key)
    }

    fn claim(&self, key: &FlowKey, flow: &Flow) -> Claim {
        let trouble = self.script.borrow_mut().pop_front().unwrap_or_default();
        trouble.before.iter().for_each(|change| self.inner.interfere(change));
        let claim = if trouble.no_room { Claim::NoRoom } else { self.inner.claim(key, flow) };
        trouble.after.iter().for_each(|change| self.inner.interfere(change));
        claim
    }

    fn release(&self, key: &FlowKey) {
        self.inner.release(key);
    }
}

impl Interfaces for FaultyTables<'_> {
    fn arrival(&self) -> Option<&Interface> {
        self.inner.arrival()
    }

    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.inner.interface(id)
    }
}

impl Listeners for FaultyTables<'_> {
    fn live(&self) -> Half {
        self.inner.live()
    }

    fn hash_key(&self, half: Half) -> HashKey {
        self.inner.hash_key(half)
    }

    fn is_vip(&self, half: Half, vip: &Vip) -> bool {
        self.inner.is_vip(half, vip)
    }

    fn listener(&self, half: Half, listener: &Listener) -> Option<GroupId> {
        self.inner.listener(half, listener)
    }

    fn group(&self, half: Half, id: GroupId) -> Option<Group> {
        self.inner.group(half, id)
    }

    fn cell(&self, half: Half, index: u32) -> Option<u16> {
        self.inner.cell(half, index)
    }

    fn target(&self, half: Half, index: u32) -> Option<Target> {
        self.inner.target(half, index)
    }
}

impl Counters for FaultyTables<'_> {
    fn entered(&self, packets: u32) {
        self.inner.entered(packets);
    }

    fn left(&self, why: Reason, packets: u32) {
        self.inner.left(why, packets);
    }

    fn sent(&self, to: InterfaceId, packets: u32) {
        self.inner.sent(to, packets);
    }
}

/// A packet as an skb may be: of several segments, with a tag beside the bytes, with a partial checksum, or
/// in a state where the kernel refuses to change it.
#[derive(Debug)]
pub struct Skb<'a> {
    /// The bytes.
    pub frame: Frame<'a>,
    /// How many packets this is on the wire.
    pub segments: u32,
    /// The tag that the kernel keeps beside the bytes.
    pub vlan: Option<VlanTag>,
    /// Whether the L4 checksum field holds the sum of the pseudo header alone.
    pub is_partial: bool,
    /// How many changes go through before one is refused; `None`: all of them.
    pub changes_left: Option<u32>,
}

impl<'a> Skb<'a> {
    /// An ordinary packet.
    #[must_use]
    pub fn new(frame: Frame<'a>) -> Self {
        Self { frame, segments: 1, vlan: None, is_partial: false, changes_left: None }
    }

    fn spend_a_change(&mut self) -> Result<(), Refused> {
        match &mut self.changes_left {
            None => Ok(()),
            Some(0) => Err(Refused),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Packet for Skb<'_> {
    fn length(&self) -> usize {
        self.frame.length()
    }

    fn segments(&self) -> u32 {
        self.segments
    }

    fn vlan(&self) -> Option<VlanTag> {
        self.vlan
    }

    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.frame.read(at)
    }

    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Refused> {
        self.spend_a_change()?;
        self.frame.write(at, bytes)
    }

    fn fix_l4(&mut self, at: usize, delta: Delta, zero_means_none: bool) -> Result<(), Refused> {
        self.spend_a_change()?;
        let field = self.frame.read(at).ok_or(Refused)?;
        if self.is_partial {
            // The field is an uncomplemented sum: adding the change of the pseudo header mends it.
            let [a, b] = field;
            let [c, d] = mend_l4([!a, !b], Delta { pseudo: delta.pseudo, ..Delta::default() }, false);
            return self.frame.write(at, [!c, !d]);
        }
        self.frame.write(at, mend_l4(field, delta, zero_means_none))
    }

    fn put_l4(&mut self, at: usize, parts: Delta) -> Result<(), Refused> {
        self.spend_a_change()?;
        let field = if self.is_partial { parts.pseudo.fold() } else { parts.whole().checksum() };
        self.frame.write(at, field)
    }

    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        self.spend_a_change()?;
        // The kernel makes one packet of it (net/core/filter.c, `bpf_skb_change_tail`).
        self.segments = 1;
        self.frame.resize(len)
    }
}
