//! Where the parts of a frame lie, for judges: read from the RFCs, with none of the path's bounds, and sharing no code
//! with it.

/// Length of an Ethernet header without a tag.
pub const ETHERNET: usize = 14;
const TAG: usize = 4;
const V4: [u8; 2] = [0x08, 0x00];
const V6: [u8; 2] = [0x86, 0xdd];
const TAGGED: [u8; 2] = [0x81, 0x00];

/// A frame with an IP packet in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anatomy {
    /// The sixteen bits of its 802.1Q tag, if it has one.
    pub tag: Option<[u8; 2]>,
    /// Whether it is IPv6.
    pub is_v6: bool,
    /// Where the IP header starts.
    pub at: usize,
    /// Where what it carries starts, behind options or extension headers.
    pub l4_at: usize,
    /// Where the packet says that it ends; perhaps beyond the frame.
    pub end: usize,
    /// What it carries.
    pub protocol: u8,
    /// The hop limit.
    pub hop_limit: u8,
    /// Whether it is a piece of a packet.
    pub is_fragment: bool,
    /// Whether it is a piece, and not the first one.
    pub is_later: bool,
    /// Where its fragment's identification is: in IPv4's header, or in IPv6's fragment header; 0 where there is none.
    pub identification_at: usize,
}

impl Anatomy {
    /// The parts of `frame`; `None` where it is no IP, or its header is cut short or can't be.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let tag = if bytes(frame, 12) == Some(TAGGED) { Some(bytes(frame, ETHERNET)?) } else { None };
        let at = if tag.is_some() { ETHERNET + TAG } else { ETHERNET };
        match bytes(frame, at - 2)? {
            V4 => Self::v4(frame, tag, at),
            V6 => Self::v6(frame, tag, at),
            _ => None,
        }
    }

    fn v4(frame: &[u8], tag: Option<[u8; 2]>, at: usize) -> Option<Self> {
        let [version, _, len0, len1, _, _, flags, offset, hop_limit, protocol] = bytes(frame, at)?;
        let header_len = 4 * usize::from(version & 0x0f);
        let end = at + usize::from(u16::from_be_bytes([len0, len1]));
        let fragment = u16::from_be_bytes([flags, offset]);
        let is_right = version >> 4 == 4 && header_len >= 20 && at + header_len <= frame.len();
        is_right.then_some(Self {
            tag,
            is_v6: false,
            at,
            l4_at: at + header_len,
            end,
            protocol,
            hop_limit,
            is_fragment: fragment & 0x3fff != 0,
            is_later: fragment & 0x1fff != 0,
            identification_at: at + 4,
        })
    }

    fn v6(frame: &[u8], tag: Option<[u8; 2]>, at: usize) -> Option<Self> {
        let [version, _, _, _, len0, len1, protocol, hop_limit] = bytes(frame, at)?;
        let end = at + 40 + usize::from(u16::from_be_bytes([len0, len1]));
        let mut whole = Self {
            tag,
            is_v6: true,
            at,
            l4_at: at + 40,
            end,
            protocol,
            hop_limit,
            is_fragment: false,
            is_later: false,
            identification_at: 0,
        };
        while matches!(whole.protocol, 0 | 43 | 44 | 60) && !whole.is_later {
            let here = whole.l4_at;
            let Some([next, len, high, low]) = bytes(frame, here) else { break };
            let is_fragment = whole.protocol == 44;
            if is_fragment {
                whole.is_later = high != 0 || low & 0xf8 != 0;
                whole.is_fragment = whole.is_later || low & 1 != 0;
                whole.identification_at = here + 4;
            }
            whole.l4_at += if is_fragment { 8 } else { 8 + 8 * usize::from(len) };
            whole.protocol = next;
        }
        (version >> 4 == 6 && at + 40 <= frame.len()).then_some(whole)
    }

    /// Source and destination.
    #[must_use]
    pub fn addresses<'a>(&self, frame: &'a [u8]) -> [&'a [u8]; 2] {
        let (src, len) = if self.is_v6 { (self.at + 8, 16) } else { (self.at + 12, 4) };
        [src, src + len].map(|at| frame.get(at..at + len).unwrap_or_default())
    }

    /// What it carries, as far as that is there.
    #[must_use]
    pub fn l4<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.l4_at..self.end.min(frame.len())).unwrap_or_default()
    }

    /// Whether all of it is there.
    #[must_use]
    pub fn is_whole(&self, frame: &[u8]) -> bool {
        self.l4_at <= self.end && self.end <= frame.len()
    }

    /// Whether it carries ICMP of its family, and shows where that begins.
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        self.protocol == if self.is_v6 { 58 } else { 1 } && !self.is_later
    }

    /// Whether it is an ICMP error.
    #[must_use]
    pub fn is_error(&self, frame: &[u8]) -> bool {
        let kind = self.l4(frame).first().copied().unwrap_or_default();
        let is_error = if self.is_v6 { kind < 128 } else { matches!(kind, 3 | 4 | 5 | 11 | 12) };
        self.is_icmp() && !self.is_fragment && is_error
    }

    /// Whether it is an echo request, or the answer to one, as far as that is told by type and code: where it is quoted, its
    /// length may say anything.
    #[must_use]
    pub fn is_echo(&self, frame: &[u8]) -> bool {
        let kind = bytes(frame, self.l4_at);
        let kinds = if self.is_v6 { [[128, 0], [129, 0]] } else { [[8, 0], [0, 0]] };
        self.is_icmp() && kind.is_some_and(|kind: [u8; 2]| kinds.contains(&kind))
    }

    /// What an ICMP error quotes, in a frame of its own.
    #[must_use]
    pub fn quoted(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let quoted = self.l4(frame).get(8..)?;
        let ethertype = if self.is_v6 { V6 } else { V4 };
        self.is_error(frame).then(|| [&[0; 12], &ethertype[..], quoted].concat())
    }
}

/// `N` bytes at `at`.
#[must_use]
pub fn bytes<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..)?.first_chunk().copied()
}
