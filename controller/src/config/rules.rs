//! One rule of a security group, by itself.

use super::model::{At, Family, Prefix, RuleProtocol};
use super::problem::Problem;
use super::reader::{Problems, Section, one_of};
use super::values;
use miette::SourceSpan;

const FAR: [&str; 3] = ["cidr", "prefix_list", "security_group"];

pub(crate) struct RuleDraft {
    pub(super) at: SourceSpan,
    pub(super) protocol: RuleProtocol,
    /// The first port; of ICMP, the first of the numbers that type times 256 plus code make.
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) far: FarDraft,
}

/// The other end, by what names it.
pub(super) enum FarDraft {
    Prefix(Prefix),
    List(At<String>),
    Group(At<String>),
}

/// The rule; `None` where anything in it is wrong.
pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> Option<RuleDraft> {
    let at = section.at();
    let protocol = section
        .required(problems, "protocol", "\"tcp\"", |it| values::choice(it, "protocol", &RuleProtocol::NAMES));
    let before = problems.len();
    let ports = section.optional(problems, "ports", values::ports);
    let icmp = read_icmp(&mut section, problems);
    if let Some(protocol) = protocol {
        refuse_others(&mut section, protocol.value, problems);
    }
    let far = read_far(&mut section, problems);
    section.finish(problems);
    let (protocol, far) = (protocol?, far?);
    if let FarDraft::Prefix(prefix) = far.value {
        problems.extend(other_family(protocol, At { value: prefix, at: far.at }));
    }
    let (first, last) = ports.map(|it| it.value).or(icmp).unwrap_or((0, u16::MAX));
    let rule = RuleDraft { at, protocol: protocol.value, first, last, far: far.value };
    Some(rule).filter(|_| problems.len() == before)
}

/// The numbers that a type and a code make: one, or all of a type.
fn read_icmp(section: &mut Section<'_>, problems: &mut Problems) -> Option<(u16, u16)> {
    const MOST: u32 = u8::MAX as u32;
    let kind = section.optional(problems, "type", |it| values::number(it, 0, MOST));
    let code = section.optional(problems, "code", |it| values::number(it, 0, MOST));
    if let Some(code) = code.filter(|_| !section.has("type")) {
        let help = "add a line like `type = 8`, or remove `code`: all types are allowed then";
        problems.add(Problem::new(code.at, "a rule has `code`, but no `type`", "of which type?", help));
    }
    // At most 255 each, as just read.
    let (kind, code) = (kind?.value as u16, code.map(|code| code.value as u16));
    Some((kind << 8 | code.unwrap_or(0), kind << 8 | code.unwrap_or(0xff)))
}

/// Each protocol has its own words for what is asked for.
fn refuse_others(section: &mut Section<'_>, protocol: RuleProtocol, problems: &mut Problems) {
    let name = protocol.name();
    let is_icmp = matches!(protocol, RuleProtocol::Icmp | RuleProtocol::Icmpv6);
    let has_ports = matches!(protocol, RuleProtocol::Tcp | RuleProtocol::Udp);
    if !has_ports {
        let help = "remove the line, or write `protocol = \"tcp\"` or `\"udp\"`";
        section.refuse(problems, "ports", &format!("protocol \"{name}\" has no ports here"), help);
    }
    for key in ["type", "code"].into_iter().filter(|_| !is_icmp) {
        let help = "remove the line, or write `protocol = \"icmp\"` or `\"icmpv6\"`";
        section.refuse(problems, key, &format!("protocol \"{name}\" has none"), help);
    }
}

/// Exactly one of three keys.
fn read_far(section: &mut Section<'_>, problems: &mut Problems) -> Option<At<FarDraft>> {
    let count = FAR.into_iter().filter(|key| section.has(key)).count();
    if count != 1 {
        let message = format!("{} has {count} of {}, where one is wanted", section.title(), one_of(FAR));
        let help = "write one of them: `cidr = \"10.0.0.0/8\"`, the name of a prefix list, or that of a security group";
        problems.add(Problem::new(section.at(), message, "who is at the other end?", help));
    }
    let prefix = section.optional(problems, "cidr", values::cidr);
    let list = section.optional(problems, "prefix_list", values::name);
    let group = section.optional(problems, "security_group", values::name);
    let prefix = prefix.map(|it| it.map(FarDraft::Prefix));
    let list = list.map(|it| At { at: it.at, value: FarDraft::List(it) });
    let group = group.map(|it| At { at: it.at, value: FarDraft::Group(it) });
    prefix.or(list).or(group)
}

/// The complaint about ICMP of one family, and addresses of the other.
fn other_family(protocol: At<RuleProtocol>, prefix: At<Prefix>) -> Option<Problem> {
    let (family, other) = match protocol.value {
        RuleProtocol::Icmp => (Family::V4, "icmpv6"),
        RuleProtocol::Icmpv6 => (Family::V6, "icmp"),
        _ => return None,
    };
    if Family::of(prefix.value.address) == family {
        return None;
    }
    let message = format!(
        "\"{}\" is of {}, so nobody in {} speaks it",
        protocol.value.name(),
        family.name(),
        prefix.value
    );
    let help = format!("write an {} prefix, or `protocol = \"{other}\"`", family.name());
    let problem = Problem::new(protocol.at, message, format!("of {}", family.name()), help);
    Some(problem.and_at(prefix.at, "of the other family"))
}
