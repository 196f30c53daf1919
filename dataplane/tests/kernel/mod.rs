//! The real programs as executors: single packets by kernel test run, in a network namespace with the town's
//! devices.

use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::process::Command;
use weir_dataplane::counters::{Hook, HookCounters};
use weir_dataplane::flows::{FlowId, Resting};
use weir_dataplane::test_run::{Program, Runner};
use weir_dataplane::{Sizes, Tables};
use weir_path::Reason;
use weir_path::addr::{IfIndex, Mac};
use weir_path::flow::{Key, Key4, Key6, V4, V6};
use weir_path::tables::{AccountWord, ConnectorId, Direction, Holder, NextHopId, TenantId};
use weir_path::time::{Now, Seconds};
use weir_testkit::model::{sides, table};
use weir_testkit::packets::{ETHERNET, SHORTEST_ON_TC, is_tagged, untagged};
use weir_testkit::world::{Answers, Blocked, Books, Change, FlowImage, Flows, Rests, WalkCounters};
use weir_testkit::{End, Executor, Ran, State, Walk, World, town};

/// Which kernel hook runs both walks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum On {
    Xdp,
    Tc,
}

/// One hook's programs. A table's size is fixed when it is made, so there is a runner for each size.
pub(crate) struct Kernel {
    on: On,
    runners: Vec<(Sizes, Runner)>,
    sizes: Sizes,
}

/// What a test run on TC takes fits into a page, with what the kernel has around it.
const LONGEST_ON_TC: usize = 3_500;

/// Puts this thread into a network namespace of its own that has the town's devices, two to a veth pair; and onto one
/// CPU, because each CPU has records and half-open places of its own.
pub(crate) fn enter_town() {
    stay_on_one_cpu();
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own: run this as root");
    for index in town::DEVICES.step_by(2) {
        let [one, other] = [index, index + 1].map(|index| index.to_string());
        let [name, peer] = [&one, &other].map(|index| format!("weir-{index}"));
        let pair = ["link", "add", "name", &name, "index", &one, "type", "veth", "peer", "name", &peer];
        let made = Command::new("ip").args(pair).args(["index", &other]).status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "`ip {}` failed: is iproute2 there?",
            pair.join(" ")
        );
    }
}

fn stay_on_one_cpu() {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("Linux tells where a thread may run");
    let mut one = CpuSet::new();
    let cpu = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    one.set(cpu.expect("a CPU to run on")).expect("a CPU that there is");
    sched_setaffinity(Pid::from_raw(0), &one).expect("a thread may stay where it is");
}

impl Kernel {
    pub(crate) fn new(on: On) -> Self {
        Self { on, runners: Vec::new(), sizes: town::world().sizes }
    }

    fn runner(&mut self) -> &mut Runner {
        let sizes = self.sizes;
        let at = self.runners.iter().position(|(known, _)| *known == sizes).unwrap_or_else(|| {
            let programs = [Walk::FromUplink, Walk::FromSlot].map(|walk| self.program(walk));
            let runner =
                Runner::with(&sizes, &programs).expect("the programs load: this takes root and Linux 6.6");
            self.runners.push((sizes, runner));
            self.runners.len() - 1
        });
        &mut self.runners[at].1
    }

    fn tables(&mut self) -> &Tables {
        self.runner().tables()
    }

    fn program(&self, walk: Walk) -> Program {
        match (self.on, walk) {
            (On::Xdp, Walk::FromUplink) => Program::UplinkXdp,
            (On::Xdp, Walk::FromSlot) => Program::SlotXdp,
            (On::Tc, Walk::FromUplink) => Program::UplinkTc,
            (On::Tc, Walk::FromSlot) => Program::SlotTc,
        }
    }

    fn walk_of(&self, hook: Hook) -> Option<Walk> {
        match (hook, self.on) {
            (Hook::UplinkXdp, On::Xdp) | (Hook::UplinkTc, On::Tc) => Some(Walk::FromUplink),
            (Hook::SlotTc, _) => Some(Walk::FromSlot),
            _ => None,
        }
    }

    /// Orders the end of a flow of either family, if it is there.
    fn end_flow(&mut self, v4: Option<Key4>, v6: Option<Key6>) {
        let is_it = |flow: &weir_dataplane::flows::Flow| {
            let v4 = v4.is_some_and(|key| flow.original == key.ends().mapped() && is_in(flow, &key));
            let v6 = v6.is_some_and(|key| flow.original == key.ends() && is_in(flow, &key));
            if flow.id.is_v6 { v6 } else { v4 }
        };
        let flows = self.tables().flows();
        let named: Vec<FlowId> = flows.into_iter().filter(is_it).map(|flow| flow.id).collect();
        let ended = self.runner().end_flows(&named).unwrap();
        assert_eq!(ended, named.len() as u64, "a flow that nobody else ends is ended by order");
    }
}

fn is_in<K: Key>(flow: &weir_dataplane::flows::Flow, key: &K) -> bool {
    flow.protocol == key.protocol() && flow.zones[0] == key.zone()
}

