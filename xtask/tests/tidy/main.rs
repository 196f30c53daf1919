//! The house rules, as tests: what a reviewer should not have to look for.
//!
//! Each rule is a function from text to offences, tried on a bad snippet beside it, and run over the whole
//! checkout here. The one list of exceptions is below.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod law;
mod pure;
mod rust;
mod tree;
mod words;

use std::process::Command;
use tree::File;

/// What fits on a few screens, and in a head.
const MOST_LINES_OF_A_FILE: usize = 400;
const MOST_LINES_OF_A_FUNCTION: usize = 60;

/// What is longer than the rule allows: file, function (none: the file itself), and why it should stay so.
const EXCEPTIONS: &[(&str, Option<&str>, &str)] = &[
    ("dataplane/testkit/src/fixtures/answers.rs", Some("resets_on_the_wire"), A_TABLE),
    ("dataplane/testkit/src/fixtures/eni_neighbours.rs", Some("learnt"), A_TABLE),
    ("dataplane/testkit/src/fixtures/exhausted.rs", Some("exhausted"), A_TABLE),
    ("dataplane/testkit/src/fixtures/stories/hops.rs", Some("gateways"), A_TABLE),
    ("dataplane/testkit/src/fixtures/stories/outward.rs", Some("conversations"), A_TABLE),
    ("dataplane/testkit/src/fixtures/stories/rests.rs", Some("which"), A_TABLE),
];
const A_TABLE: &str = "a table: one fixture, or one story, after the other";

/// Where `unsafe` may be: the programs' own crates, and one module each of those that call the kernel.
fn may_be_unsafe(path: &str) -> bool {
    let is_program = path.starts_with("ebpf/src/") || path.starts_with("benches/ebpf/src/");
    let calls_the_kernel = path.starts_with("dataplane/src/") || path.starts_with("controller/src/");
    is_program || calls_the_kernel && (path.ends_with("/sys.rs") || path.contains("/sys/"))
}

fn rust_files() -> Vec<File> {
    tree::files().into_iter().filter(File::is_rust).collect()
}

fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

#[test]
fn packages_depend_only_on_what_the_law_allows() {
    assert_none("dependency law (see law.rs):", &law::offences(&tree::files()));
}

#[test]
fn dependencies_come_from_the_public_registry() {
    for file in tree::files().iter().filter(|file| file.path.ends_with("Cargo.lock")) {
        assert_none(&format!("{} names another registry:", file.path), &law::foreign_sources(&file.text));
    }
}

#[test]
fn the_pure_stages_of_the_controller_import_nothing_that_does_io() {
    let stages = ["controller/src/plan/", "controller/src/compile/", "controller/src/pool/"];
    let files = rust_files();
    for stage in stages {
        let of_stage: Vec<_> = files.iter().filter(|file| file.path.starts_with(stage)).collect();
        assert!(!of_stage.is_empty(), "{stage} is empty: this rule would judge nothing");
        for file in of_stage {
            let code = rust::code(&file.text);
            assert_none(
                &format!("{} is to be pure:", file.path),
                &pure::offences(rust::without_tests(&code)),
            );
        }
    }
}

#[test]
fn the_plan_does_not_depend_on_a_random_order() {
    for file in rust_files().iter().filter(|file| file.path.starts_with("controller/src/plan/")) {
        let code = rust::code(&file.text);
        for random in ["HashMap", "HashSet"] {
            assert!(!rust::has_word(&code, random), "{}: {random}; take a BTree", file.path);
        }
    }
}

#[test]
fn files_are_short() {
    let is_excepted =
        |file: &File| EXCEPTIONS.iter().any(|(path, name, _)| *path == file.path && name.is_none());
    let offences =
        long_files(&rust_files().into_iter().filter(|file| !is_excepted(file)).collect::<Vec<_>>());
    assert_none("too long without its tests; split it, or except it with a reason:", &offences);
}

