//! The tables of interfaces: records, which of them packets that come in are led to, and who their gateways are.

use super::{Tables, grace_period};
use crate::error::Error;
use weir_path::addr::Mac;
use weir_path::layout::{self, MAX_IFINDEX, MAX_INTERFACES, TaggedKey};
use weir_path::packet::VlanTag;
use weir_path::tables::{Interface, NextHop, NextHopId};

impl Tables {
    /// The interfaces in use, by number.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        let known = self.interfaces.read_all()?;
        Ok(known.into_iter().map(|(_, interface)| interface).filter(|it| it.egress.ifindex.0 != 0).collect())
    }

    /// Writes an interface's record, then makes packets that come in by its device, with its tag, find it, unless it is
    /// an ENI's. What was learnt about a gateway that it no longer has is forgotten.
    ///
    /// # Errors
    /// [`Error::InterfaceRange`], [`Error::Table`].
    pub fn set_interface(&self, interface: &Interface) -> Result<(), Error> {
        let egress = interface.egress;
        if egress.id.0 >= MAX_INTERFACES || egress.ifindex.0 >= MAX_IFINDEX || egress.ifindex.0 == 0 {
            return Err(Error::InterfaceRange {
                id: egress.id,
                ifindex: egress.ifindex,
                max_id: MAX_INTERFACES,
                max_ifindex: MAX_IFINDEX,
            });
        }
        let before = self.interfaces.get(&egress.id.0)?.unwrap_or_default();
        self.interfaces.set(&egress.id.0, interface)?;
        if before.gateway != interface.gateway {
            self.next_hops.set(&NextHopId::gateway(egress.id).0, &NextHop::UNRESOLVED)?;
        }
        if before.gateway6 != interface.gateway6 {
            self.next_hops.set(&NextHopId::gateway6(egress.id).0, &NextHop::UNRESOLVED)?;
        }
        if interface.is_eni() {
            return Ok(());
        }
        self.point_at(interface, layout::stored_interface(egress.id))
    }

    /// Which station a next hop is; `None` where that isn't known.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn next_hop(&self, id: NextHopId) -> Result<Option<Mac>, Error> {
        let known = self.next_hops.get(&id.0)?.filter(|next_hop| next_hop.is_resolved());
        Ok(known.map(NextHop::station))
    }

    /// Says which station a next hop is.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn set_next_hop(&self, id: NextHopId, station: Mac) -> Result<(), Error> {
        self.next_hops.set(&id.0, &NextHop::resolved(station))
    }

    /// What packets that come in by a device, with an interface's tag, find.
    fn pointer(&self, interface: &Interface) -> Result<Option<u32>, Error> {
        let ifindex = interface.egress.ifindex;
        match interface.vlan {
            VlanTag::NONE => self.ifindexes.get(&ifindex.0),
            tag => self.tagged.get(&TaggedKey::new(ifindex, tag)),
        }
    }

    fn point_at(&self, interface: &Interface, stored: u32) -> Result<(), Error> {
        let ifindex = interface.egress.ifindex;
        match interface.vlan {
            VlanTag::NONE => self.ifindexes.set(&ifindex.0, &stored),
            tag if stored == 0 => self.tagged.remove_all(&[TaggedKey::new(ifindex, tag)]).map(drop),
            tag => self.tagged.set(&TaggedKey::new(ifindex, tag), &stored),
        }
    }

    /// Whether packets that come in by an interface's device, with its tag, find its record. One that doesn't is there
    /// for flows that leave by it.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn is_in_force(&self, interface: &Interface) -> Result<bool, Error> {
        Ok(self.pointer(interface)? == Some(layout::stored_interface(interface.egress.id)))
    }

    /// Makes packets that come in by an interface's device, with its tag, nobody's. Flows still leave by it.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn withdraw(&self, interface: &Interface) -> Result<(), Error> {
        if self.is_in_force(interface)? {
            self.point_at(interface, 0)?;
        }
        Ok(())
    }

    /// Forgets an interface. Packets that come in by its device are nobody's from here on.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn clear_interface(&self, interface: &Interface) -> Result<(), Error> {
        self.withdraw(interface)?;
        // A program may still be reading the record, and the number is free for another one afterwards.
        grace_period()?;
        self.interfaces.set(&interface.egress.id.0, &Interface::default())?;
        self.sent.zero(interface.egress.id.0)
    }
}
