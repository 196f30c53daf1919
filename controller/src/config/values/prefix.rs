//! Readers for sets of addresses: prefixes, and ranges.

use super::address::{prefixed, unicast};
use super::text;
use crate::config::model::{AddressRange, At, Family, MAPPED_BITS, Prefix};
use crate::config::problem::Problem;
use crate::config::reader::Value;
use miette::SourceSpan;
use std::net::IpAddr;
use std::str::FromStr;
use weir_path::addr::Ip6;

/// The prefix of an IPv4 network.
pub(crate) fn prefix4(value: Value<'_>) -> Result<Prefix, Problem> {
    prefix_of(value, Family::V4, "10.0.1.0/24")
}

/// The prefix of an IPv6 network.
pub(crate) fn prefix6(value: Value<'_>) -> Result<Prefix, Problem> {
    prefix_of(value, Family::V6, "fd00:1::/64")
}

/// The prefix of a network of either family.
pub(crate) fn prefix(value: Value<'_>) -> Result<Prefix, Problem> {
    let example = "10.9.0.0/16";
    let written = text(At { value: value.value, at: value.at }, example)?;
    let family = if written.contains(':') { Family::V6 } else { Family::V4 };
    prefix_of(value, family, example)
}

fn prefix_of(value: Value<'_>, family: Family, example: &str) -> Result<Prefix, Problem> {
    let at = value.at;
    let (most, skipped) = match family {
        Family::V4 => (u32::BITS as u8, MAPPED_BITS),
        Family::V6 => (u128::BITS as u8, 0),
    };
    let (address, len) = prefixed(value, example, |it| of_family(at, it, family, example), most)?;
    let prefix = Prefix { address, bits: skipped + len };
    let first = prefix.range().first;
    if first == address {
        return Ok(prefix);
    }
    let canonical = Prefix { address: first, ..prefix };
    Err(Problem::new(
        at,
        format!("{prefix} has bits behind its prefix"),
        format!("is all of {canonical} meant, or one address?"),
        format!("write \"{canonical}\""),
    ))
}

/// A prefix of addresses at the other end, of either family, and as wide as all of one.
pub(crate) fn cidr(value: Value<'_>) -> Result<Prefix, Problem> {
    let at = value.at;
    let written = text(value, "10.0.0.0/8")?;
    let wrong =
        |why: &str, help: String| Problem::new(at, format!("\"{written}\" is not a prefix"), why, help);
    let Some((address, len)) = written.split_once('/') else {
        let is_v6 = written.contains(':');
        let help = match IpAddr::from_str(&written) {
            Ok(one) => format!("write \"{one}/{}\" for this address alone", if is_v6 { 128 } else { 32 }),
            Err(_) => "write a network and the length of its prefix, like \"10.0.0.0/8\"".to_owned(),
        };
        return Err(wrong("no prefix length", help));
    };
    let Ok(address) = IpAddr::from_str(address) else {
        return Err(wrong(
            "not an address",
            "write a network, like \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned(),
        ));
    };
    let (most, skipped) = match address {
        IpAddr::V4(_) => (u32::BITS as u8, MAPPED_BITS),
        IpAddr::V6(_) => (u128::BITS as u8, 0),
    };
    let Some(len) = len.parse::<u8>().ok().filter(|len| *len <= most) else {
        return Err(wrong("not a prefix length", format!("write a length from /0 to /{most}")));
    };
    let prefix = Prefix { address: Ip6::from(address), bits: skipped + len };
    // Nobody's but those of IPv4 are there, and a rule for them would mean IPv4.
    let holds_v4 = skipped == 0 && prefix.bits > 0 && prefix.overlaps(&Prefix::ALL_V4);
    if holds_v4 {
        let help = "write \"::/0\" for all of IPv6, \"0.0.0.0/0\" for all of IPv4, or both";
        return Err(wrong("IPv4 addresses, mapped into IPv6", help.to_owned()));
    }
    let first = prefix.range().first;
    if first == prefix.address {
        return Ok(prefix);
    }
    let canonical = Prefix { address: first, ..prefix };
    let help = format!("write \"{canonical}\", or \"{address}/{most}\" for the one address");
    Err(wrong("has bits behind its prefix", help))
}

/// The addresses from one to another, like `10.0.1.10-10.0.1.20`, or one alone.
pub(crate) fn range(value: Value<'_>) -> Result<AddressRange, Problem> {
    let (at, example) = (value.at, "10.0.1.10-10.0.1.20");
    let written = text(value, example)?;
    let (first, last) = written.split_once('-').unwrap_or((&written, &written));
    let [first, last] = [first, last].map(|it| unicast(at, it.trim(), "10.0.1.10"));
    let (first, last) = (first?, last?);
    if Family::of(first) != Family::of(last) {
        return Err(Problem::new(
            at,
            format!("{first} and {last} are of two families"),
            "from one to the other?",
            format!("write two addresses of one family, like \"{example}\""),
        ));
    }
    if first > last {
        return Err(Problem::new(
            at,
            format!("{first} comes after {last}"),
            "the wrong way round",
            format!("write \"{last}-{first}\""),
        ));
    }
    Ok(AddressRange { first, last })
}

/// A range of IPv4 addresses.
pub(crate) fn range4(value: Value<'_>) -> Result<AddressRange, Problem> {
    range_of(value, Family::V4, "10.0.1.100-10.0.1.200")
}

/// A range of IPv6 addresses.
pub(crate) fn range6(value: Value<'_>) -> Result<AddressRange, Problem> {
    range_of(value, Family::V6, "fd00:1::100-fd00:1::1ff")
}

fn range_of(value: Value<'_>, family: Family, example: &str) -> Result<AddressRange, Problem> {
    let at = value.at;
    let range = range(value)?;
    of_family(at, range.first, family, example).map(|_| range)
}

fn of_family(at: SourceSpan, address: Ip6, family: Family, example: &str) -> Result<Ip6, Problem> {
    if Family::of(address) == family {
        return Ok(address);
    }
    Err(Problem::new(
        at,
        format!("{address} is not an {} address", family.name()),
        "of the other family",
        format!("write an {} one, like \"{example}\"", family.name()),
    ))
}
