//! The programs over their tables, and the harness that packets come from.

use std::collections::BTreeSet;
use weir_benches::Outcome;
use weir_benches::frames::Ports;
use weir_benches::harness::{Flows, Harness, Hook, Subject};
use weir_benches::pool::{self, Outward, PORTS, Terms};
use weir_benches::rounds::{self, subject};
use weir_benches::town::{NOON, SLOT, Town, UPLINK};
use weir_dataplane::counters::Counters;
use weir_dataplane::flows::{Flow, FlowId};
use weir_dataplane::test_run::{Program, Runner};
use weir_dataplane::{FamilySizes, Held, Sizes, Tables};
use weir_path::Reason;
use weir_path::layout::MAX_ORDERS;

/// Loaded programs, and what measures them.
pub(crate) struct Bench {
    pub(crate) harness: Harness,
    pub(crate) weir: Runner,
}

impl Bench {
    /// Tables with room for so many flows, all of which may be half-open.
    pub(crate) fn new<T: Town>(flows: u32, terms: Terms) -> Outcome<Self> {
        // A CPU's own places come first, and there are two CPUs.
        let much = FamilySizes { flows, half_open: flows.saturating_mul(2) };
        let little = FamilySizes { flows: 1, half_open: 1 };
        let sizes = if T::IS_V6 { Sizes { v4: little, v6: much } } else { Sizes { v4: much, v6: little } };
        let weir = Runner::new(&sizes)?;
        pool::settle(weir.tables(), terms)?;
        weir.tables().set_now(NOON);
        Ok(Self { harness: Harness::new(1, 1)?, weir })
    }

    /// What sends packets of this kind: those of the sandbox meet its slot's program on TC, those of remotes the
    /// uplink's on XDP, as in life.
    pub(crate) fn subject<T: Town>(&mut self, segment: Outward, ports: Ports) -> Outcome<Subject> {
        let (program, hook, ingress) = if segment.is_reply() {
            (Program::UplinkXdp, Hook::Xdp, UPLINK)
        } else {
            (Program::SlotTc, Hook::Tc, SLOT)
        };
        let program = self.weir.program(program)?;
        Ok(subject(hook, segment.shot::<T>(ports), program, ingress, hook.sent()))
    }

    /// Sends one packet of each flow: mean nanoseconds, net of the harness.
    pub(crate) fn send<T: Town>(&mut self, segment: Outward, ports: Ports, flows: Flows) -> Outcome<f64> {
        let packet = self.subject::<T>(segment, ports)?;
        rounds::net(&mut self.harness, &packet, flows, flows.count)
            .map_err(|error| format!("{segment:?}: {error}").into())
    }

    /// Opens flows of [`pool::ALL`] ports.
    pub(crate) fn open<T: Town>(&mut self, flows: Flows) -> Outcome<f64> {
        self.send::<T>(Outward::Syn, pool::ALL, flows)
    }

    pub(crate) fn tables(&self) -> &Tables {
        self.weir.tables()
    }

    /// How many packets leave for each of these reasons while something is done.
    pub(crate) fn counted<const N: usize>(
        &mut self,
        reasons: [Reason; N],
        act: impl FnOnce(&mut Self) -> Outcome<()>,
    ) -> Outcome<[f64; N]> {
        let before = self.tables().counters()?;
        act(self)?;
        let after = self.tables().counters()?;
        let of = |counters: &Counters, why| counters.hooks.values().map(|hook| hook.of(why)).sum::<u64>();
        Ok(reasons.map(|why| (of(&after, why) - of(&before, why)) as f64))
    }

    /// Ends flows, and returns mean nanoseconds of an end, the call's own share included.
    pub(crate) fn end(&self, which: impl Fn(&Flow) -> bool) -> Outcome<f64> {
        let ids: Vec<FlowId> = self.tables().flows().iter().filter(|it| which(it)).map(|it| it.id).collect();
        let began = std::time::Instant::now();
        let mut ended = 0;
        for chunk in ids.chunks(MAX_ORDERS as usize) {
            ended += self.weir.end_flows(chunk)?;
        }
        let took = began.elapsed().as_nanos() as f64;
        expect("flows ended", ended, ids.len() as u64)?;
        Ok(took / ids.len().max(1) as f64)
    }

    /// Ends everything, and forgets what is known of crowded remotes.
    pub(crate) fn empty<T: Town + Held>(&self) -> Outcome<()> {
        self.end(|_| true)?;
        Ok(self.tables().forget_ports::<T>()?)
    }
}

/// Flows one after the other.
pub(crate) const fn in_order(first: u32, count: u32) -> Flows {
    Flows { count, first, is_scattered: false }
}

/// The first flows, more than once.
pub(crate) const fn again_and_again(count: u32) -> Flows {
    Flows { count, first: 0, is_scattered: true }
}

/// How many flows fill the ports of an address to so many parts in ten thousand.
pub(crate) const fn filled(in_ten_thousand: u32) -> u32 {
    (PORTS as u64 * in_ten_thousand as u64 / 10_000) as u32
}

/// An error where two flows have one port towards one remote, or one is none of the pool's.
pub(crate) fn every_port_is_one_flows(flows: &[Flow]) -> Outcome<()> {
    let held: BTreeSet<_> =
        flows.iter().map(|flow| (flow.reply.src, flow.reply.dst, flow.reply.dport.number())).collect();
    expect("ports that are held by one flow", held.len() as u64, flows.len() as u64)?;
    let low = held.iter().filter(|(.., port)| u32::from(*port) < 65_536 - PORTS).count();
    expect("ports below the pool's", low as u64, 0)
}

/// An error where these differ.
pub(crate) fn expect(what: &str, found: u64, expected: u64) -> Outcome<()> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, not {expected}").into()) }
}
