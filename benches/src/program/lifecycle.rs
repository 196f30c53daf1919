//! Flows opened, followed through their lives, and ended: each step beside the least it could be.

use std::time::Instant;
use weir_benches::figures::Series;
use weir_benches::frames::Segment;
use weir_benches::harness::{DONE, Flows, Harness, Hook};
use weir_benches::rounds::{self, subject};
use weir_benches::town::{self, NOON, Place, SLOT, Town, UPLINK};
use weir_benches::{Outcome, machine};
use weir_dataplane::counters::Hook as CountedHook;
use weir_dataplane::events::Events;
use weir_dataplane::flows::FlowId;
use weir_dataplane::test_run::{Program, Runner};
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::Reason;
use weir_path::flow::{RecordId, V4, V6};
use weir_path::layout::MAX_ORDERS;
use weir_path::time::{Now, Times};

const ROUNDS: usize = 5;
const ROOM: u32 = 2_000_000;
/// A record that no table has.
const NOWHERE: RecordId = RecordId(u32::MAX >> 1);

/// What is measured in each round, in this order.
const STEPS: [&str; 14] = [
    "two bare inserts",
    "two bare deletes",
    "SYN: opens",
    "SYN-ACK: moves",
    "ACK: ends the handshake",
    "ACK back, due: touches the record",
    "ACK back, not due",
    "FIN of the client",
    "FIN of the sandbox: closes",
    "ended by order",
    "SYN: opens, events wanted",
    "ended by order, events wanted",
    "ACK back to nobody: answered",
    "ACK back, flow expired: ended, answered",
];

pub(crate) fn print() -> Outcome<()> {
    println!();
    println!("Steps of flows, ns each, net of the harness (or of the loop over orders).");
    println!("Tables of {ROOM} flows, as many half-open; medians of {ROUNDS} rounds (least..most).");
    for flows in [100_000, 1_000_000] {
        table::<V4>("IPv4", flows)?;
    }
    table::<V6>("IPv6", 100_000)?;
    println!("{}", machine::describe());
    Ok(())
}

fn table<T: Town>(family: &str, flows: u32) -> Outcome<()> {
    let mut bench = Bench::new(T::IS_V6)?;
    let mut figures = vec![Series::default(); STEPS.len()];
    for round in 0..=ROUNDS {
        let lived = bench.round::<T>(flows, round)?;
        if round > 0 {
            figures.iter_mut().zip(lived).for_each(|(series, figure)| series.push(figure));
        }
    }
    println!("{family}, {flows} flows, in their order:");
    for (name, series) in STEPS.iter().zip(&figures) {
        println!("  {name:<36} {series}");
    }
    let [inserts, deletes, open, _, _, due, not_due, _, _, end, open_told, end_told, nobody, expired] =
        figures.as_slice()
    else {
        return Err("a step was not measured".into());
    };
    println!("  open / two bare inserts              {:.2}", open.over(inserts));
    println!("  open less a settled packet / inserts {:.2}", open.less(not_due).over(inserts));
    println!("  end / two bare deletes               {:.2}", end.over(deletes));
    println!("  end by packet / two bare deletes     {:.2}", expired.less(nobody).over(deletes));
    println!("  touch                                {}", due.less(not_due));
    println!("  open + end, events wanted / not      {:.2}", open_told.plus(end_told).over(&open.plus(end)));
    Ok(())
}

struct Bench {
    harness: Harness,
    weir: Runner,
    is_v6: bool,
}

impl Bench {
    fn new(is_v6: bool) -> Outcome<Self> {
        let [much, little] = [ROOM, 1].map(|flows| FamilySizes { flows, half_open: flows });
        let sizes = if is_v6 { Sizes { v4: little, v6: much } } else { Sizes { v4: much, v6: little } };
        let weir = Runner::new(&sizes)?;
        town::settle(weir.tables(), Place::BehindItsSlot)?;
        Ok(Self { harness: Harness::new(sizes.v4.flows, sizes.v6.flows)?, weir, is_v6 })
    }

