//! What a fuzzer drives: any bytes become a packet in a town with flows, and every law is checked.
//!
//! The first byte chooses where the packet comes from. Even: the next two name a fixture, and what follows
//! changes bytes of its packet, three bytes a change. Odd: what follows is the packet.

use crate::executor::{Executor, Slice, Walk};
use crate::fixtures::{self, Fixture};
use crate::packets::spoil;
use crate::world::World;
use crate::{laws, town};
use weir_path::Reason;
use weir_path::addr::IfIndex;

/// The fuzz target, with what it needs for each input made once.
#[derive(Debug)]
pub struct Target {
    fixtures: Vec<Fixture>,
    slice: Slice,
}

impl Default for Target {
    fn default() -> Self {
        Self { fixtures: fixtures::all(), slice: Slice::default() }
    }
}

impl Target {
    /// Judges one input, and says why its packet left; `None` where the input is too short to be one.
    ///
    /// # Errors
    /// The law that the packet breaks, and the packet.
    pub fn one(&mut self, input: &[u8]) -> Result<Option<Reason>, String> {
        let [source, rest @ ..] = input else { return Ok(None) };
        if source & 1 != 0 {
            let (walk, arrival) = come_from(*source);
            self.slice.load(&populated());
            return self.judge(walk, arrival, rest);
        }
        let [high, low, changes @ ..] = rest else { return Ok(None) };
        let name = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(fixture) = self.fixtures.get(name % self.fixtures.len()) else {
            return Ok(None);
        };
        let packet = changes.chunks_exact(3).fold(fixture.packet.clone(), changed);
        let (walk, arrival) = (fixture.walk, fixture.arrival);
        self.slice.load(&fixture.world);
        self.judge(walk, arrival, &packet)
    }

    fn judge(&mut self, walk: Walk, arrival: IfIndex, packet: &[u8]) -> Result<Option<Reason>, String> {
        let before = self.slice.state();
        let ran = self.slice.run(walk, arrival, packet);
        let after = self.slice.state();
        let verdict = match self.slice.witness() {
            None => Err("the packet left without a reason".to_owned()),
            Some(seen) => laws::packet(packet, &ran, seen.why)
                .and_then(|()| laws::tables(&before, &after, walk, seen.why))
                .and_then(|()| laws::no_leak(seen.why, &ran.bytes, town::SLOT_1))
                .map(|()| Some(seen.why)),
        };
        verdict
            .map_err(|law| format!("{law}\n {walk:?} at device {arrival}: {packet:02x?}\n became {ran:02x?}"))
    }
}

fn populated() -> World {
    let v4 = town::world().with_flow(town::web_flow()).with_flow(town::dns_flow());
    let v6 = v4.with_flow(town::web_flow_6()).with_flow(town::dns_flow_6());
    let out = v6.with_flow(town::server_flow(town::TCP)).with_flow(town::server_flow_6(town::UDP));
    out.with_flow(town::echo_flow()).with_flow(town::echo_flow_6())
}

const fn come_from(source: u8) -> (Walk, IfIndex) {
    let walk = if source & 2 == 0 { Walk::FromUplink } else { Walk::FromSlot };
    (walk, IfIndex(2 + (source as u32 >> 2) % 16))
}

/// One change: where, what, and whether to set the byte, flip bits in it, or cut the packet there.
fn changed(packet: Vec<u8>, change: &[u8]) -> Vec<u8> {
    let [at, how, value] = [0, 1, 2].map(|i| change.get(i).copied().unwrap_or_default());
    let at = usize::from(at);
    match how % 8 {
        0 => spoil::cut(packet, at),
        1..4 => spoil::put(packet, at, &[value]),
        4..7 => {
            let old = packet.get(at).copied().unwrap_or_default();
            spoil::put(packet, at, &[old ^ (1 << (value % 8))])
        }
        _ => spoil::pad(packet, at),
    }
}
