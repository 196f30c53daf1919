//! Trouble on a script: other CPUs that come in between, tables without room, packets that refuse a write.
//!
//! They watch or wrap what they spoil, so that the model and the frames stay free of flags.

use crate::model::watch::Answer;
use crate::model::{Model, Op, Watch};
use crate::packets::spoil;
use std::cell::{Cell, RefCell};
use std::fmt;
use weir_path::checksum::{Delta, Sum, mend_l4};
use weir_path::frame::Frame;
use weir_path::packet::{Packet, Refused, VlanTag};
use weir_path::tables::Claim;

/// One thing that goes wrong.
pub struct Trouble<'a> {
    op: Op,
    nth: usize,
    what: What<'a>,
}

/// What another CPU does.
type Deed<'a> = Box<dyn Fn(&Model) + 'a>;

enum What<'a> {
    Before(Deed<'a>),
    After(Deed<'a>),
    NoRoom,
}

impl<'a> Trouble<'a> {
    /// Just before the `nth` access of this kind, counted from 0, another CPU does something.
    #[must_use]
    pub fn before(op: Op, nth: usize, deed: impl Fn(&Model) + 'a) -> Self {
        Self { op, nth, what: What::Before(Box::new(deed)) }
    }

    /// Just after it, another CPU does something.
    #[must_use]
    pub fn after(op: Op, nth: usize, deed: impl Fn(&Model) + 'a) -> Self {
        Self { op, nth, what: What::After(Box::new(deed)) }
    }

    /// The `nth` claim hears that the table is full, though it isn't.
    #[must_use]
    pub fn no_room(nth: usize) -> Self {
        Self { op: Op::Claim, nth, what: What::NoRoom }
    }
}

impl fmt::Debug for Trouble<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.what {
            What::Before(_) => "before",
            What::After(_) => "after",
            What::NoRoom => "no room for",
        };
        write!(f, "{when} {:?} {}", self.op, self.nth)
    }
}

/// A watcher with a script of trouble.
#[derive(Debug)]
pub struct Script<'a> {
    model: &'a Model,
    troubles: Vec<Trouble<'a>>,
    seen: RefCell<Vec<Op>>,
    happened: Cell<usize>,
}

impl<'a> Script<'a> {
    /// This trouble, on these tables.
    #[must_use]
    pub fn new(model: &'a Model, troubles: impl IntoIterator<Item = Trouble<'a>>) -> Self {
        let troubles = troubles.into_iter().collect();
        Self { model, troubles, seen: RefCell::default(), happened: Cell::new(0) }
    }

    /// Whether everything on the script happened: else a test says nothing.
    #[must_use]
    pub fn is_played(&self) -> bool {
        self.happened.get() == self.troubles.len()
    }

    fn happens(&self) {
        self.happened.set(self.happened.get() + 1);
    }
}

impl Watch for Script<'_> {
    fn access<A: Answer>(&self, op: Op, really: impl FnOnce() -> A) -> A {
        let nth = self.seen.borrow().iter().filter(|seen| **seen == op).count();
        self.seen.borrow_mut().push(op);
        let now = || self.troubles.iter().filter(|trouble| trouble.op == op && trouble.nth == nth);
        for trouble in now() {
            match &trouble.what {
                What::Before(deed) => deed(self.model),
                What::NoRoom => {
                    self.happens();
                    return A::of(&Claim::NoRoom.note());
                }
                What::After(_) => continue,
            }
            self.happens();
        }
        let answer = really();
        for trouble in now() {
            if let What::After(deed) = &trouble.what {
                deed(self.model);
                self.happens();
            }
        }
        answer
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
    pub vlan: VlanTag,
    /// How much payload each of several segments has.
    pub segment_payload: usize,
    /// Whether the L4 checksum field holds the sum of the pseudo header alone.
    pub is_partial: bool,
    /// What a device summed up, from the IP header on, where it did: follows every change.
    pub complete: Option<Sum>,
    /// How many changes go through before one is refused; `None`: all of them.
    pub changes_left: Option<u32>,
}

impl<'a> Skb<'a> {
    /// An ordinary packet. The kernel has taken its tag off.
    ///
    /// # Panics
    /// Never: taking off takes no room.
    #[must_use]
    pub fn new(mut frame: Frame<'a>) -> Self {
        let vlan = frame.vlan();
        let macs: Option<[u8; 12]> = frame.read(0);
        frame.set_vlan(VlanTag::NONE).expect("less is always to be had");
        macs.map(|macs| frame.write(0, macs));
        Self {
            frame,
            segments: 1,
            vlan,
            segment_payload: 0,
            is_partial: false,
            complete: None,
            changes_left: None,
        }
    }

    /// The packet as it is on a wire: with its tag, if that names a VLAN.
    #[must_use]
    pub fn on_wire(&self) -> Vec<u8> {
        let bytes = self.frame.bytes().to_vec();
        match self.vlan {
            VlanTag::NONE => bytes,
            VlanTag(id) => spoil::tag(bytes, id),
        }
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

    fn segment_payload(&self) -> usize {
        self.segment_payload
    }

    fn vlan(&self) -> VlanTag {
        self.vlan
    }

    fn set_vlan(&mut self, tag: VlanTag) -> Result<(), Refused> {
        self.spend_a_change()?;
        self.vlan = tag;
        Ok(())
    }

    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.frame.read(at)
    }

    fn sum(&self, at: usize, len: usize) -> Option<Sum> {
        self.frame.sum(at, len)
    }

    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Refused> {
        self.spend_a_change()?;
        self.frame.write(at, bytes)
    }

    fn fix_l4(&mut self, at: usize, delta: Delta, zero_means_none: bool) -> Result<(), Refused> {
        self.spend_a_change()?;
        let field = self.frame.read(at).ok_or(Refused)?;
        if zero_means_none && field == [0, 0] {
            return Ok(());
        }
        // The kernel takes it that the header's own checksum makes up for changed addresses, as IPv4's does, and this field
        // alone moves the packet's sum (net/core/utils.c, `inet_proto_csum_replace_by_diff`).
        self.changed(Sum::default().sub2(delta.pseudo.fold()));
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

    fn is_partial(&mut self, at: usize) -> Result<bool, Refused> {
        self.spend_a_change()?;
        self.frame.write(at, [0, 0])?;
        Ok(self.is_partial)
    }

    fn changed(&mut self, by: Sum) {
        self.complete = self.complete.map(|sum| sum.plus(by));
    }

    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        self.spend_a_change()?;
        // The kernel makes one packet of it (net/core/filter.c, `bpf_skb_change_tail`).
        (self.segments, self.segment_payload) = (1, 0);
        // Neither sum is kept.
        self.complete = None;
        self.frame.resize(len)
    }

    fn insert(&mut self, len: usize) -> Result<(), Refused> {
        self.spend_a_change()?;
        self.frame.insert(len)
    }
}
