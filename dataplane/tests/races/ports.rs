//! Races for the ports of one address, on the real programs and maps: two threads open flows towards few remotes from
//! slots of their own, where there are fewer ports than flows; and give ports back meanwhile.
//!
//! After every fight: no port is two flows', every port is a flow's, or rests, or can be had; and what was refused was
//! refused where no port was left.

use crate::arena::both_cpus;
use crate::books::require;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::env;
use std::sync::Barrier;
use std::thread;
use weir_dataplane::flows::{Flow, FlowId};
use weir_dataplane::test_run::{Hand, Program, Runner};
use weir_dataplane::{FamilySizes, Sizes, Tables};
use weir_path::Reason;
use weir_path::flow::PortUse;
use weir_path::tables::Interface;
use weir_path::time::{Now, Seconds};
use weir_testkit::packets::{Party, tcp, tcp6};
use weir_testkit::random::Random;
use weir_testkit::town::{self, FEW, FEW_REST, FN_1, FN_2, GATEWAY, OUT, OUT_6, SERVER, SERVER_6};

/// Ports of each of the two addresses.
const PORTS: usize = 64;
/// Remotes that the sandboxes speak to.
const REMOTES: u16 = 2;
/// The slots, each of which one thread sends from.
const SLOTS: [Interface; 2] = [FN_1, FN_2];
/// Fights; ten times as many by `cargo xtask test --long`.
const FIGHTS: u32 = 150;
/// SYNs of each thread in a fight: together more than there are ports.
const SYNS: u16 = 2 * PORTS as u16 * REMOTES * 5 / 8;

/// The town's tables, where both slots have the connector with few ports, which rest for so long.
fn town(rest: Seconds) -> Runner {
    enter();
    let family = FamilySizes { flows: 2 * 4_096, half_open: 2 * 4_096 };
    let runner = Runner::new(&Sizes { v4: family, v6: family }).expect("the programs load: root, Linux 6.6");
    let tables = runner.tables();
    let mut world = town::world();
    world.image.connectors.get_mut(&FEW).unwrap().connector.rest = rest;
    tables.clear().unwrap();
    tables.set_now(world.now);
    for interface in world.interfaces {
        let connector = if SLOTS.contains(&interface) { FEW } else { interface.connector };
        tables.set_interface(&Interface { connector, answers: u32::MAX / 8, ..interface }).unwrap();
    }
    world.next_hops.iter().for_each(|(id, station)| tables.set_next_hop(*id, *station).unwrap());
    tables.apply(&world.image).unwrap();
    runner
}

/// Puts this thread, and those it starts, into a network namespace of their own with the town's devices.
fn enter() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace: run this as root");
    for index in town::DEVICES.step_by(2) {
        let [one, other] = [index, index + 1].map(|index| index.to_string());
        let [name, peer] = [&one, &other].map(|index| format!("weir-{index}"));
        let pair = ["link", "add", "name", &name, "index", &one, "type", "veth", "peer", "name", &peer];
        let made = std::process::Command::new("ip").args(pair).args(["index", &other]).status();
        assert!(made.is_ok_and(|status| status.success()), "`ip {}` failed", pair.join(" "));
    }
}

/// What one thread does: SYNs from these ports, to these remotes; and flows that it ends.
#[derive(Clone, Default)]
struct Part {
    syns: Vec<(u16, u16)>,
    ends: Vec<FlowId>,
}

fn syn(is_v6: bool, (port, remote): (u16, u16)) -> Vec<u8> {
    let dport = 443 + remote;
    if is_v6 {
        let to = Party { mac: GATEWAY.mac, ..SERVER_6.port(dport) };
        return tcp6(OUT_6.port(port), to).syn().bytes();
    }
    tcp(OUT.port(port), SERVER.port(dport).mac(GATEWAY.mac)).syn().bytes()
}

/// Both threads at once, each on its own CPU: one by the programs for TC, one by those for XDP.
fn fight(runner: &Runner, is_v6: bool, parts: [&Part; 2]) {
    let start = Barrier::new(2);
    let play = |nth: usize, part: &Part| {
        pin(nth);
        let mut hand: Hand<'_> = runner.hand();
        let program = if nth == 0 { Program::SlotXdp } else { Program::SlotTc };
        start.wait();
        let mut ends = part.ends.chunks(4);
        for syns in part.syns.chunks(4) {
            for said in syns {
                hand.run(program, SLOTS[nth].egress.ifindex, &syn(is_v6, *said)).unwrap();
            }
            ends.next().map(|named| runner.end_flows(named).unwrap());
        }
    };
    let [one, other] = parts;
    thread::scope(|scope| {
        let theirs = scope.spawn(|| play(1, other));
        play(0, one);
        theirs.join().expect("the other thread says what is wrong");
    });
}

fn pin(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).expect("a small number");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("races take two CPUs");
}