fn long_files(files: &[File]) -> Vec<String> {
    let lengths = files.iter().map(|file| (&file.path, rust::without_tests(&file.text).lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > MOST_LINES_OF_A_FILE);
    long.map(|(path, lines)| format!("{path}: {lines} lines")).collect()
}

#[test]
fn functions_are_short() {
    let is_excepted = |path: &str, function: &str| {
        EXCEPTIONS.iter().any(|(at, name, _)| *at == path && *name == Some(function))
    };
    let mut offences = Vec::new();
    for file in rust_files() {
        let long = long_functions(&file);
        offences.extend(
            long.into_iter()
                .filter(|f| !is_excepted(&file.path, &f.name))
                .map(|f| format!("{}:{}: {} has {} lines", file.path, f.line, f.name, f.lines)),
        );
    }
    assert_none("too long; split it, or except it with a reason:", &offences);
}

fn long_functions(file: &File) -> Vec<rust::Function> {
    let functions = rust::functions(&rust::code(&file.text));
    functions.into_iter().filter(|function| function.lines > MOST_LINES_OF_A_FUNCTION).collect()
}

#[test]
fn every_exception_is_still_needed_and_has_a_reason() {
    let files = rust_files();
    for (path, name, reason) in EXCEPTIONS {
        let file = files.iter().find(|file| file.path == *path);
        let file = file.unwrap_or_else(|| panic!("{path} is excepted and isn't there"));
        let is_needed = match name {
            None => !long_files(&[File { path: file.path.clone(), text: file.text.clone() }]).is_empty(),
            Some(name) => long_functions(file).iter().any(|function| function.name == *name),
        };
        assert!(is_needed, "{path} {name:?} is short enough: take it out of the exceptions");
        assert!(reason.len() > 20, "{path} {name:?}: a reason is a sentence");
    }
}

#[test]
fn unsafe_is_only_where_the_kernel_is_called_and_says_why_it_is_sound() {
    let mut offences = Vec::new();
    for file in rust_files() {
        offences.extend(unsafe_offences(&file.path, &file.text));
    }
    assert_none("unsafe:", &offences);
}

fn unsafe_offences(path: &str, text: &str) -> Vec<String> {
    let code = rust::code(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut offences = Vec::new();
    for (number, line) in code.lines().enumerate().filter(|(_, line)| rust::has_word(line, "unsafe")) {
        if !may_be_unsafe(path) {
            offences.push(format!("{path}:{}: may not be unsafe", number + 1));
        }
        let is_block = line.contains("unsafe {") || line.contains("unsafe impl");
        // A comment of several lines, perhaps with the start of the statement between.
        let before = &lines[number.saturating_sub(6)..=number];
        if is_block && !before.iter().any(|line| line.contains("SAFETY:")) {
            offences.push(format!("{path}:{}: no SAFETY comment", number + 1));
        }
    }
    offences
}

#[test]
fn tests_are_named_as_sentences() {
    let mut offences = Vec::new();
    for file in rust_files() {
        offences.extend(badly_named_tests(&file.path, &file.text));
    }
    assert_none("a test's name says what is promised, in words:", &offences);
}

fn badly_named_tests(path: &str, text: &str) -> Vec<String> {
    let tests = rust::functions(&rust::code(text)).into_iter().filter(|function| function.is_test);
    let bad = tests.filter(|test| test.name.starts_with("test_") || test.name.matches('_').count() < 2);
    bad.map(|test| format!("{path}:{}: {}", test.line, test.name)).collect()
}

#[test]
fn no_text_has_a_banned_word() {
    let mut offences = Vec::new();
    for file in tree::files().iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        offences.extend(words::banned(&file.path, &file.text));
    }
    assert_none("banned:", &offences);
}

#[test]
fn every_relative_link_leads_somewhere() {
    let root = tree::root();
    let mut offences = Vec::new();
    for file in tree::files().iter().filter(|file| file.is_markdown()) {
        offences.extend(words::dead_links(&root, &file.path, &file.text));
    }
    assert_none("dead links:", &offences);
}

#[test]
fn the_page_of_reasons_is_what_the_source_says() {
    let status = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["docs", "--check"]).status().unwrap();
    assert!(status.success(), "run `cargo xtask docs`");
}

#[test]
fn every_file_begins_with_why_it_exists() {
    let files = rust_files();
    let without = files.iter().filter(|file| !begins_with_why(&file.text)).map(|file| file.path.clone());
    assert_none("no `//!` at the top:", &without.collect::<Vec<_>>());
}

fn begins_with_why(text: &str) -> bool {
    text.starts_with("//! ")
}

mod the_rules_can_be_broken {
    use super::*;

    fn file(path: &str, text: String) -> File {
        File { path: path.into(), text }
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_are_not_counted() {
        let long = file("a.rs", "//!\n".repeat(MOST_LINES_OF_A_FILE + 1));
        let tested =
            file("b.rs", format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(500)));
        assert_eq!(long_files(&[long, tested]), ["a.rs: 401 lines"]);
    }

    #[test]
    fn a_long_function_is_found() {
        let body = |lines: usize| format!("fn f() {{\n{}}}\n", "    a();\n".repeat(lines));
        assert_eq!(long_functions(&file("a.rs", body(MOST_LINES_OF_A_FUNCTION - 2))), []);
        assert_eq!(long_functions(&file("a.rs", body(MOST_LINES_OF_A_FUNCTION - 1))).len(), 1);
    }

    #[test]
    fn unsafe_in_the_wrong_place_or_without_a_reason_is_found() {
        let with_reason = "// SAFETY: it is.\nunsafe { f() }\n";
        assert_eq!(unsafe_offences("ebpf/src/maps.rs", with_reason), [""; 0]);
        assert_eq!(unsafe_offences("controller/src/host/sys.rs", with_reason), [""; 0]);
        assert_eq!(unsafe_offences("controller/src/host/link.rs", with_reason).len(), 1);
        assert_eq!(unsafe_offences("dataplane/path/src/walk.rs", with_reason).len(), 1);
        assert_eq!(unsafe_offences("ebpf/src/maps.rs", "unsafe { f() }\n").len(), 1);
    }

    #[test]
    fn a_test_whose_name_is_no_sentence_is_found() {
        assert_eq!(badly_named_tests("a.rs", "#[test]\nfn test_that_it_works() {}\n").len(), 1);
        assert_eq!(badly_named_tests("a.rs", "#[test]\nfn parses() {}\n").len(), 1);
        assert_eq!(badly_named_tests("a.rs", "#[test]\nfn a_syn_opens_a_flow() {}\nfn test() {}\n"), [""; 0]);
    }

    #[test]
    fn a_file_that_does_not_say_why_is_found() {
        assert!(begins_with_why("//! Because.\n"));
        assert!(!begins_with_why("use std::fs;\n"));
    }
}
