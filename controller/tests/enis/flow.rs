//! Flows as the packet path would have opened them.

use weir_dataplane::flows::{FlowState, SideState};
use weir_path::addr::{Ip4, L4Port, Mac};
use weir_path::flow::{Ends, Hop, Key, Key4, Life, Meta, Phase, PortUse, RecordId, Side, Stamp};
use weir_path::tables::Interface;
use weir_path::time::{Now, Seconds};

/// A flow from the slot's sandbox, by the ENI's port of this number.
pub(crate) fn towards_one_remote(number: u32, interfaces: &[Interface], now: Now) -> FlowState<Key4> {
    const TCP: u8 = 6;
    let eni = interfaces.iter().find(|it| it.is_eni()).unwrap();
    let slot = interfaces.iter().find(|it| it.is_slot()).unwrap();
    let (record, remote) = (RecordId(number), Ip4([192, 0, 2, 1]));
    let [port, https] = [1_024 + number as u16, 443].map(L4Port::new);
    let keys = [
        Key4::new(Ends { src: slot.address, dst: remote, sport: port, dport: https }, TCP, slot.zone),
        Key4::new(Ends { src: remote, dst: eni.local, sport: https, dport: port }, TCP, eni.zone),
    ];
    let side = |side, by| SideState {
        hop: Hop::new(by, Mac([2; 6])),
        stamp: Stamp::new(record, 1, side, now),
        ..SideState::default()
    };
    FlowState {
        record,
        life: Life::new(Phase::Established, 1, now),
        keys,
        meta: Meta { opened: now, idle: Seconds(350), port: PortUse::OWN, ..Meta::default() },
        sides: [side(Side::Original, eni.egress.id), side(Side::Reply, slot.egress.id)],
    }
}
