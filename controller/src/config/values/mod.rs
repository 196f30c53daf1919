//! Readers for one value each: what it must look like, and what to write where it doesn't.

use super::model::{NETNS_DIR, Protocol, UplinkHook};
use super::problem::Problem;
use super::reader::{Value, nearest, one_of, wrong_type};
use miette::SourceSpan;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use toml::de::DeValue;
use weir_path::addr::{Address, Ip4, Ip6, L4Port, Mac};
use weir_path::hash::HashKey;

/// Long enough for people, short enough for a table's column.
const LONGEST_NAME: usize = 63;
/// The kernel's IFNAMSIZ, less the terminating zero.
const LONGEST_INTERFACE_NAME: usize = 15;

/// A text, as written.
pub(crate) fn text(value: Value<'_>, example: &str) -> Result<String, Problem> {
    match value.value {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err(wrong_type(&value, "a text", &format!("a text in quotes, like `\"{example}\"`"))),
    }
}

/// `true` or `false`.
pub(crate) fn truth(value: Value<'_>) -> Result<bool, Problem> {
    match value.value {
        DeValue::Boolean(truth) => Ok(*truth),
        _ => Err(wrong_type(&value, "true or false", "`true` or `false`, without quotes")),
    }
}

/// A whole number from `least` to `most`.
pub(crate) fn number(value: Value<'_>, least: u32, most: u32) -> Result<u32, Problem> {
    in_range(value, format!("a whole number from {least} to {most}"), least, most)
}

/// A whole number of something from `least` to `most`.
pub(crate) fn number_of(value: Value<'_>, what: &str, least: u32, most: u32) -> Result<u32, Problem> {
    in_range(value, format!("a whole number of {what} from {least} to {most}"), least, most)
}

fn in_range(value: Value<'_>, range: String, least: u32, most: u32) -> Result<u32, Problem> {
    let DeValue::Integer(number) = value.value else {
        return Err(wrong_type(&value, "a whole number", &format!("{range}, without quotes")));
    };
    integer(&value).filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        Problem::new(
            value.at,
            format!("{number} is out of range"),
            format!("not from {least} to {most}"),
            format!("write {range}"),
        )
    })
}

fn integer(value: &Value<'_>) -> Option<u32> {
    let DeValue::Integer(number) = value.value else { return None };
    u32::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The version of the file's format, which is this one.
pub(crate) fn version(value: Value<'_>, supported: u32) -> Result<u32, Problem> {
    match (value.value, integer(&value)) {
        (_, Some(version)) if version == supported => Ok(version),
        (DeValue::Integer(other), _) => Err(Problem::new(
            value.at,
            format!("version {other} of this file's format is not known"),
            "not a version that this build reads",
            format!("write `version = {supported}`"),
        )),
        _ => Err(wrong_type(&value, "a whole number", &format!("`version = {supported}`, without quotes"))),
    }
}

/// A port that can be served on.
pub(crate) fn port(value: Value<'_>) -> Result<L4Port, Problem> {
    if integer(&value) == Some(0) {
        return Err(Problem::new(
            value.at,
            "port 0 can't be served on",
            "no packet has this port",
            "write the port, a number from 1 to 65535",
        ));
    }
    // In range, as just read.
    number(value, 1, u32::from(u16::MAX)).map(|number| L4Port::new(number as u16))
}

/// The name of something in this file.
pub(crate) fn name(value: Value<'_>) -> Result<String, Problem> {
    let at = value.at;
    let name = text(value, "web-1")?;
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(is_good) {
        return Ok(name);
    }
    Err(Problem::new(
        at,
        format!("\"{name}\" can't be a name"),
        "empty, too long, or with characters that don't belong in a name",
        format!("write 1 to {LONGEST_NAME} letters, digits, `-`, `_` or `.`"),
    ))
}

/// The name of a network device.
pub(crate) fn interface(value: Value<'_>) -> Result<String, Problem> {
    let at = value.at;
    let name = text(value, "eth0")?;
    let is_bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let is_good = !name.is_empty() && name.len() <= LONGEST_INTERFACE_NAME && !name.contains(is_bad);
    if is_good && name != "." && name != ".." {
        return Ok(name);
    }
    Err(Problem::new(
        at,
        format!("\"{name}\" can't be the name of a network device"),
        format!("not 1 to {LONGEST_INTERFACE_NAME} bytes without `/`, `:` and blanks"),
        "write a device's name as `ip link` shows it, without what follows an `@`",
    ))
}

/// A network namespace: a name under /run/netns, or a path.
pub(crate) fn netns(value: Value<'_>) -> Result<PathBuf, Problem> {
    let at = value.at;
    let name = text(value, "sandbox-1")?;
    if name.starts_with('/') {
        return Ok(PathBuf::from(name));
    }
    if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err(Problem::new(
            at,
            format!("\"{name}\" can't be a network namespace"),
            "neither a name nor an absolute path",
            format!(
                "write a name under {NETNS_DIR}, as `ip netns` lists them, or a path that begins with `/`"
            ),
        ));
    }
    Ok(PathBuf::from(NETNS_DIR).join(name))
}

