//! Where fights take place: the tables, flows that must outlive them, and the books.

use crate::books::{self, Account};
use crate::duel::{Act, Came, Fought, alone, fight};
use crate::town::{self, Says, Service, Talk};
use std::collections::BTreeMap;
use std::env;
use std::sync::{Mutex, MutexGuard, PoisonError};
use weir_dataplane::Sizes;
use weir_dataplane::flows::{Flow, FlowId};
use weir_dataplane::test_run::Runner;
use weir_path::Reason;
use weir_path::flow::end::End;
use weir_path::time::Now;
use weir_testkit::random::Random;

/// Clients whose flows must outlive everything.
const KEPT: [u8; 2] = [200, 201];

/// One race at a time: each wants both CPUs.
static CPUS: Mutex<()> = Mutex::new(());

/// Holds both CPUs. A race that failed before says so itself.
pub(crate) fn both_cpus() -> MutexGuard<'static, ()> {
    CPUS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tables, the flows that must stay, and what happened so far.
pub(crate) struct Arena {
    pub(crate) runner: Runner,
    pub(crate) random: Random,
    seed: u64,
    kept: Vec<Flow>,
    pub(crate) now: Now,
    runs: u64,
    fights: u64,
    overlapped: u64,
    /// Packets that may begin a flow and were sent on.
    begun: u64,
    _cpus: MutexGuard<'static, ()>,
}

impl Arena {
    pub(crate) fn new(flows: u32, seed_of: u64) -> Self {
        let cpus = both_cpus();
        town::enter();
        let seed: u64 = env::var("WEIR_SEED").map_or(1, |seed| seed.parse().expect("WEIR_SEED is a number"));
        let runner = Runner::new(&Sizes::small(flows)).expect("the programs load: root, Linux 6.6");
        town::build(runner.tables());
        let random = Random::new(seed.wrapping_mul(1_000).wrapping_add(seed_of));
        let mut arena = Self {
            runner,
            random,
            seed,
            kept: Vec::new(),
            now: Now(80_000),
            runs: 0,
            fights: 0,
            overlapped: 0,
            begun: 0,
            _cpus: cpus,
        };
        arena.advance(0);
        for is_v6 in [false, true] {
            for client in KEPT {
                assert!(arena.establish(Talk { is_v6, service: Service::Kept, client, vip: 0 }));
            }
        }
        arena.kept = arena.runner.tables().flows();
        assert_eq!(arena.kept.len(), 2 * KEPT.len());
        arena
    }

    /// Whether to fight on: until so many acts overlapped, and ten times as long by `cargo xtask test --long`.
    pub(crate) fn goes_on(&self, overlaps: u64) -> bool {
        let times = if env::var_os("WEIR_LONG").is_some() { 10 } else { 1 };
        let is_hopeless = self.fights > 1_000 && self.overlapped < self.fights / 50;
        assert!(
            !is_hopeless,
            "{} acts overlapped in {} fights: races take two CPUs",
            self.overlapped, self.fights
        );
        self.overlapped < overlaps * times
    }

    pub(crate) fn advance(&mut self, eighths: u32) {
        self.now = Now(self.now.0 + eighths);
        self.runner.tables().set_now(self.now);
    }

    /// Opens a talk's flow and lets it be answered. Returns whether that went through.
    pub(crate) fn establish(&mut self, talk: Talk) -> bool {
        let [opened] = self.say_alone([Act::Say(talk, Says::Syn, 0)]);
        let Came::Sent(nth) = opened else { return false };
        let rest = [Act::Say(talk, Says::SynAck, nth), Act::Say(talk, Says::Ack, 0)];
        self.say_alone(rest).iter().all(|came| matches!(came, Came::Sent(_)))
    }

    pub(crate) fn say_alone<const N: usize>(&mut self, acts: [Act; N]) -> [Came; N] {
        self.runs += N as u64;
        alone(&self.runner, &acts).try_into().expect("one outcome an act")
    }

    pub(crate) fn fight(&mut self, acts: [&[Act]; 2]) -> [Vec<Came>; 2] {
        self.fights += 1;
        let Fought { came, overlapped } = fight(&self.runner, acts);
        self.overlapped += overlapped;
        for (acts, came) in acts.iter().zip(&came) {
            acts.iter().zip(came).for_each(|(act, came)| self.note(act, came));
        }
        came
    }

