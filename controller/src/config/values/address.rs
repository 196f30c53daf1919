//! Readers for addresses: of IP, with and without the prefix of their link, and of Ethernet.

use super::text;
use crate::config::problem::Problem;
use crate::config::reader::Value;
use miette::SourceSpan;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use weir_path::addr::{Address, Ip4, Ip6, Mac};

/// A unicast IPv4 address.
pub(crate) fn address(value: Value<'_>) -> Result<Ip4, Problem> {
    let (at, example) = (value.at, "198.51.100.10");
    let address = any_address(value, example)?;
    address.as_ip4().ok_or_else(|| other_family(at, address, "an IPv4 address", example))
}

/// A unicast IPv6 address.
pub(crate) fn address6(value: Value<'_>) -> Result<Ip6, Problem> {
    let (at, example) = (value.at, "2001:db8::10");
    let address = any_address(value, example)?;
    match address.as_ip4() {
        None => Ok(address),
        Some(_) => Err(other_family(at, address, "an IPv6 address", example)),
    }
}

/// A unicast address of either family; an IPv4 address is mapped.
pub(crate) fn vip(value: Value<'_>) -> Result<Ip6, Problem> {
    any_address(value, "198.51.100.10")
}

/// Weir's own IPv4 address on a link, with the length of the link's prefix.
pub(crate) fn on_link(value: Value<'_>) -> Result<(Ip4, u8), Problem> {
    let (at, example) = (value.at, "10.0.0.5/24");
    let of_family =
        |address: Ip6| address.as_ip4().ok_or_else(|| other_family(at, address, "an IPv4 address", example));
    let (address, len) = prefixed(value, example, of_family, u32::BITS as u8)?;
    let hosts = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
    let host = address.to_bits() & hosts;
    // Two addresses alone are both machines' (RFC 3021).
    if hosts > 1 && (host == 0 || host == hosts) {
        let whose = if host == 0 { "the network itself" } else { "all machines there (broadcast)" };
        return Err(not_one_machines(at, &format!("{address}/{len}"), whose, example));
    }
    Ok((address, len))
}

/// Weir's own IPv6 address on a link, with the length of the link's prefix.
pub(crate) fn on_link6(value: Value<'_>) -> Result<(Ip6, u8), Problem> {
    let (at, example) = (value.at, "fd00::5/64");
    let of_family = |address: Ip6| match address.as_ip4() {
        None => Ok(address),
        Some(_) => Err(other_family(at, address, "an IPv6 address", example)),
    };
    let (address, len) = prefixed(value, example, of_family, u128::BITS as u8)?;
    let hosts = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
    if hosts > 1 && u128::from_be_bytes(address.0) & hosts == 0 {
        let whose = "any router there (RFC 4291 section 2.6.1)";
        return Err(not_one_machines(at, &format!("{address}/{len}"), whose, example));
    }
    Ok((address, len))
}

fn not_one_machines(at: SourceSpan, written: &str, whose: &str, example: &str) -> Problem {
    let help = format!("write the address that Weir has in this network, like \"{example}\"");
    Problem::new(at, format!("{written} is the address of {whose}"), "not one machine's", help)
}

/// An address of one family, and the length of its network's prefix: at most `most` bits.
pub(super) fn prefixed<A>(
    value: Value<'_>,
    example: &str,
    of_family: impl FnOnce(Ip6) -> Result<A, Problem>,
    most: u8,
) -> Result<(A, u8), Problem> {
    let at = value.at;
    let written = text(value, example)?;
    let Some((address, len)) = written.split_once('/') else {
        return Err(Problem::new(
            at,
            format!("\"{written}\" has no prefix length"),
            "which addresses are on the link with it?",
            format!("write the length of the network's prefix behind the address, like \"{example}\""),
        ));
    };
    let address = of_family(unicast(at, address, example)?)?;
    match len.parse::<u8>().ok().filter(|len| (1..=most).contains(len)) {
        Some(len) => Ok((address, len)),
        None => Err(Problem::new(
            at,
            format!("\"/{len}\" is not a prefix length"),
            format!("not from /1 to /{most}"),
            format!("write how many bits all addresses of the network begin with, like \"{example}\""),
        )),
    }
}

