//! Tools that people look at a network with: `ping`, `traceroute`, `tracepath`, `dig`, `ip route get`.

use std::fmt::Display;
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::netns::Netns;
use crate::process;

/// What a tool said, however it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it was content.
    pub is_well: bool,
    /// All that it wrote.
    pub text: String,
}

/// Runs a tool to its end, whatever that is.
pub fn said(command: &mut Command) -> Result<Said, Error> {
    let line = process::shown(command);
    let ended = command.stdin(Stdio::null()).output().map_err(Error::io(format!("start `{line}`")))?;
    let text = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Ok(Said { is_well: ended.status.success(), text })
}

/// Three pings, with so many bytes in each. All of them must be answered for it to be well.
pub fn ping(from: &Netns, to: impl Display, bytes: u16) -> Result<Said, Error> {
    let (to, bytes) = (to.to_string(), bytes.to_string());
    let mut said =
        said(from.command("ping").args(["-n", "-c", "3", "-i", "0.05", "-W", "2", "-s", &bytes, &to]))?;
    said.is_well &= said.text.contains(" 0% packet loss");
    Ok(said)
}

/// The hops on the way, the nearest one first, each with all that `traceroute` says about it but the time.
pub fn traceroute(from: &Netns, how: &[&str], to: impl Display) -> Result<Vec<String>, Error> {
    let mut command = from.command("traceroute");
    command.args(["-n", "-q", "1", "-w", "2", "-m", "5"]).args(how).arg(to.to_string());
    let printed = process::output(&mut command)?;
    // " 2  192.0.2.5  0.123 ms !X"
    let hop = |line: &str| {
        let mut words: Vec<_> = line.split_whitespace().skip(1).collect();
        if let Some(time) = words.iter().position(|word| *word == "ms") {
            words.drain(time - 1..=time);
        }
        words.join(" ")
    };
    Ok(printed.lines().skip(1).map(hop).collect())
}

/// The longest packet that `tracepath` finds to fit on the way, and all that it said.
pub fn tracepath(from: &Netns, to: impl Display) -> Result<(Option<u32>, String), Error> {
    let said = said(from.command("tracepath").args(["-n", "-m", "6", &to.to_string()]))?;
    // "     Resume: pmtu 1400 hops 3 back 3"
    let resume = said.text.lines().find_map(|line| line.trim().strip_prefix("Resume: pmtu "));
    let mtu = resume.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    Ok((mtu, said.text))
}

/// The longest packet to somewhere as the kernel knows it by now, if it has learnt anything about that.
pub fn learnt_mtu(from: &Netns, to: impl Display) -> Result<Option<u32>, Error> {
    let route = from.ip(&["route", "get", &to.to_string()])?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    Ok(words.next().and_then(|mtu| mtu.parse().ok()))
}
