//! What keeps tenants apart, from user space: what is held and was refused, what was blocked, how fast slots may be.

use super::Tables;
use crate::error::Error;
use crate::sys::Mapping;
use crate::typed_map::TypedMap;
use aya::maps::MapData;
use weir_path::addr::InterfaceId;
use weir_path::flow::{Meta, Phase, PortUse};
use weir_path::layout::{self, AccountWords, MeterWords};
use weir_path::tables::{AccountWord, ConnectorId, Direction, Holder, Interface, MeterWord, Rates};

/// What a sandbox or a tenant holds, and how often more was refused.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AccountState {
    /// Flows, half-open ones too.
    pub flows: u64,
    /// Half-open flows.
    pub half_open: u64,
    /// Ports of ENIs, those that rest too.
    pub ports: u64,
    /// New flows that were refused, because there were as many flows as may be.
    pub refused_flows: u64,
    /// The same of half-open ones.
    pub refused_half_open: u64,
    /// The same of ports.
    pub refused_ports: u64,
    /// New flows that were refused because they came too fast.
    pub refused_opened: u64,
}

impl AccountState {
    /// Whether nothing is held under it any more.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.flows == 0 && self.half_open == 0 && self.ports == 0
    }
}

/// Tokens that may go once, beside what a slot's buckets hold, by [`Direction`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Once {
    /// Bytes.
    pub bytes: [u64; 2],
    /// Packets.
    pub packets: [u64; 2],
}

pub(super) fn accounts(map: &MapData) -> Result<Mapping<AccountWords>, Error> {
    let accounts: TypedMap<u32, AccountWords> = TypedMap::new("ACCOUNTS", map)?;
    Mapping::new(accounts.fd(), layout::ACCOUNTS).map_err(|source| Error::Table {
        operation: "mapping",
        table: "ACCOUNTS".into(),
        source,
    })
}

impl Tables {
    /// What a sandbox or a tenant holds. Nothing is asked of the kernel.
    #[must_use]
    pub fn account(&self, holder: Holder) -> AccountState {
        let words = self.accounts.get(layout::account_index(holder)).unwrap_or_default();
        let word = |which: AccountWord| words.get(which as usize).copied().unwrap_or_default();
        AccountState {
            flows: word(AccountWord::Flows),
            half_open: word(AccountWord::HalfOpen),
            ports: word(AccountWord::Ports),
            refused_flows: word(AccountWord::RefusedFlows),
            refused_half_open: word(AccountWord::RefusedHalfOpen),
            refused_ports: word(AccountWord::RefusedPorts),
            refused_opened: word(AccountWord::RefusedOpened),
        }
    }

    /// How many flows the security groups of a connector blocked.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn blocked(&self, connector: ConnectorId, direction: Direction) -> Result<u64, Error> {
        self.blocked.sum(layout::blocked_index(connector, direction))
    }

    /// How fast a slot's sandbox may send and receive.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn rates(&self, slot: InterfaceId) -> Result<Rates, Error> {
        Ok(self.rates.get(&slot.0)?.unwrap_or_default())
    }

    /// Says how fast a slot's sandbox may send and receive from now on. What its buckets hold stays.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn set_rates(&self, slot: InterfaceId, rates: &Rates) -> Result<(), Error> {
        self.rates.set(&slot.0, rates)
    }

    /// Fills a slot's buckets, and says what may go once besides.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn fill_buckets(&self, slot: InterfaceId, once: &Once) -> Result<(), Error> {
        let mut words = MeterWords::default();
        for direction in Direction::ALL {
            let kinds = [(MeterWord::BytesOnce, once.bytes), (MeterWord::PacketsOnce, once.packets)];
            for (which, [out, r#in]) in kinds {
                if let Some(word) = words.get_mut(layout::meter_word(direction, which) as usize) {
                    *word = if direction == Direction::Out { out } else { r#in };
                }
            }
        }
        self.meters.set(&slot.0, &words)
    }

    /// Charges a flow that is entered from here to its account.
    pub(super) fn charge(&self, meta: Meta, phase: Phase) {
        for holder in meta.account.holders().into_iter().flatten() {
            let index = layout::account_index(holder);
            let mut words = self.accounts.get(index).unwrap_or_default();
            let mut hold = |which: AccountWord, is_held: bool| {
                if let Some(word) = words.get_mut(which as usize) {
                    *word += u64::from(is_held);
                }
            };
            hold(AccountWord::Flows, true);
            hold(AccountWord::HalfOpen, phase.is_half_open());
            hold(AccountWord::Ports, meta.port == PortUse::OWN);
            self.accounts.set(index, &words);
        }
    }

    /// Empties every account. Only where no program runs.
    pub(super) fn clear_accounts(&self) {
        for nth in 0..layout::ACCOUNTS {
            if self.accounts.get(nth).is_some_and(|words| words != AccountWords::default()) {
                self.accounts.set(nth, &AccountWords::default());
            }
        }
    }

    /// Forgets how fast an interface's sandbox may be, and what its connector blocked. Only where no program runs.
    pub(super) fn clear_guards(&self, interface: &Interface) -> Result<(), Error> {
        let id = interface.egress.id.0;
        if interface.metered != 0 {
            self.rates.set(&id, &Rates::default())?;
            self.meters.set(&id, &MeterWords::default())?;
        }
        if interface.connector == ConnectorId::NONE {
            return Ok(());
        }
        let both = Direction::ALL.map(|direction| layout::blocked_index(interface.connector, direction));
        both.into_iter().try_for_each(|index| self.blocked.zero(index))
    }
}