fn other_family(at: SourceSpan, address: Ip6, wanted: &str, example: &str) -> Problem {
    let help = format!("write {wanted}, like \"{example}\"");
    Problem::new(at, format!("{address} is not {wanted}"), "of the other family", help)
}

fn any_address(value: Value<'_>, example: &str) -> Result<Ip6, Problem> {
    let at = value.at;
    unicast(at, &text(value, example)?, example)
}

pub(super) fn unicast(at: SourceSpan, written: &str, example: &str) -> Result<Ip6, Problem> {
    let Ok(address) = IpAddr::from_str(written) else { return Err(not_an_address(at, written)) };
    if let IpAddr::V6(mapped) = address
        && let Some(plain) = mapped.to_ipv4_mapped()
    {
        let help = format!("write it as what it is: \"{plain}\"");
        return Err(Problem::new(at, format!("{written} is an IPv4 address"), "mapped into IPv6", help));
    }
    let is_unicast = match address {
        IpAddr::V4(address) => Ip4::from(address).may_be_source(),
        IpAddr::V6(_) => Ip6::from(address).may_be_source(),
    };
    if is_unicast {
        return Ok(Ip6::from(address));
    }
    Err(Problem::new(
        at,
        format!("{address} is not a unicast address"),
        "unspecified, loopback, multicast, reserved or broadcast",
        format!("write an address that one machine can have, like \"{example}\""),
    ))
}

/// What people write who mean an address and something more.
fn not_an_address(at: SourceSpan, written: &str) -> Problem {
    let wrong =
        |why: &str, help: String| Problem::new(at, format!("\"{written}\" is not an address"), why, help);
    let is_address = |text: &str| IpAddr::from_str(text).is_ok();
    if let Some((address, _)) = written.split_once('/').filter(|(address, _)| is_address(address)) {
        return wrong(
            "one address is wanted, without a prefix length",
            format!("drop the prefix length: write \"{address}\""),
        );
    }
    if let Ok(both) = SocketAddr::from_str(written) {
        let help = format!("write \"{}\" here, and `port = {}` on a line of its own", both.ip(), both.port());
        return wrong("an address and a port", help);
    }
    let looks_like_v6 = written.matches(':').count() > 1;
    let why = if looks_like_v6 { "not an IPv6 address" } else { "not an IPv4 address" };
    let help =
        "write four numbers from 0 to 255, like \"198.51.100.10\", or an IPv6 address, like \"2001:db8::10\"";
    wrong(why, help.to_owned())
}

/// The MAC of a station.
pub(crate) fn mac(value: Value<'_>) -> Result<Mac, Problem> {
    /// The lowest bit of the first byte says "group" (IEEE 802-2014, section 8.2.2).
    const GROUP: u8 = 1;
    let at = value.at;
    let written = text(value, "02:57:45:49:52:01")?;
    let Some(bytes) = six_bytes(&written) else {
        return Err(Problem::new(
            at,
            format!("\"{written}\" is not a MAC address"),
            "not six bytes in hexadecimal",
            "write six pairs of hex digits with `:` between them, like \"02:57:45:49:52:01\"",
        ));
    };
    let [first, rest @ ..] = bytes;
    if first & GROUP != 0 {
        let single = Mac([first & !GROUP, rest[0], rest[1], rest[2], rest[3], rest[4]]);
        return Err(Problem::new(
            at,
            format!("{written} is a multicast MAC address"),
            "no single station has it: the lowest bit of its first byte is set",
            format!("write an address of one station, like \"{single}\""),
        ));
    }
    if bytes == [0; 6] {
        return Err(Problem::new(
            at,
            "00:00:00:00:00:00 is nobody's MAC address",
            "all zero",
            "write an address of one station, like \"02:57:45:49:52:01\"",
        ));
    }
    Ok(Mac(bytes))
}

fn six_bytes(written: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = written
        .split(':')
        .map(|pair| match pair.len() {
            2 if pair.bytes().all(|byte| byte.is_ascii_hexdigit()) => u8::from_str_radix(pair, 16).ok(),
            _ => None,
        })
        .collect();
    bytes?.try_into().ok()
}
