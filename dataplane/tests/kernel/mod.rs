//! The real programs as executors: single packets by kernel test run, in a network namespace with the town's
//! devices.

use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::process::Command;
use weir_dataplane::Tables;
use weir_dataplane::counters::{Hook, HookCounters};
use weir_dataplane::test_run::{Program, Runner};
use weir_path::Reason;
use weir_path::addr::IfIndex;
use weir_testkit::packets::{ETHERNET, SHORTEST_ON_TC};
use weir_testkit::world::{Change, WalkCounters};
use weir_testkit::{End, Executor, Ran, State, Walk, World, town};

/// Which kernel hook runs both walks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum On {
    Xdp,
    Tc,
}

/// One hook's programs. A flow table's size is fixed when it is made, so there is a runner for each size.
pub(crate) struct Kernel {
    on: On,
    runners: BTreeMap<u32, Runner>,
    max_flows: u32,
}

/// Puts this thread into a network namespace of its own that has the town's devices, two to a veth pair.
pub(crate) fn enter_town() {
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

impl Kernel {
    pub(crate) fn new(on: On) -> Self {
        Self { on, runners: BTreeMap::new(), max_flows: 0 }
    }

    fn runner(&mut self) -> &mut Runner {
        let max_flows = self.max_flows;
        self.runners.entry(max_flows).or_insert_with(|| {
            Runner::new(max_flows).expect("the programs load: this takes root and Linux 6.6")
        })
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
}

impl Executor for Kernel {
    fn name(&self) -> &'static str {
        match self.on {
            On::Xdp => "XDP",
            On::Tc => "TC",
        }
    }

    fn takes(&self, frame_len: usize) -> bool {
        match self.on {
            On::Xdp => frame_len >= ETHERNET,
            On::Tc => frame_len >= SHORTEST_ON_TC,
        }
    }

    fn load(&mut self, world: &World) {
        self.max_flows = world.max_flows;
        let tables = self.tables();
        tables.clear().unwrap();
        world.interfaces.iter().for_each(|interface| tables.set_interface(interface).unwrap());
        world.flows.iter().for_each(|(key, flow)| tables.insert_flow(key, flow).unwrap());
        tables.apply(&world.image).unwrap();
    }

    fn change(&mut self, change: &Change) {
        let tables = self.tables();
        match change {
            Change::Apply(image) => drop(tables.apply(image).unwrap()),
            Change::Bind(interface) => tables.set_interface(interface).unwrap(),
            Change::Insert(key, flow) => tables.insert_flow(key, flow).unwrap(),
            Change::Remove(key) => tables.remove_flow(key).unwrap(),
        }
    }

    fn run(&mut self, walk: Walk, arrival: IfIndex, packet: &[u8]) -> Ran {
        let program = self.program(walk);
        let ran = self.runner().run(program, arrival, packet).unwrap();
        Ran { end: end(self.on, ran.action), bytes: ran.bytes }
    }

    fn state(&mut self) -> State {
        let counters = self.tables().counters().unwrap();
        let flows = self.tables().flows().unwrap().into_iter().collect();
        let mut walks = BTreeMap::new();
        for (hook, counted) in counters.hooks.into_iter().filter(|(_, counted)| counted.entered != 0) {
            let walk = self.walk_of(hook).unwrap_or_else(|| panic!("{hook:?} counted, but never ran"));
            walks.insert(walk, nonzero(&counted));
        }
        State { flows, walks, sent: counters.sent }
    }
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
