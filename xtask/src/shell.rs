//! Running programs: said before, judged after.

use crate::error::Error;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

/// Says the command on stderr, runs it with its output there too, and waits for it.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    command.stdout(std::io::stderr());
    run_with_stdout(command)
}

/// The same, but the program's stdout is this tool's: it carries a result.
pub(crate) fn run_with_stdout(command: &mut Command) -> Result<(), Error> {
    let said = say(command);
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|source| Error::CannotStart { command: said.clone(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: said, status }) }
}

/// Says the command on stderr, and returns what it prints.
pub(crate) fn result_of(command: &mut Command) -> Result<Vec<u8>, Error> {
    let said = say(command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|source| Error::CannotStart { command: said.clone(), source })?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Error::Failed { command: said, status: output.status })
    }
}

/// What a program prints, where it could be started and succeeded. For checks: silent otherwise.
pub(crate) fn stdout_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be started and succeeds. For checks: silent.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    stdout_of(command).is_some()
}

/// Says the command on stderr.
pub(crate) fn say(command: &Command) -> String {
    let text = text(command);
    eprintln!("$ {text}");
    text
}

/// The command as one would type it, with the variables that are set for it.
pub(crate) fn text(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let _ = write!(text, "{}={} ", name.to_string_lossy(), quoted(&value.to_string_lossy()));
        }
    }
    let program = command.get_program().to_string_lossy();
    text.push_str(program.rsplit('/').next().unwrap_or(&program));
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&quoted(&argument.to_string_lossy()));
    }
    text
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:+,~@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_said_as_one_would_type_it() {
        let mut command = Command::new("/usr/lib/cargo");
        command.env("RUSTFLAGS", "-L /lib").env_remove("PATH").args(["install", "bpf-linker", "it's", ""]);
        assert_eq!(text(&command), r"RUSTFLAGS='-L /lib' cargo install bpf-linker 'it'\''s' ''");
    }

    #[test]
    fn a_program_that_fails_is_named_with_its_status() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` failed: exit status: 3; see above");
    }

    #[test]
    fn what_a_program_prints_is_its_result_if_it_succeeds() {
        assert_eq!(result_of(Command::new("sh").args(["-c", "echo page"])).unwrap(), b"page\n");
        assert!(result_of(Command::new("sh").args(["-c", "echo half a page; exit 3"])).is_err());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("/nowhere/weir-no-such-program")).unwrap_err();
        assert!(error.to_string().starts_with("`weir-no-such-program` could not be started: "), "{error}");
        assert!(!succeeds(&mut Command::new("/nowhere/weir-no-such-program")));
    }
}