/// No port is two flows', nor does one rest that a flow has. Returns how many ports are taken.
fn in_order(runner: &Runner, flows: &[Flow]) -> Result<usize, String> {
    let tables = runner.tables();
    let mut taken = BTreeSet::new();
    for flow in flows {
        require(flow.port == PortUse::OWN, || format!("{flow:?} has no port of its own"))?;
        require(taken.insert((flow.reply, flow.zones[1])), || format!("a port is two flows': {flow:?}"))?;
    }
    for rest in tables.resting() {
        require(taken.insert((rest.reply, rest.zone)), || format!("a port that rests is in use: {rest:?}"))?;
    }
    Ok(taken.len())
}

fn refused(runner: &Runner) -> u64 {
    let counters = runner.tables().counters().unwrap();
    let of = |why| counters.hooks.values().map(|hook| hook.of(why)).sum::<u64>();
    assert_eq!(of(Reason::FlowTableFull) + of(Reason::HalfOpenFull) + of(Reason::ReplyCollision), 0);
    of(Reason::AnsweredPortsExhausted) + of(Reason::PortNotFound)
}

#[test]
fn two_cpus_that_want_more_ports_than_there_are_get_each_port_once() {
    let crowded = fights(FEW_REST);
    assert!(crowded > FIGHTS as usize / 20, "all ports were taken in {crowded} fights only");
}

#[test]
fn ports_that_are_given_back_while_others_want_them_are_had_again_and_none_is_lost() {
    fights(Seconds(0));
}

/// Fights where ports rest for so long. Returns in how many all ports were taken at the end.
fn fights(rest: Seconds) -> usize {
    let _cpus = both_cpus();
    let runner = town(rest);
    let seed: u64 = env::var("WEIR_SEED").map_or(1, |seed| seed.parse().expect("WEIR_SEED is a number"));
    let times = if env::var_os("WEIR_LONG").is_some() { 10 } else { 1 };
    let mut random = Random::new(seed);
    let all = 2 * PORTS * usize::from(REMOTES);
    let (mut crowded, mut given_back) = (0, 0);
    for nth in 0..FIGHTS * times {
        let is_v6 = nth % 2 == 1;
        let known: Vec<Flow> =
            runner.tables().flows().into_iter().filter(|it| it.id.is_v6 == is_v6).collect();
        let mut parts = [Part::default(), Part::default()];
        for flow in &known {
            match random.below(3) {
                2 => {}
                part => parts[part].ends.push(flow.id),
            }
        }
        given_back += parts.iter().map(|part| part.ends.len()).sum::<usize>();
        for part in &mut parts {
            let syns = (0..SYNS).map(|_| (1_024 + random.word() % 30_000, random.word() % REMOTES));
            part.syns = syns.collect();
        }
        fight(&runner, is_v6, [&parts[0], &parts[1]]);
        let flows: Vec<Flow> =
            runner.tables().flows().into_iter().filter(|it| it.id.is_v6 == is_v6).collect();
        let taken = in_order(&runner, &runner.tables().flows());
        taken.unwrap_or_else(|what| panic!("seed {seed}, fight {nth}: {what}"));
        let of_family = flows.len() + runner.tables().resting().iter().filter(|it| it.is_v6 == is_v6).count();
        assert!(of_family <= all, "{of_family} of {all} ports are taken");
        crowded += usize::from(of_family == all);
        // What rests has rested, and is given back.
        rests(runner.tables(), rest);
        (0..8).for_each(|_| runner.age_step().unwrap());
        if nth % 2 == 1 && random.once_in(4) {
            every_port_is_had(&runner, seed, nth);
        }
    }
    let refused = refused(&runner);
    println!(
        "ports: {given_back} flows were ended under fire, {crowded} fights took all {all} ports, {refused} refused"
    );
    crowded
}

/// As much time passes as ports rest for.
fn rests(tables: &Tables, rest: Seconds) {
    tables.set_now(Now(tables.now().0 + 8 * (u32::from(rest.0) + 1)));
}

/// All flows end, all ports rest and are given back: then every one of them can be had again, and not one more.
fn every_port_is_had(runner: &Runner, seed: u64, nth: u32) {
    let tables = runner.tables();
    let named: Vec<FlowId> = tables.flows().iter().map(|flow| flow.id).collect();
    runner.end_flows(&named).unwrap();
    rests(tables, FEW_REST);
    for _ in 0..64 {
        runner.age_step().unwrap();
    }
    assert_eq!((tables.flows().len(), tables.resting().len()), (0, 0), "seed {seed}, fight {nth}");
    let mut hand = runner.hand();
    for is_v6 in [false, true] {
        // A port may not be found at once where its set is new: the next packet goes on from there.
        let wanted = 2 * PORTS as u16;
        for port in 0..4 * wanted {
            hand.run(Program::SlotTc, SLOTS[0].egress.ifindex, &syn(is_v6, (40_000 + port, 0))).unwrap();
        }
        let had = tables.flows().iter().filter(|flow| flow.id.is_v6 == is_v6).count();
        assert_eq!(had, wanted.into(), "seed {seed}, fight {nth}: ports were lost, or given out twice");
    }
}
