//! The steps of a walk by number, and which of them are whose.

use crate::answer::Answer;
use crate::asked::Pooled;
use crate::chatter::Chatter;
use crate::flow::{V4, V6};
use crate::translate::Header;
use crate::wire::Quotes;

/// A step that another program takes: its place in the arrays of programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Next {
    /// The IPv4 packet's flow is in order.
    ReadyV4,
    /// The IPv6 packet's flow is in order.
    ReadyV6,
    /// The packet may move an IPv4 flow's state.
    MovingV4,
    /// The packet may move an IPv6 flow's state.
    MovingV6,
    /// The packet is of no flow.
    Unknown,
    /// The packet opens an IPv4 flow.
    OpeningV4,
    /// The packet opens an IPv6 flow.
    OpeningV6,
    /// An IPv4 fragment.
    OddV4,
    /// An IPv6 fragment, or a packet with extension headers.
    OddV6,
    /// An ICMP error.
    RelayV4,
    /// An ICMPv6 error.
    RelayV6,
    /// An IPv4 packet that can't go on, and whose sender is to be told.
    TellV4,
    /// An IPv6 packet that can't go on, and whose sender is to be told.
    TellV6,
    /// An IPv4 packet of a sandbox that opens a flow outwards.
    OutboundV4,
    /// An IPv6 packet of a sandbox that opens a flow outwards.
    OutboundV6,
    /// An IPv4 flow is to be entered.
    EnterV4,
    /// An IPv6 flow is to be entered.
    EnterV6,
    /// An ICMP query, or the answer to one.
    QueryV4,
    /// An ICMPv6 query, or the answer to one.
    QueryV6,
}

impl Next {
    /// How many there are.
    pub const COUNT: u32 = 19;
}

/// A family, with all that its packets may need, and its steps.
pub trait Steps: Quotes + Answer + Chatter + Header + Pooled {
    /// The packet's flow is in order.
    const READY: Next;
    /// The packet may move its flow's state.
    const MOVING: Next;
    /// The packet opens a flow.
    const OPENING: Next;
    /// The packet of a sandbox opens a flow outwards.
    const OUTBOUND: Next;
    /// What a flow's first packet asks for is noted: the flow is to be entered.
    const ENTER: Next;
    /// An ICMP query, or the answer to one.
    const QUERY: Next;
    /// A fragment, or a packet with extension headers.
    const ODD: Next;
    /// An ICMP error.
    const RELAY: Next;
    /// The sender is to be told.
    const TELL: Next;
}

impl Steps for V4 {
    const READY: Next = Next::ReadyV4;
    const MOVING: Next = Next::MovingV4;
    const OPENING: Next = Next::OpeningV4;
    const OUTBOUND: Next = Next::OutboundV4;
    const ENTER: Next = Next::EnterV4;
    const QUERY: Next = Next::QueryV4;
    const ODD: Next = Next::OddV4;
    const RELAY: Next = Next::RelayV4;
    const TELL: Next = Next::TellV4;
}

impl Steps for V6 {
    const READY: Next = Next::ReadyV6;
    const MOVING: Next = Next::MovingV6;
    const OPENING: Next = Next::OpeningV6;
    const OUTBOUND: Next = Next::OutboundV6;
    const ENTER: Next = Next::EnterV6;
    const QUERY: Next = Next::QueryV6;
    const ODD: Next = Next::OddV6;
    const RELAY: Next = Next::RelayV6;
    const TELL: Next = Next::TellV6;
}
