//! The steps of a plan, and what takes each of them back.

use super::{Burst, Observed, Point, frames};
use std::fmt;
use weir_path::addr::{IfIndex, InterfaceId, Zone};
use weir_path::tables::{Interface, Rates};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write an interface's record.
    Record(Interface),
    /// Say how fast a slot may be.
    SetRates(InterfaceId, Rates),
    /// Fill a slot's buckets, with what may go once besides.
    FillBuckets(InterfaceId, Burst),
    /// Turn GRO on at the sandbox's end of a slot.
    EnableGro(IfIndex),
    /// Attach a program; one that is there already is given its new version in place.
    Attach(IfIndex, Point),
    /// Detach a program.
    Detach(IfIndex, Point),
    /// Let an uplink accept nothing more; its record stays for flows that leave by it.
    Withdraw(Interface),
    /// Take an interface's record away.
    Forget(Interface),
    /// End all flows of an address space.
    EndFlows(Zone),
    /// End all flows that leave by this interface.
    EndFlowsBy(InterfaceId),
}

impl Step {
    /// What takes this step back; nothing where it changed nothing that matters.
    #[must_use]
    pub fn undo(&self, observed: &Observed) -> Option<Self> {
        match *self {
            // A record that took another one's place stays under its own number, where nothing finds it; the
            // next plan forgets it.
            Self::Record(interface) => {
                let is_before = |it: &&Interface| {
                    if interface.is_eni() {
                        return it.egress.id == interface.egress.id;
                    }
                    frames(it) == frames(&interface) && observed.in_force.contains(&it.egress.id)
                };
                let before = observed.interfaces.iter().find(is_before);
                Some(before.map_or(Self::Forget(interface), |before| Self::Record(*before)))
            }
            Self::SetRates(id, _) => {
                Some(Self::SetRates(id, observed.rates.get(&id).copied().unwrap_or_default()))
            }
            Self::Detach(ifindex, point) => Some(Self::Attach(ifindex, point)),
            Self::Attach(ifindex, point) if !observed.attached.contains(&(ifindex, point)) => {
                Some(Self::Detach(ifindex, point))
            }
            // GRO that stays on hurts nobody, nor do full buckets that nothing is taken from; and the others come when nothing is undone any more.
            _ => None,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XdpNative => "uplink program (xdp)",
            Self::XdpGeneric => "uplink program (xdp-generic)",
            Self::Tc => "uplink program (tc)",
            Self::Slot => "slot program",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(Interface { egress, zone, .. }) => {
                write!(f, "record device {} as interface {} ({zone:?})", egress.ifindex, egress.id)
            }
            Self::SetRates(id, _) => write!(f, "set the rates of interface {id}"),
            Self::FillBuckets(id, _) => write!(f, "fill the buckets of interface {id}"),
            Self::EnableGro(ifindex) => write!(f, "turn GRO on at the sandbox's end of device {ifindex}"),
            Self::Attach(ifindex, point) => write!(f, "attach the {point} to device {ifindex}"),
            Self::Detach(ifindex, point) => write!(f, "detach the {point} from device {ifindex}"),
            Self::Withdraw(Interface { egress, .. }) => {
                write!(f, "withdraw interface {} from device {}", egress.id, egress.ifindex)
            }
            Self::Forget(Interface { egress, .. }) => {
                write!(f, "forget interface {} of device {}", egress.id, egress.ifindex)
            }
            Self::EndFlows(zone) => write!(f, "end the flows of {zone:?}"),
            Self::EndFlowsBy(id) => write!(f, "end the flows that leave by interface {id}"),
        }
    }
}
