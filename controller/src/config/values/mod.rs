//! Readers for one value each: what it must look like, and what to write where it doesn't.

mod address;
mod prefix;

pub(crate) use address::{address, address6, mac, on_link, on_link6, vip};
pub(crate) use prefix::{cidr, prefix, prefix4, prefix6, range, range4, range6};

use super::model::{NETNS_DIR, Protocol, Stickiness, UplinkHook};
use super::problem::Problem;
use super::reader::{Value, nearest, one_of, wrong_type};
use std::path::PathBuf;
use toml::de::DeValue;
use weir_path::addr::L4Port;
use weir_path::hash::HashKey;
use weir_path::packet::VlanTag;

/// Long enough for people, short enough for a table's column.
const LONGEST_NAME: usize = 63;
/// The kernel's IFNAMSIZ, less the terminating zero.
const LONGEST_INTERFACE_NAME: usize = 15;
/// How a listener says that it listens on all ports.
pub(crate) const ANY: &str = "any";

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

/// A port that can be listened on; `None` for all of them.
pub(crate) fn port_or_any(value: Value<'_>) -> Result<Option<L4Port>, Problem> {
    match value.value {
        DeValue::String(text) if text.as_ref() == ANY => Ok(None),
        DeValue::Integer(_) => port(value).map(Some),
        _ => {
            let instead = "a whole number from 1 to 65535, without quotes, or `\"any\"` for all ports";
            Err(wrong_type(&value, "a port", instead))
        }
    }
}

/// A port, or the ports from one to another, like `1000-2000`.
pub(crate) fn ports(value: Value<'_>) -> Result<(u16, u16), Problem> {
    if matches!(value.value, DeValue::Integer(_)) {
        // In range, as just read.
        return number(value, 0, u32::from(u16::MAX)).map(|port| (port as u16, port as u16));
    }
    let at = value.at;
    let written = text(value, "443")?;
    let (first, last) = written.split_once('-').unwrap_or((&written, &written));
    let port = |text: &str| text.trim().parse::<u16>().ok();
    let wrong = |why: &str, help: String| Problem::new(at, format!("\"{written}\" are no ports"), why, help);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(first), Some(last)) => {
            Err(wrong("the wrong way round", format!("write \"{last}-{first}\"")))
        }
        _ => Err(wrong(
            "neither a port nor a range of them",
            "write a port from 0 to 65535, like \"443\", or a range, like \"1000-2000\"; all ports are allowed where \
             the line is left out"
                .to_owned(),
        )),
    }
}

/// The identifier of a VLAN.
pub(crate) fn vlan(value: Value<'_>) -> Result<VlanTag, Problem> {
    /// 0 and 4095 name no VLAN (IEEE 802.1Q-2018, table 9-2).
    const MOST: u32 = 4_094;
    // In range, as just read.
    let range = format!("the number of a VLAN, from 1 to {MOST}");
    in_range(value, range, 1, MOST).map(|number| VlanTag(number as u16))
}

/// The longest IP packet that may leave by an uplink.
pub(crate) fn mtu(value: Value<'_>) -> Result<u32, Problem> {
    /// Every IPv4 host takes this much (RFC 791 section 3.2).
    const LEAST: u32 = 576;
    const MOST: u32 = u16::MAX as u32;
    let range =
        format!("a whole number of bytes from {LEAST}, which every IPv4 host takes (RFC 791), to {MOST}");
    in_range(value, range, LEAST, MOST)
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

/// Whether a client stays with its target.
pub(crate) fn stickiness(value: Value<'_>) -> Result<Stickiness, Problem> {
    choice(value, "stickiness", &Stickiness::NAMES)
}

/// One of several things that have names.
pub(crate) fn choice<T: Copy>(
    value: Value<'_>,
    what: &str,
    choices: &[(&'static str, T)],
) -> Result<T, Problem> {
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
