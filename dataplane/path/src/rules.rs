//! Security groups: whether a flow may be opened, asked once, of its first packet.
//!
//! The rules of all groups that a connector has lie in one list, each way. A rule allows; what none allows is blocked.
//! Answers and errors are never asked for: they belong to a flow.

use crate::addr::Ip6;
use crate::flow::store::Flows;
use crate::flow::{Family, Key};
use crate::layout::MAX_RULES_IN_CONNECTOR;
use crate::tables::{Half, Owner, Rule, Rules, SecurityGroupId, SecurityGroups, Tables};
use crate::wire::Icmp;
use zerocopy::transmute;

/// What rules are asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct Question {
    /// The far end, as the sandbox sees it; an IPv4 address is mapped.
    pub remote: Ip6,
    /// The security groups that the far end is in.
    pub groups: SecurityGroups,
    /// The port, of who is called; or ICMP's type times 256, plus the code.
    pub what: u16,
    /// The IP protocol number (RFC 790).
    pub protocol: u32,
}

impl Rules {
    /// Whether they allow everything.
    #[must_use]
    #[inline(always)]
    pub const fn are_open(&self) -> bool {
        self.count == Self::OPEN.count
    }
}

impl Rule {
    /// Whether it allows what is asked about.
    #[must_use]
    #[inline(always)]
    pub fn allows(&self, question: &Question) -> bool {
        let is_protocols = self.protocol == 0 || u32::from(self.protocol) == question.protocol;
        let is_ports = self.first <= question.what && question.what <= self.last;
        is_protocols && is_ports && self.is_far_end(question)
    }

    #[inline(always)]
    fn is_far_end(&self, question: &Question) -> bool {
        if self.group != SecurityGroupId::NONE {
            let [a, b, c, d, e] = question.groups;
            return self.group == a
                || self.group == b
                || self.group == c
                || self.group == d
                || self.group == e;
        }
        let [far_high, far_low]: [u64; 2] = transmute!(question.remote);
        let [high, low]: [u64; 2] = transmute!(self.network);
        let [mask_high, mask_low]: [u64; 2] = transmute!(self.mask);
        // All of IPv6 is not what is mapped into it.
        let is_of_one_family = is_mapped(far_high, far_low) == is_mapped(high, low);
        is_of_one_family && (far_high ^ high) & mask_high | (far_low ^ low) & mask_low == 0
    }
}

/// Whether these are the words of an IPv4 address, mapped (RFC 4291 section 2.5.5.2).
#[inline(always)]
const fn is_mapped(high: u64, low: u64) -> bool {
    high == 0 && u64::from_be(low) >> 32 == 0xffff
}

/// Whether one of the rules allows it.
#[inline(never)]
pub fn allow<F: Family, T: Tables + Flows<F>>(t: &T, half: Half, rules: &Rules, question: &Question) -> bool {
    if rules.are_open() {
        return true;
    }
    let (mut nth, mut is_allowed) = (0, false);
    T::repeat(MAX_RULES_IN_CONNECTOR, || {
        if nth >= rules.count {
            return true;
        }
        let rule = t.rule(half, rules.first.wrapping_add(nth));
        nth += 1;
        is_allowed = rule.is_some_and(|rule| rule.allows(question));
        is_allowed
    });
    is_allowed
}

/// In no group.
pub(crate) const NO_GROUPS: SecurityGroups = [SecurityGroupId::NONE; 5];

/// The security groups that an address is in: those of the ENI that owns it.
#[inline(always)]
pub(crate) fn groups_of<T: Tables>(t: &T, half: Half, owner: Owner) -> SecurityGroups {
    let eni = owner.as_eni().and_then(|id| t.interface(id)).filter(|eni| eni.is_in_use());
    let connector = eni.and_then(|eni| t.connector(half, eni.connector));
    connector.map_or(NO_GROUPS, |connector| connector.groups)
}

/// What a flow's first packet asks for, as rules have it: the port, or the type and code of an ICMP query.
#[inline(always)]
pub(crate) fn what<F: Family + Icmp>(key: &F::Key) -> u16 {
    if key.protocol() == F::PROTOCOL {
        return u16::from_be_bytes(F::ECHO_REQUEST);
    }
    key.ends().dport.number()
}
