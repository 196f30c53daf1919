//! Every way out of the path, by name.
//!
//! One enum feeds the counters, the CLI, the metrics and the documentation, so that they cannot disagree.
//! Each packet leaves for exactly one reason: packets in = the sum of the reasons, at every hook.

use crate::tables::Egress;

/// What the kernel is to do with the packet. Aligned so that it may lie on the stack, where the verifier wants that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(8))]
pub enum Verdict {
    /// Not Weir's business: the kernel goes on with it, untouched.
    Pass,
    /// The end.
    Drop,
    /// Out of an interface.
    Send(Egress),
}

/// What kind of end a reason is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Sent on, rewritten.
    Forwarded,
    /// Turned into an answer and sent back.
    Answered,
    /// Left to the kernel, untouched.
    Passed,
    /// Dropped.
    Dropped,
}

macro_rules! reasons {
    ($($class:ident { $($(#[doc = $doc:literal])+ $variant:ident $name:literal,)+ })+) => {
        /// Why a packet left the path. The number indexes the counters; the name is what people see.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum Reason {
            $($($(#[doc = $doc])+ $variant,)+)+
        }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)+)+];

            /// How many reasons there are.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The name in counters, metrics and documentation. Never changes its meaning.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)+)+ }
            }

            /// What kind of end this is.
            #[must_use]
            #[inline(always)]
            pub const fn class(self) -> Class {
                match self { $($(Self::$variant => Class::$class,)+)+ }
            }

            /// What it means, in a sentence or two.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $($(Self::$variant => concat!($($doc),+),)+)+ }
            }
        }
    };
}

