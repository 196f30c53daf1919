//! The pure stages of the controller know no I/O: what they decide can be tested as a table.

use crate::rust::imports;
use std::collections::BTreeSet;

/// Whatever reaches outside: files, the network, other processes, clocks, the kernel.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::net::ToSocketAddrs",
    "std::net::*",
    "std::process",
    "std::time",
    "std::env",
    "std::io",
    "std::thread",
    "std::os",
    "tokio",
    "aya",
    "nix",
    "rtnetlink",
    "libc",
];

/// What of the dataplane they may know: the configuration as data.
const DATAPLANE: &str = "weir_dataplane::";
const AS_DATA: &str = "weir_dataplane::image";

/// What a pure stage's code reaches that it must not.
pub(crate) fn offences(code: &str) -> Vec<String> {
    let is_in_a_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    // Paths in the middle of code. What ends in `::` is the head of a group, which `imports` writes out.
    let in_code =
        code.split(|c| !is_in_a_path(c)).filter(|path| path.contains("::") && !path.ends_with("::"));
    let paths: BTreeSet<String> = in_code.map(str::to_owned).chain(imports(code)).collect();
    let is_impure =
        |path: &String| IMPURE.iter().any(|impure| reaches(path, impure)) || is_more_than_data(path);
    paths.into_iter().filter(is_impure).collect()
}

/// `std::net::Tcp` also means `std::net::TcpStream`; `aya` doesn't mean `ayah`.
fn reaches(path: &str, impure: &str) -> bool {
    path.strip_prefix(impure).is_some_and(|rest| {
        rest.is_empty() || rest.starts_with("::") || impure.ends_with("Tcp") || impure.ends_with("Udp")
    })
}

fn is_more_than_data(path: &str) -> bool {
    path.starts_with(DATAPLANE) && path != AS_DATA && !path.starts_with(&format!("{AS_DATA}::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_reaches_outside_is_named() {
        for code in [
            "use std::fs;",
            "use std::{collections::BTreeMap, time::Instant};",
            "use std::net::{Ipv4Addr, TcpStream};",
            "use tokio::sync::mpsc;",
            "fn f() { let now = std::time::Instant::now(); }",
            "fn f() { libc::getpid(); }",
            "use weir_dataplane::Tables;",
            "use weir_dataplane::{image::Image, Dataplane};",
            "fn f(t: &weir_dataplane::Tables) {}",
        ] {
            assert_eq!(offences(code).len(), 1, "{code}: {:?}", offences(code));
        }
    }

    #[test]
    fn data_is_allowed() {
        for code in [
            "use std::net::Ipv4Addr;",
            "use std::collections::{BTreeMap, BTreeSet};",
            "use weir_dataplane::image::{self, Image};",
            "use weir_dataplane::image;",
            "use weir_path::tables::Target;",
            "fn f(ayah: u8) { unix::f(); }",
        ] {
            assert_eq!(offences(code), [""; 0], "{code}");
        }
    }
}