/// A folder, by its absolute path.
pub(crate) fn folder(value: Value<'_>, example: &str) -> Result<PathBuf, Problem> {
    let at = value.at;
    let path = PathBuf::from(text(value, example)?);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(Problem::new(
        at,
        format!("\"{}\" is not an absolute path", path.display()),
        "relative to what?",
        format!("write a path that begins with `/`, like `\"{example}\"`"),
    ))
}

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

fn other_family(at: SourceSpan, address: Ip6, wanted: &str, example: &str) -> Problem {
    let help = format!("write {wanted}, like \"{example}\"");
    Problem::new(at, format!("{address} is not {wanted}"), "of the other family", help)
}

fn any_address(value: Value<'_>, example: &str) -> Result<Ip6, Problem> {
    let at = value.at;
    let written = text(value, example)?;
    let Ok(address) = IpAddr::from_str(&written) else { return Err(not_an_address(at, &written)) };
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

/// A secret of sixteen bytes.
pub(crate) fn hash_key(value: Value<'_>) -> Result<HashKey, Problem> {
    let at = value.at;
    let written = text(value, "000102030405060708090a0b0c0d0e0f")?;
    parse_hash_key(&written).ok_or_else(|| {
        // The value is a secret, so it is not repeated.
        Problem::new(
            at,
            "hash_key is not 16 bytes in hexadecimal",
            format!("{} characters", written.chars().count()),
            "write exactly 32 hex digits (`openssl rand -hex 16` makes them), or leave the line out",
        )
    })
}

/// Thirty-two hex digits.
pub(crate) fn parse_hash_key(written: &str) -> Option<HashKey> {
    let is_right = written.len() == 32 && written.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(written, 16).ok().filter(|_| is_right)?;
    Some(HashKey(number.to_be_bytes()))
}

/// A listener's protocol.
pub(crate) fn protocol(value: Value<'_>) -> Result<Protocol, Problem> {
    choice(value, "protocol", &Protocol::NAMES)
}

/// An uplink's hook.
pub(crate) fn hook(value: Value<'_>) -> Result<UplinkHook, Problem> {
    choice(value, "hook", &UplinkHook::NAMES)
}

fn choice<T: Copy>(value: Value<'_>, what: &str, choices: &[(&'static str, T)]) -> Result<T, Problem> {
    let at = value.at;
    let names = choices.iter().map(|(name, _)| *name);
    let written = text(value, names.clone().next().unwrap_or_default())?;
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == written) {
        return Ok(*choice);
    }
    let label = match nearest(&written, names.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("not a {what}"),
    };
    let known = one_of(names.map(|name| format!("\"{name}\"")));
    Err(Problem::new(at, format!("\"{written}\" is not a {what}"), label, format!("write {known}")))
}
