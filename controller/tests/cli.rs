//! The command as a script meets it: exit codes, and what is said where. None of it takes root.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const GOOD: &str = "[[vpc]]\nname = \"prod\"\n";

#[test]
fn a_good_file_is_said_to_be_good() {
    let bed = Bed::new(GOOD);
    let said = bed.weir(&["check", &bed.file()]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.ends_with("good (0 uplinks, 0 listeners, 0 targets)\n"), "{}", said.out);
}

#[test]
fn a_bad_file_exits_with_4_and_shows_every_mistake_at_its_place() {
    let bed = Bed::new("[[vpc]]\nnam = \"prod\"\n[[uplink]]\ninterface = 7\nvpc = \"prod\"\n");
    for words in [vec!["check", &bed.file()], vec!["run", "--config", &bed.file()]] {
        let said = bed.weir(&words);
        assert_eq!((said.code, said.out.as_str()), (4, ""));
        for shown in
            ["weir.toml:5:1]", "weir.toml:6:1]", "weir.toml:8:13]", "did you mean `name`?", "4 problems"]
        {
            assert!(said.err.contains(shown), "{shown:?} is not in\n{}", said.err);
        }
    }
}

#[test]
fn a_file_that_is_no_text_exits_with_4_at_the_byte() {
    let bed = Bed::new(GOOD);
    fs::write(bed.folder.path().join("weir.toml"), b"version = 1\n# caf\xe9\n").unwrap();
    for words in [vec!["check", &bed.file()], vec!["get", "flows", "--config", &bed.file()]] {
        let said = bed.weir(&words);
        assert_eq!(said.code, 4);
        assert!(said.err.contains("weir.toml:2:6]") && said.err.contains("UTF-8"), "{}", said.err);
    }
}

#[test]
fn a_missing_file_exits_with_1_and_says_what_to_do() {
    let bed = Bed::new(GOOD);
    let said = bed.weir(&["check", "/nowhere/weir.toml"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("cannot read /nowhere/weir.toml")
            && said.err.contains("a configuration that is there"),
        "{}",
        said.err
    );
}

#[test]
fn a_wrong_command_exits_with_2() {
    let bed = Bed::new(GOOD);
    for words in [vec!["get", "packets"], vec!["chek"], vec!["get", "flows", "-o", "xml"]] {
        assert_eq!(bed.weir(&words).code, 2, "{words:?}");
    }
}

#[test]
fn asking_where_nothing_runs_exits_with_5_and_says_what_to_do() {
    let bed = Bed::new(GOOD);
    let nouns = [
        "listeners",
        "targets",
        "interfaces",
        "flows",
        "counters",
        "capacity",
        "vpcs",
        "connectors",
        "enis",
        "ports",
    ];
    let others = [vec!["events"], vec!["events", "--json"], vec!["ports", "--top", "3"]];
    let asked = nouns.map(|noun| vec!["get", noun]).into_iter().chain(others);
    for words in asked {
        let file = bed.file();
        let said = bed.weir(&[&words[..], &["--config", &file]].concat());
        assert_eq!(said.code, 5, "{}", said.err);
        assert!(
            said.err.contains("no dataplane is pinned under") && said.err.contains("`weir run`"),
            "{}",
            said.err
        );
    }
}

#[test]
fn stopping_where_nothing_runs_is_no_mistake() {
    let bed = Bed::new(GOOD);
    let said = bed.weir(&["stop", "--config", &bed.file()]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("no daemon runs\n"), "{}", said.out);
    let said = bed.weir(&["stop", "--release", "--config", &bed.file()]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.ends_with("released 0 programs and 0 tables\n"), "{}", said.out);
}

/// A folder with a configuration.
struct Bed {
    folder: TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Bed {
    fn new(rest: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let at = folder.path().display();
        let head = format!("version = 1\n[dataplane]\npin_dir = \"{at}/pins\"\nstate_dir = \"{at}/state\"\n");
        fs::write(folder.path().join("weir.toml"), head + rest).unwrap();
        Self { folder }
    }

    fn file(&self) -> String {
        let path: PathBuf = self.folder.path().join("weir.toml");
        path.display().to_string()
    }

    fn weir(&self, words: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let done = command.args(words).env("NO_COLOR", "1").current_dir(self.folder.path()).output().unwrap();
        Said {
            code: done.status.code().unwrap(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }
}
