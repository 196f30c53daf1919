//! Every access to a table that others may change goes past a watcher, who may halt it, repeat an old answer, or
//! let another CPU come in between.

use weir_path::addr::{Ip4, Ip6};
use weir_path::flow::{Counts, Datagram4, Datagram6, Ends, Hop, Key4, Key6, Meta};
use weir_path::tables::{Claim, Half, NextHop};
use weir_path::time::{Now, Times};
use zerocopy::{FromBytes, IntoBytes};

/// Kinds of access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Which half is live.
    Live,
    /// The configured times.
    Times,
    /// What time it is.
    Now,
    /// An entry is looked up.
    Find,
    /// A key is claimed.
    Claim,
    /// A key is removed.
    Remove,
    /// A flow that was opened is counted, or the end of one is told.
    Tell,
    /// An entry's stamp is read.
    LoadStamp,
    /// An entry's stamp is swapped.
    SwapStamp,
    /// An entry's key is compared.
    IsUnder,
    /// An entry's rewrite is read.
    Rewrite,
    /// An entry's next hop is read.
    Hop,
    /// An entry's next hop is compared and swapped.
    SwapHop,
    /// An entry's acknowledgement number is read or written.
    Acknowledged,
    /// An entry's counts are read.
    Counts,
    /// An entry counts a packet.
    Count,
    /// A record's life is read.
    LoadLife,
    /// A record's life is swapped.
    SwapLife,
    /// What a record says besides is read.
    ReadRecord,
    /// A record is written by the run that has it, or by one that follows the flow.
    WriteRecord,
    /// A link in a list of free records is read or written.
    Link,
    /// A word around the records is read.
    LoadWord,
    /// A word around the records is swapped.
    SwapWord,
    /// A word around the records is added to.
    AddWord,
    /// A gateway's station is read.
    NextHop,
    /// A gateway's station is learnt.
    Learn,
    /// The note of a fragmented datagram is read or written, or such datagrams are counted.
    Datagram,
    /// Which set of ports a remote has is read or written.
    Ports,
    /// A word of a set of ports is read, or changed.
    PortWord,
    /// A word of a set of ports that is nobody's, perhaps not yet: a thousand of them are one step.
    EmptyWord,
    /// An answer is taken from what may be said.
    Bucket,
    /// A packet is counted, in a counter that is never read by the path.
    Statistics,
    /// What somebody holds is read or changed: additions, which come out the same in any order.
    Account,
}

impl Op {
    /// Whether it makes a difference to others when this happens.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        !matches!(
            self,
            Self::Times
                | Self::Now
                | Self::Statistics
                | Self::Account
                | Self::Tell
                | Self::Bucket
                | Self::EmptyWord
        )
    }
}

/// Whoever watches accesses.
pub trait Watch {
    /// One access: `really` does it.
    fn access<A: Answer>(&self, op: Op, really: impl FnOnce() -> A) -> A;
}

/// Lets everything happen.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Watch for Quiet {
    fn access<A: Answer>(&self, _: Op, really: impl FnOnce() -> A) -> A {
        really()
    }
}

/// An answer, written down.
pub type Note = [u8; 64];

/// What an access answers.
pub trait Answer: Sized {
    /// Writes it down.
    fn note(&self) -> Note;
    /// Reads it again.
    fn of(note: &Note) -> Self;
}

/// An answer that is no answer: what is told to a run whose further way does not count.
pub const NOTHING: Note = [0; 64];

macro_rules! answers {
    ($($type:ty),+) => {
        $(impl Answer for $type {
            fn note(&self) -> Note {
                let mut note = NOTHING;
                let bytes = self.as_bytes();
                note.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
                note
            }

            fn of(note: &Note) -> Self {
                Self::read_from_prefix(note).expect("it was written down").0
            }
        })+
    };
}

answers!(u8, u16, u32, u64, Ends<Ip4>, Ends<Ip6>, Key4, Key6, Hop, Counts, Meta, NextHop, Now, Times);

impl Answer for () {
    fn note(&self) -> Note {
        NOTHING
    }

    fn of(_: &Note) -> Self {}
}

impl Answer for bool {
    fn note(&self) -> Note {
        u8::from(*self).note()
    }

    fn of(note: &Note) -> Self {
        u8::of(note) != 0
    }
}

impl Answer for Half {
    fn note(&self) -> Note {
        self.index().note()
    }

    fn of(note: &Note) -> Self {
        Self::of_epoch(u64::of(note))
    }
}

impl Answer for Claim {
    fn note(&self) -> Note {
        match self {
            Self::NoRoom => 0u8,
            Self::Made => 1,
            Self::Taken => 2,
        }
        .note()
    }

    fn of(note: &Note) -> Self {
        match u8::of(note) {
            1 => Self::Made,
            2 => Self::Taken,
            _ => Self::NoRoom,
        }
    }
}

/// A note, and behind it whether there is anything.
macro_rules! notes {
    ($($Datagram:ty),+) => {
        $(impl Answer for Option<$Datagram> {
            fn note(&self) -> Note {
                let mut note = NOTHING;
                if let Some(datagram) = self {
                    let bytes = [&[1; 8], datagram.as_bytes()].concat();
                    note.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
                }
                note
            }

            fn of(note: &Note) -> Self {
                let (is_there, rest) = note.split_first_chunk::<8>().expect("a note is longer");
                let datagram = || <$Datagram>::read_from_prefix(rest).expect("it was written down").0;
                (*is_there != [0; 8]).then(datagram)
            }
        })+
    };
}

notes!(Datagram4, Datagram6);

impl Answer for Option<usize> {
    fn note(&self) -> Note {
        self.map_or(0, |at| at as u64 + 1).note()
    }

    fn of(note: &Note) -> Self {
        (u64::of(note) as usize).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_reads_the_same() {
        for claim in [Claim::Made, Claim::Taken, Claim::NoRoom] {
            assert_eq!(Claim::of(&claim.note()), claim);
        }
        for at in [None, Some(0), Some(7)] {
            assert_eq!(Option::<usize>::of(&at.note()), at);
        }
        for datagram in [None, Some(Datagram6::default())] {
            assert_eq!(Option::<Datagram6>::of(&datagram.note()), datagram);
        }
        let counts = Counts { packets: 3, bytes: 1 << 40 };
        assert_eq!(Counts::of(&counts.note()), counts);
        assert_eq!(Half::of(&Half::of_epoch(3).note()), Half::of_epoch(1));
        assert!(bool::of(&true.note()) && !bool::of(&NOTHING));
    }
}