impl Executor for Kernel {
    fn name(&self) -> &'static str {
        match self.on {
            On::Xdp => "XDP",
            On::Tc => "TC",
        }
    }

    /// A test run on TC can't have a tag beside the bytes, where a packet from a wire has it.
    fn takes(&self, frame: &[u8]) -> bool {
        match self.on {
            On::Xdp => frame.len() >= ETHERNET,
            On::Tc => (SHORTEST_ON_TC..LONGEST_ON_TC).contains(&frame.len()) && !is_tagged(frame),
        }
    }

    /// TC puts a tag beside the bytes, where a test run doesn't look.
    fn shows(&self, came: &[u8], left: &[u8]) -> Vec<u8> {
        match self.on {
            On::Tc if !is_tagged(came) => untagged(left),
            _ => left.to_vec(),
        }
    }

    fn load(&mut self, world: &World) {
        self.sizes = world.sizes;
        let tables = self.tables();
        tables.clear().unwrap();
        tables.set_now(world.now);
        world.interfaces.iter().for_each(|interface| tables.set_interface(interface).unwrap());
        world.rates.iter().for_each(|(slot, rates)| tables.set_rates(*slot, rates).unwrap());
        world.next_hops.iter().for_each(|(id, station)| tables.set_next_hop(*id, *station).unwrap());
        tables.insert_flows::<V4>(&world.states()).unwrap();
        tables.insert_flows::<V6>(&world.states()).unwrap();
        tables.apply(&world.image).unwrap();
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Apply(image) => drop(self.tables().apply(image).unwrap()),
            Change::Bind(interface) => self.tables().set_interface(interface).unwrap(),
            Change::SetNow(now) => self.tables().set_now(*now),
            Change::SetRates(slot, rates) => self.tables().set_rates(*slot, rates).unwrap(),
            Change::EndV4(original) => self.end_flow(Some(*original), None),
            Change::EndV6(original) => self.end_flow(None, Some(*original)),
            Change::AgeStep => self.runner().age_step().unwrap(),
        }
    }

    fn run(&mut self, walk: Walk, arrival: IfIndex, packet: &[u8]) -> Ran {
        let program = self.program(walk);
        let ran = self.runner().run(program, arrival, packet).unwrap();
        Ran { end: end(self.on, ran.action), bytes: ran.bytes }
    }

    fn state(&mut self) -> State {
        let tables = self.tables();
        let counters = tables.counters().unwrap();
        let v4 = table(tables.flow_states::<V4>().unwrap().iter().map(FlowImage::of).collect());
        let v6 = table(tables.flow_states::<V6>().unwrap().iter().map(FlowImage::of).collect());
        let entries = tables.flow_keys::<V4>().unwrap().len() + tables.flow_keys::<V6>().unwrap().len();
        let resting: Rests = tables.resting().iter().map(rest).collect();
        let strays = entries.saturating_sub(sides(&v4) + sides(&v6) + resting.len());
        let refused = tables.refused().unwrap().into_iter();
        let refused = refused.map(|it| ((it.towards, it.protocol, it.zone), it.count)).collect();
        let next_hops = next_hops(tables);
        let (books, blocked) = (books(tables), blocked(tables));
        let mut walks = BTreeMap::new();
        for (hook, counted) in counters.hooks.into_iter().filter(|(_, counted)| counted.entered != 0) {
            let walk = self.walk_of(hook).unwrap_or_else(|| panic!("{hook:?} counted, but never ran"));
            walks.insert(walk, nonzero(&counted));
        }
        let (opened, ended, sent) = (counters.opened, counters.ended, counters.sent);
        let flows = Flows { v4, v6 };
        State { flows, resting, refused, strays, opened, ended, walks, next_hops, sent, books, blocked }
    }
}

fn books(tables: &Tables) -> Books {
    let slots = tables.interfaces().unwrap().into_iter().map(|interface| Holder::Slot(interface.egress.id));
    let tenants = (1..=town::TENANTS).map(|id| Holder::Tenant(TenantId(id)));
    let mut books = Books::default();
    for holder in slots.chain(tenants) {
        let account = tables.account(holder);
        books.note(holder, AccountWord::Flows, account.flows);
        books.note(holder, AccountWord::HalfOpen, account.half_open);
        books.note(holder, AccountWord::Ports, account.ports);
        books.note(holder, AccountWord::RefusedFlows, account.refused_flows);
        books.note(holder, AccountWord::RefusedHalfOpen, account.refused_half_open);
        books.note(holder, AccountWord::RefusedPorts, account.refused_ports);
        books.note(holder, AccountWord::RefusedOpened, account.refused_opened);
    }
    books
}

fn blocked(tables: &Tables) -> Blocked {
    let ids = (0..town::CONNECTORS).map(ConnectorId);
    let both = ids.flat_map(|id| Direction::ALL.map(|direction| (id, direction)));
    let counted = both.map(|(id, direction)| ((id, direction), tables.blocked(id, direction).unwrap()));
    counted.filter(|(_, count)| *count != 0).collect()
}

fn rest(port: &Resting) -> (Answers, (Now, Seconds)) {
    let Resting { reply, protocol, zone, since, rest, .. } = *port;
    ((reply, protocol, zone), (since, rest))
}

fn next_hops(tables: &Tables) -> BTreeMap<NextHopId, Mac> {
    let ids = tables.interfaces().unwrap().into_iter().map(|interface| interface.egress.id);
    let ids = ids.flat_map(|id| [NextHopId::gateway(id), NextHopId::gateway6(id)]);
    ids.filter_map(|id| Some((id, tables.next_hop(id).unwrap()?))).collect()
}

fn nonzero(counted: &HookCounters) -> WalkCounters {
    let left = Reason::ALL.iter().map(|why| (*why, counted.of(*why))).filter(|(_, packets)| *packets != 0);
    WalkCounters { entered: counted.entered, left: left.collect() }
}

/// The programs' return codes (include/uapi/linux/bpf.h and pkt_cls.h).
fn end(on: On, action: i32) -> End {
    match (on, action) {
        (On::Xdp, 1) | (On::Tc, 2) => End::Drop,
        (On::Xdp, 2) | (On::Tc, -1) => End::Pass,
        (On::Xdp, 4) | (On::Tc, 7) => End::Send,
        _ => panic!("{on:?} returned {action}, which the path never does"),
    }
}