    fn note(&mut self, act: &Act, came: &Came) {
        match (act, came) {
            (Act::All(acts), Came::Each(each)) => {
                acts.iter().zip(each).for_each(|(act, came)| self.note(act, came));
            }
            (Act::Say(talk, says, _), came) => {
                self.runs += 1;
                let begins = *says == Says::Syn || talk.service == Service::Dns && !says.is_answer();
                self.begun += u64::from(begins && matches!(came, Came::Sent(_)));
            }
            _ => {}
        }
    }

    /// Looks whether the tables are in order, and lets the kept flows speak.
    pub(crate) fn settle(&mut self) {
        let result = books::in_order(&self.runner);
        let result = result.and_then(|_| books::kept(self.runner.tables(), &self.kept));
        result.unwrap_or_else(|what| panic!("seed {}, fight {}: {what}", self.seed, self.fights));
        for is_v6 in [false, true] {
            let talk = Talk { is_v6, service: Service::Kept, client: *self.random.pick(&KEPT), vip: 0 };
            let acts = [Act::Say(talk, Says::Ack, 0), Act::Say(talk, Says::Answer, 0)];
            assert_eq!(self.say_alone(acts), [Came::Sent(0), Came::Sent(0)], "{talk:?}");
        }
    }

    /// Closes the books, and says what happened.
    pub(crate) fn report(&mut self, name: &str) -> Report {
        let account = books::close(&self.runner).unwrap_or_else(|what| panic!("{what}"));
        let counters = self.runner.tables().counters().unwrap();
        let left = books::packets(&counters, self.runs).unwrap_or_else(|what| panic!("{what}"));
        let of = |why: Reason| left[&why];
        // Drafts are given up for these reasons, too.
        let lost = account.given_up.saturating_sub(of(Reason::ReplyCollision) + of(Reason::FlowTableFull));
        println!(
            "{name}: {} fights, {} runs, {} acts overlapped; {} flows made, {} ended ({}), {} live; races lost {lost}; \
             race_lost {}, reply_collision {}, flow_table_full {}, half_open_full {}",
            self.fights,
            self.runs,
            self.overlapped,
            account.made(),
            account.ended,
            books::ends(&counters),
            account.live,
            of(Reason::RaceLost),
            of(Reason::ReplyCollision),
            of(Reason::FlowTableFull),
            of(Reason::HalfOpenFull),
        );
        let (opened, made) = (of(Reason::Opened), account.made());
        // Who made a flow may lose it before its packet is counted, or another CPU's packet is counted first.
        let unseen = of(Reason::RaceLost) + self.begun;
        assert!(opened <= made && made <= opened + unseen, "{opened} opened, {unseen} unseen, {account:?}");
        Report { account, opened, lost, ends: counters.ended }
    }

    /// Every flow but the kept ones.
    pub(crate) fn others(&self) -> Vec<FlowId> {
        let flows = self.runner.tables().flows();
        flows.iter().map(|flow| flow.id).filter(|id| self.kept.iter().all(|kept| kept.id != *id)).collect()
    }

    /// Both threads end all flows but the kept ones; each is ended once. Returns whether both had a part in it.
    pub(crate) fn end_all(&mut self) -> bool {
        let named = self.others();
        let end = [Act::End(named.clone())];
        let came = self.fight([&end, &end]);
        let [[Came::Ended(one)], [Came::Ended(other)]] = [&came[0][..], &came[1][..]] else {
            panic!("an order says how many it ended: {came:?}")
        };
        assert_eq!(one + other, named.len() as u64, "each flow is ended once");
        assert_eq!(self.others(), []);
        *one > 0 && *other > 0
    }

    /// A talk of this client with any service but the kept one.
    pub(crate) fn talk(&mut self, client: u8) -> Talk {
        let service = *self.random.pick(&[Service::Web, Service::Dns, Service::Fleet]);
        Talk { is_v6: self.random.once_in(2), service, client, vip: u8::from(self.random.once_in(2)) }
    }

    pub(crate) fn anything(&mut self) -> Act {
        let client = self.random.below(6) as u8;
        let talk = self.talk(client);
        let says = if self.random.once_in(3) { Says::Syn } else { *self.random.pick(&Says::ALL) };
        Act::Say(talk, says, self.random.below(talk.service.targets().len()))
    }
}

/// What came of all fights of a kind.
pub(crate) struct Report {
    pub(crate) account: Account,
    pub(crate) opened: u64,
    /// Drafts that were given up because another CPU was first.
    pub(crate) lost: u64,
    pub(crate) ends: BTreeMap<End, u64>,
}
