//! Runs the tests: both NATs beside each other, each in one testbed for all tests, and says what became of them as `cargo
//! test` says it.
#![expect(clippy::print_stdout, reason = "what became of the tests is the result")]

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use weir_netns_tests::error::Failure;
use weir_netns_tests::nat::{Kind, Nat};
use weir_netns_tests::rfcs::{RFCS, Requirement};

use crate::vector::{Vector, When};

/// What is wrong with a test, by its name; nothing, where all is well.
type Verdicts = BTreeMap<&'static str, Vec<String>>;

/// Runs those that were asked for on the command line.
pub(crate) fn run(files: &[&[Vector]]) -> ExitCode {
    let begun = Instant::now();
    let asked = Asked::of(std::env::args().skip(1));
    let chosen: Vec<Vec<Vector>> =
        files.iter().map(|file| file.iter().filter(|it| asked.has(it.name)).copied().collect()).collect();
    let names: Vec<_> = chosen.iter().flatten().map(|it| it.name).collect();
    if asked.only_lists {
        names.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", names.len());
    let mut verdicts: Verdicts = names.iter().map(|name| (*name, strays(name))).collect();
    if !names.is_empty() {
        for (name, wrong) in on_both(&chosen) {
            verdicts.entry(name).or_default().extend(wrong);
        }
    }
    if asked.is_everything() {
        verdicts.entry("every_test_of_the_table_is_there").or_default().extend(missing(&names));
    }
    let all = files.iter().map(|file| file.len()).sum::<usize>();
    say(&verdicts, all - names.len(), begun)
}

/// What `cargo test -- …` was given.
struct Asked {
    words: Vec<String>,
    is_exact: bool,
    only_lists: bool,
}

impl Asked {
    fn of(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut asked = Self { words: Vec::new(), is_exact: false, only_lists: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => asked.is_exact = true,
                "--list" => asked.only_lists = true,
                // The tests share a testbed: how many threads there are is theirs to say.
                "--test-threads" | "--format" | "--color" => drop(arguments.next()),
                flag if flag.starts_with('-') => {}
                _ => asked.words.push(argument),
            }
        }
        asked
    }

    fn is_everything(&self) -> bool {
        self.words.is_empty()
    }

    fn has(&self, name: &str) -> bool {
        let is_meant =
            |word: &String| if self.is_exact { name == word } else { name.contains(word.as_str()) };
        self.is_everything() || self.words.iter().any(is_meant)
    }
}

fn requirement(name: &str) -> Option<&'static Requirement> {
    RFCS.iter().flat_map(|rfc| rfc.requirements).find(|it| it.test == Some(name))
}

/// A test that no line of the table names.
fn strays(name: &str) -> Vec<String> {
    if requirement(name).is_some() { Vec::new() } else { vec!["no requirement names it".to_owned()] }
}

/// Tests that the table names, and that are not there.
fn missing(names: &[&str]) -> Vec<String> {
    let named = RFCS.iter().flat_map(|rfc| rfc.requirements).filter_map(|it| it.test);
    named.filter(|it| !names.contains(it)).map(|it| format!("{it} is not there")).collect()
}

fn on_both(chosen: &[Vec<Vector>]) -> Vec<(&'static str, Vec<String>)> {
    thread::scope(|scope| {
        let kernel = scope.spawn(|| on(Kind::Kernel, "nat-kernel", chosen));
        let weir = on(Kind::Weir, "nat-weir", chosen);
        let kernel = kernel.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        weir.into_iter().chain(kernel).collect()
    })
}

/// What is judged beside the tests.
const TESTBED: &str = "the_testbed_is_built_and_leaves_nothing_behind";

/// All tests on one NAT, and the clean-up, which is judged as well.
fn on(kind: Kind, name: &'static str, chosen: &[Vec<Vector>]) -> Vec<(&'static str, Vec<String>)> {
    let failed = |error| vec![(TESTBED, vec![format!("{kind:?}: {error}")])];
    let mut nat = match Nat::begin(kind, name) {
        Ok(nat) => nat,
        Err(error) => {
            let none = chosen.iter().flatten().map(|it| (it.name, vec![format!("{kind:?}: not run")]));
            return none.chain(failed(error)).collect();
        }
    };
    let mut seen = beside_each_other(&nat, chosen);
    let at_last: Vec<_> = of(chosen.iter().flatten(), When::AtLast).collect();
    if !at_last.is_empty() {
        match nat.hush() {
            Ok(()) => seen.extend(at_last.iter().map(|it| (it.name, judge(&nat, it)))),
            Err(error) => {
                seen.extend(at_last.iter().map(|it| (it.name, vec![format!("{kind:?}: {error}")])));
            }
        }
    }
    seen.extend(nat.finish().map_or_else(failed, |()| vec![(TESTBED, Vec::new())]));
    seen
}

fn of<'a>(vectors: impl Iterator<Item = &'a Vector>, when: When) -> impl Iterator<Item = &'a Vector> {
    vectors.filter(move |it| it.when == when)
}

fn beside_each_other(nat: &Nat, chosen: &[Vec<Vector>]) -> Vec<(&'static str, Vec<String>)> {
    let one = |it: &Vector| (it.name, judge(nat, it));
    thread::scope(|scope| {
        let at_once = of(chosen.iter().flatten(), When::AtOnce)
            .map(|it| scope.spawn(move || vec![one(it)]))
            .collect::<Vec<_>>();
        let in_turn = chosen
            .iter()
            .map(|file| scope.spawn(move || of(file.iter(), When::InTurn).map(one).collect()))
            .collect::<Vec<_>>();
        let all = at_once.into_iter().chain(in_turn);
        all.flat_map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// What is wrong with a NAT, by a test; nothing, where it does what is claimed.
fn judge(nat: &Nat, vector: &Vector) -> Vec<String> {
    let Some(claim) = requirement(vector.name).map(|it| it.claim(nat.kind)) else { return Vec::new() };
    if !claim.is_to_be_seen() {
        return Vec::new();
    }
    let seen = catch_unwind(AssertUnwindSafe(|| (vector.run)(nat)))
        .unwrap_or_else(|panic| Err(Failure::from(std::io::Error::other(words_of(&*panic)))));
    match seen {
        Ok(seen) if claim.is(&seen) => Vec::new(),
        Ok(seen) => vec![format!("{:?}: claimed is {claim:?}, seen was {seen:?}", nat.kind)],
        Err(error) => vec![format!("{:?}: {error:?}", nat.kind)],
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned())).unwrap_or_default()
}

fn say(verdicts: &Verdicts, filtered_out: usize, begun: Instant) -> ExitCode {
    for (name, wrong) in verdicts {
        println!("test {name} ... {}", if wrong.is_empty() { "ok" } else { "FAILED" });
    }
    let failed: Vec<_> = verdicts.iter().filter(|(_, wrong)| !wrong.is_empty()).collect();
    for (name, wrong) in &failed {
        println!("\n---- {name} ----\n{}", wrong.join("\n").trim());
    }
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {} passed; {} failed; 0 ignored; 0 measured; {filtered_out} filtered out; \
         finished in {:.2}s\n",
        verdicts.len() - failed.len(),
        failed.len(),
        begun.elapsed().as_secs_f32(),
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