    /// All steps, in the order of their names.
    fn round<T: Town>(&mut self, flows: u32, round: usize) -> Outcome<Vec<f64>> {
        let suffix = T::SUFFIX.to_lowercase();
        let mut figures = Vec::new();
        // Every round has a time of its own: the second look at a record is due by then.
        self.weir.tables().set_now(Now(NOON.0 + 10_000 * round as u32));
        for bare in ["bare_insert", "bare_remove"] {
            let program = self.harness.program(&format!("{bare}_{suffix}"))?;
            let packet = subject(Hook::Xdp, Segment::Syn.shot::<T>(), program, UPLINK, DONE);
            figures.push(rounds::net(&mut self.harness, &packet, in_order(flows), flows)?);
        }
        let opened = self.opened()?;
        figures.push(self.send::<T>(Segment::Syn, flows)?);
        if self.opened()? - opened != u64::from(flows) {
            return Err(format!("{} flows were opened, not {flows}", self.opened()? - opened).into());
        }
        for segment in [
            Segment::SynAck,
            Segment::Ack,
            Segment::AckBack,
            Segment::AckBack,
            Segment::Fin,
            Segment::FinBack,
        ] {
            figures.push(self.send::<T>(segment, flows)?);
        }
        figures.push(self.end(None)?);
        let mut events = self.weir.events()?;
        figures.push(self.send::<T>(Segment::Syn, flows)?);
        figures.push(self.end(Some(&mut events))?);
        drop(events);
        figures.push(self.send::<T>(Segment::AckBack, flows)?);
        self.send::<T>(Segment::Syn, flows)?;
        let now = self.weir.tables().now();
        self.weir
            .tables()
            .set_now(Now(now.0 + u32::from(Times::DEFAULT.tcp_half_open.0 + 1) * Now::IN_A_SECOND));
        figures.push(self.send::<T>(Segment::AckBack, flows)?);
        Ok(figures)
    }

    fn send<T: Town>(&mut self, segment: Segment, flows: u32) -> Outcome<f64> {
        let (program, ingress) =
            if segment.is_reply() { (Program::SlotXdp, SLOT) } else { (Program::UplinkXdp, UPLINK) };
        let program = self.weir.program(program)?;
        let packet = subject(Hook::Xdp, segment.shot::<T>(), program, ingress, Hook::Xdp.sent());
        rounds::net(&mut self.harness, &packet, in_order(flows), flows)
            .map_err(|error| format!("{segment:?}: {error}").into())
    }

    fn opened(&self) -> Outcome<u64> {
        let counters = self.weir.tables().counters()?;
        Ok(counters.hooks.get(&CountedHook::UplinkXdp).map_or(0, |hook| hook.of(Reason::Opened)))
    }

    /// Ends every flow by order; events are read between orders, outside what is timed. What as many orders cost
    /// that name no record is taken off.
    fn end(&mut self, mut events: Option<&mut Events>) -> Outcome<f64> {
        let flows: Vec<FlowId> = self.weir.tables().flows().iter().map(|flow| flow.id).collect();
        let nothing = FlowId { is_v6: self.is_v6, record: NOWHERE, incarnation: 1 };
        let (mut busy, mut idle) = (0.0, 0.0);
        for chunk in flows.chunks(MAX_ORDERS as usize) {
            let began = Instant::now();
            let ended = self.weir.end_flows(chunk)?;
            busy += began.elapsed().as_nanos() as f64;
            if ended != chunk.len() as u64 {
                return Err(format!("{ended} flows were ended, not {}", chunk.len()).into());
            }
            let nothings = vec![nothing; chunk.len()];
            let began = Instant::now();
            self.weir.end_flows(&nothings)?;
            idle += began.elapsed().as_nanos() as f64;
            let mut told = 0;
            while events.as_mut().is_some_and(|events| events.next_event().is_some()) {
                told += 1;
            }
            if events.is_some() && told != chunk.len() {
                return Err(format!("{told} ends were told, not {}", chunk.len()).into());
            }
        }
        Ok((busy - idle) / flows.len() as f64)
    }
}

const fn in_order(count: u32) -> Flows {
    Flows { count, first: 0, is_scattered: false }
}