reasons! {
    Forwarded {
        /// A packet of a known flow, from the wire to its slot; or a fragment that goes where such a one would.
        ToSlot "to_slot",
        /// A packet of a known flow, from its slot to the wire.
        ToWire "to_wire",
        /// An ICMP error about a packet of a known flow, to the flow's slot.
        ErrorToSlot "error_to_slot",
        /// An ICMP error about a packet of a known flow, to the wire.
        ErrorToWire "error_to_wire",
        /// A packet of a known flow, from its slot to another one, or back to itself.
        SlotToSlot "slot_to_slot",
        /// A packet of a known flow, from the wire to a target by address, or back: from the wire to the wire.
        WireToWire "wire_to_wire",
        /// The first packet of a flow: a target was chosen, or a port, or both; both directions were recorded, the packet was sent on.
        Opened "opened",
    }
    Answered {
        /// An ARP request for a VIP, for Weir's own address on an uplink, or for a slot's gateway.
        AnsweredArp "answered_arp",
        /// A Neighbour Solicitation for a VIP, for Weir's own address on an uplink, or for a slot's gateway.
        AnsweredNdp "answered_ndp",
        /// An ICMP echo request to a VIP, to Weir's own address on an uplink, or to a slot's gateway.
        AnsweredEcho "answered_echo",
        /// TCP that is neither a SYN nor of a known flow: its sender got a RST.
        AnsweredReset "answered_reset",
        /// The hop limit ran out here, and the sender was told.
        AnsweredTtlExpired "answered_ttl_expired",
        /// Longer than the way on allows, and the sender was told how long it may be.
        AnsweredTooBig "answered_too_big",
        /// From a slot, a new connection, but every port of its connector's addresses is in use towards the remote, and the sandbox was told: by a RST, or by ICMP's "host unreachable".
        AnsweredPortsExhausted "answered_ports_exhausted",
        /// From a slot, a new connection, but no more flows fit, and the sandbox was told: by a RST, or by ICMP's "host unreachable".
        AnsweredNoRoom "answered_no_room",
        /// From a slot, a new connection to where its VPC has no route to, and the sandbox was told: by a RST, or by ICMP's "network unreachable".
        AnsweredNoRoute "answered_no_route",
        /// Nobody serves the listener, and the sender was told: by a RST, or by ICMP's "port unreachable".
        AnsweredNoTarget "answered_no_target",
        /// From a slot, a new connection outwards that nothing allows: the slot has no connector for the family, or nobody may be reached there. The sandbox was told: by a RST, or by ICMP's "administratively prohibited".
        AnsweredNotAllowedOut "answered_not_allowed_out",
        /// From a slot, a new connection that no rule of its connector's security groups allows. The sandbox was told: by a RST, or by ICMP's "administratively prohibited".
        AnsweredBlockedOut "answered_blocked_out",
        /// From a slot, a new connection, but the sandbox or its tenant has as much as its quota allows. The sandbox was told: by a RST, or by ICMP's "host unreachable".
        AnsweredQuota "answered_quota",
    }
    Passed {
        /// The device has no record in the interface table: nothing of Weir's is configured on it.
        UnknownInterface "unknown_interface",
        /// On an uplink, a frame for another station's MAC.
        OtherStation "other_station",
        /// On an uplink, neither IP nor ARP, or too short for an Ethernet header.
        OtherProtocol "other_protocol",
        /// On an uplink, a frame with a VLAN tag that no uplink is configured for.
        OtherVlan "other_vlan",
        /// On an uplink, IP or ARP for an address that is not Weir's.
        OtherAddress "other_address",
        /// On an uplink, for the host's own address, which a connector uses as well, and of none of its flows.
        HostsOwn "hosts_own",
    }
    Dropped {
        /// A header that cannot be: a wrong version, a length shorter than the header, more bytes promised than came; or, of no known flow, a wrong IPv4 header checksum.
        BadHeader "bad_header",
        /// A fragment of anything but UDP.
        Fragment "fragment",
        /// A fragment without ports that came before the one with ports, and could belong to more than one flow; or whose target has rules for who comes, or is an address.
        FragmentAhead "fragment_ahead",
        /// More IPv6 extension headers than the path reads, or longer ones.
        TooManyHeaders "too_many_headers",
        /// An IPv6 routing header, or an IPv4 option, that wants the packet to go somewhere else yet.
        SourceRouted "source_routed",
        /// The hop limit ran out here, and the sender was not told: the packet may not be answered, or enough answers were made.
        TtlExpired "ttl_expired",
        /// Longer than the way on allows, and the sender was not told, as above.
        TooBig "too_big",
        /// To or from one of Weir's addresses, and neither TCP, UDP nor ICMP.
        UnsupportedProtocol "unsupported_protocol",
        /// ICMP for one of Weir's addresses that is neither an echo request nor an error that a flow may hear of.
        IcmpIgnored "icmp_ignored",
        /// An ICMP error about a packet that is of no known flow.
        ErrorWithoutFlow "error_without_flow",
        /// An answer was due, but as many as may be were made lately, or other CPUs took the last ones.
        AnswerLimited "answer_limited",
        /// To an ENI's address, and of none of its flows: nobody is let in.
        Uninvited "uninvited",
        /// A new connection by an ENI, but every port of its connector's addresses is in use or rests towards the remote. From the wire nobody is told; a sandbox was not, because enough answers were made.
        PortsExhausted "ports_exhausted",
        /// A new connection by an ENI, and none of the ports that one packet may look at was free. What was found is kept, and the next try goes on from there.
        PortNotFound "port_not_found",
        /// A new connection by an ENI to where its VPC has no route to. From the wire nobody is told; a sandbox was not, because enough answers were made.
        NoRoute "no_route",
        /// To a VIP, but no listener has this port and protocol.
        NoListener "no_listener",
        /// Nobody serves the listener, and the sender was not told: enough answers were made.
        NoTarget "no_target",
        /// A packet of no known flow from an address or a MAC that cannot be a source or be answered, or from the VIP itself.
        BadSource "bad_source",
        /// A RST that belongs to no flow. Never answered, so that two ends can't go on for ever.
        ResetWithoutFlow "reset_without_flow",
        /// The flow table is full: new flows are refused, established ones are untouched.
        FlowTableFull "flow_table_full",
        /// The budget of half-open flows is full, and none of those looked at had its time yet.
        HalfOpenFull "half_open_full",
        /// The flow, or the fragment's datagram, leads out of an interface that has no record any more.
        NoInterface "no_interface",
        /// The flow leads by a gateway whose MAC is not known, and the kernel can't be asked to find it: on the wire, in a VLAN, or for a packet that is no plain one of a flow.
        NextHopUnresolved "next_hop_unresolved",
        /// Two flows would look the same to one sandbox, so that its replies could not be told apart.
        ReplyCollision "reply_collision",
        /// What a step found, the next one did not: another CPU opened or ended the flow, or the configuration changed, in between. The sender tries again.
        RaceLost "race_lost",
        /// From a slot that is bound to no sandbox.
        UnboundSlot "unbound_slot",
        /// From a slot, with a source MAC or address that is not the sandbox's own.
        SpoofedSource "spoofed_source",
        /// From a slot, neither IP nor ARP, too short for an Ethernet header, or with a VLAN tag.
        SlotProtocol "slot_protocol",
        /// From a slot, ARP for anything but its gateway: address probes are never answered.
        SlotArp "slot_arp",
        /// From a slot, Neighbour Discovery for anything but its gateway: address probes are never answered.
        SlotNdp "slot_ndp",
        /// From a slot, a new connection outwards that nothing allows, and the sandbox was not told: enough answers were made.
        NotAllowedOut "not_allowed_out",
        /// From a slot, a new connection that no rule of its connector's security groups allows, and the sandbox was not told: enough answers were made.
        BlockedOut "blocked_out",
        /// A new connection to a sandbox, by a VIP, that no rule of its connector's security groups allows. Nobody is told.
        BlockedIn "blocked_in",
        /// A new connection, but the sandbox or its tenant has as much as its quota allows: from the wire nobody is told, and no sandbox where enough answers were made.
        QuotaReached "quota_reached",
        /// From a slot, more bytes or packets than the rate set for it.
        OverRateOut "over_rate_out",
        /// To a slot, more bytes or packets than the rate set for it.
        OverRateIn "over_rate_in",
        /// A packet without a flow, while the dataplane was being set up or taken away.
        NotReady "not_ready",
        /// The kernel refused to make room for an answer, or to change the packet.
        Unchangeable "unchangeable",
    }
}

impl Reason {
    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// What becomes of a packet that leaves for this reason and is sent nowhere.
    #[must_use]
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        match self.class() {
            Class::Passed => Verdict::Pass,
            Class::Forwarded | Class::Answered | Class::Dropped => Verdict::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_dense_and_names_are_unique() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            assert_eq!(Reason::from_number(number as u32), Some(*reason));
        }
        assert_eq!(Reason::from_number(Reason::COUNT), None);
    }

    #[test]
    fn every_meaning_is_a_sentence() {
        for reason in Reason::ALL {
            let meaning = reason.meaning().trim();
            assert!(meaning.len() > 10 && meaning.ends_with('.'), "{}: {meaning:?}", reason.name());
        }
    }
}
