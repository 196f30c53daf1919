//! Every mistake in what keeps tenants apart, and where it is shown.

use super::super::mistakes::{Mistake, find_all};
use super::GUARDED;

#[test]
fn mistakes_are_shown_where_they_are() {
    find_all(GUARDED, MISTAKES);
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        replace: "max_flows = 100000",
        by: "max_flows = 0",
        at: "5:13",
        says: &["0 is out of range", "from 1 to 4294967295"],
    },
    Mistake {
        replace: "max_half_open = 1000",
        by: "max_halfopen = 1000",
        at: "6:1",
        says: &["[[tenant]] has no key `max_halfopen`", "did you mean `max_half_open`?"],
    },
    Mistake {
        replace: "  max_flows = 1000\n",
        by: "  max_flow = 1000\n",
        at: "10:3",
        says: &["[tenant.sandbox] has no key `max_flow`"],
    },
    Mistake {
        replace: "name = \"ours\"\n",
        by: "name = \"acme\"\n",
        at: "13:8",
        says: &["two tenants are called \"acme\""],
    },
    Mistake {
        replace: "tenant = \"acme\"\nsubnets",
        by: "tenant = \"acne\"\nsubnets",
        at: "66:10",
        says: &["tenant \"acne\" is not defined", "did you mean \"acme\"?"],
    },
    Mistake {
        replace: "name = \"prod\"\ntenant = \"acme\"",
        by: "name = \"prod\"\ntenant = \"umbrella\"",
        at: "17:10",
        says: &["tenant \"umbrella\" is not defined"],
    },
    Mistake {
        replace: "name = \"prod\"\ntenant = \"acme\"",
        by: "name = \"prod\"\ntenant = \"ours\"",
        at: "66:10",
        says: &["VPC \"prod\" is tenant \"ours\"'s, not \"acme\"'s", "remove `tenant` from the [[vpc]]"],
    },
    Mistake {
        replace: "\"10.0.0.0/8\", ",
        by: "\"10.0.0.0\", ",
        at: "42:13",
        says: &["no prefix length", "write \"10.0.0.0/32\""],
    },
    Mistake {
        replace: "\"10.0.0.0/8\", ",
        by: "\"10.0.0.1/8\", ",
        at: "42:13",
        says: &["has bits behind its prefix", "write \"10.0.0.0/8\", or \"10.0.0.1/32\""],
    },
    Mistake { replace: "\"10.0.0.0/8\", ", by: "\"10.0.0.0/33\", ", at: "42:13", says: &["from /0 to /32"] },
    Mistake {
        replace: "\"10.0.0.0/8\", ",
        by: "\"::/16\", ",
        at: "42:13",
        says: &["IPv4 addresses, mapped into IPv6", "write \"::/0\""],
    },
    Mistake {
        replace: "[\"10.0.0.0/8\", \"2001:db8::/32\"]",
        by: "[]",
        at: "42:12",
        says: &["a prefix list is empty"],
    },
    Mistake {
        replace: "protocol = \"tcp\"\n  ports",
        by: "protocol = \"tpc\"\n  ports",
        at: "48:14",
        says: &["\"tpc\" is not a protocol", "`\"icmpv6\"`"],
    },
    Mistake {
        replace: "ports = \"443\"",
        by: "ports = \"443-80\"",
        at: "49:11",
        says: &["the wrong way round", "write \"80-443\""],
    },
    Mistake {
        replace: "ports = \"443\"",
        by: "ports = \"https\"",
        at: "49:11",
        says: &["neither a port nor a range of them"],
    },
    Mistake {
        replace: "ports = \"443\"",
        by: "ports = 65536",
        at: "49:11",
        says: &["65536 is out of range"],
    },
    Mistake {
        replace: "ports = \"443\"",
        by: "type = 8",
        at: "49:3",
        says: &["[[security_group.outbound]] can't have `type`", "protocol \"tcp\" has none"],
    },
    Mistake {
        replace: "  type = 8\n",
        by: "  ports = 8\n",
        at: "53:3",
        says: &["can't have `ports`", "protocol \"icmp\" has no ports"],
    },
    Mistake { replace: "  type = 8\n", by: "", at: "53:10", says: &["a rule has `code`, but no `type`"] },
    Mistake { replace: "  type = 8\n", by: "  type = 256\n", at: "53:10", says: &["256 is out of range"] },
    Mistake {
        replace: "  cidr = \"0.0.0.0/0\"\n",
        by: "",
        at: "47:3",
        says: &["has 0 of `cidr`, `prefix_list` or `security_group`"],
    },
    Mistake {
        replace: "  cidr = \"0.0.0.0/0\"\n",
        by: "  cidr = \"0.0.0.0/0\"\n  prefix_list = \"offices\"\n",
        at: "47:3",
        says: &["has 2 of `cidr`"],
    },
    Mistake {
        replace: "prefix_list = \"offices\"",
        by: "cidr = \"2001:db8::/32\"",
        at: "52:14",
        says: &["\"icmp\" is of IPv4", "`protocol = \"icmpv6\"`"],
    },
    Mistake {
        replace: "prefix_list = \"offices\"",
        by: "prefix_list = \"office\"",
        at: "55:17",
        says: &["prefix list \"office\" is not defined", "did you mean \"offices\"?"],
    },
    Mistake {
        replace: "  security_group = \"web\"",
        by: "  security_group = \"wbe\"",
        at: "58:20",
        says: &["security group \"wbe\" is not defined"],
    },
    Mistake {
        replace: "  security_group = \"web\"",
        by: "  security_group = \"hosts\"",
        at: "58:20",
        says: &["security group \"hosts\" is of VPC \"host\", not of \"prod\""],
    },
    Mistake {
        replace: "security_groups = [\"web\"]",
        by: "security_groups = [\"hosts\"]",
        at: "68:20",
        says: &["is of VPC \"host\", not of \"prod\""],
    },
    Mistake {
        replace: "security_groups = [\"web\"]",
        by: "security_groups = [\"web\", \"web\"]",
        at: "68:27",
        says: &["names security group \"web\" twice"],
    },
    Mistake {
        replace: "security_groups = [\"web\"]",
        by: "security_groups = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]",
        at: "68:45",
        says: &["has 6 security groups, but 5 are the most"],
    },
    Mistake { replace: "rejudge = true", by: "rejudge = \"yes\"", at: "69:11", says: &["`true` or `false`"] },
    Mistake {
        replace: "on_idle = \"both_ends\"\n  [[c",
        by: "on_idle = \"both\"\n  [[c",
        at: "70:11",
        says: &["not a way to end what is idle", "did you mean \"both_ends\"?"],
    },
    Mistake {
        replace: "via = \"host\"",
        by: "via = \"hots\"",
        at: "75:9",
        says: &["connector \"hots\" is not defined"],
    },
    Mistake {
        replace: "address = \"169.254.100.1\"",
        by: "address = \"169.254.100.2\"",
        at: "72:13",
        says: &["a service can't be called at 169.254.100.2", "every sandbox's own address"],
    },
    Mistake {
        replace: "address = \"169.254.100.1\"",
        by: "address = \"fd00::1\"",
        at: "72:13",
        says: &["fd00::1 is an IPv6 address, but sandboxes have none"],
    },
    Mistake {
        replace: "to = \"10.255.0.1\"",
        by: "to = \"fd00::1\"",
        at: "76:8",
        says: &["a service is called at 169.254.100.1 and is at fd00::1"],
    },
    Mistake {
        replace: "prefix = \"10.255.0.0/24\"",
        by: "prefix6 = \"fd00:255::/64\"",
        at: "75:9",
        says: &["connector \"host\" has no IPv4 addresses, so it doesn't lead to 10.255.0.1"],
    },
    Mistake {
        replace: "  to = \"10.255.0.1\"\n",
        by: "  [[connector.service]]\n  address = \"169.254.100.1\"\n  port = 9001\n  protocol = \"tcp_udp\"\n  via = \"host\"\n",
        at: "77:13",
        says: &["two services of a connector are called at 169.254.100.1 port 9001/tcp"],
    },
    Mistake {
        replace: "connector = \"web-fn\"\nport = 5432\n",
        by: "port = 5432\n",
        at: "88:13",
        says: &["target 10.0.1.50 is an address, but its group has no `connector`"],
    },
    Mistake {
        replace: "connector = \"web-fn\"\nport = 5432\n",
        by: "connector = \"wbe-fn\"\nport = 5432\n",
        at: "85:13",
        says: &["connector \"wbe-fn\" is not defined"],
    },
    Mistake {
        replace: "  address = \"10.0.1.50\"\n",
        by: "  address = \"10.0.1.50\"\n  netns = \"sb\"\n",
        at: "90:3",
        says: &["[[target_group.target]] can't have `netns`: it has `address`"],
    },
    Mistake {
        replace: "  address = \"10.0.1.51\"\n",
        by: "  interface = \"tap0\"\n",
        at: "92:15",
        says: &["of two kinds: 10.0.1.50 is an IPv4 address, and tap0 is a slot"],
    },
    Mistake {
        replace: "  address = \"10.0.1.51\"\n",
        by: "  address = \"fd00::51\"\n",
        at: "92:13",
        says: &["and fd00::51 is an IPv6 address"],
    },
    Mistake {
        replace: "  address = \"10.0.1.51\"\n",
        by: "  address = \"10.0.1.50\"\n",
        at: "92:13",
        says: &["two targets of one group are port 5432 of the same address, 10.0.1.50"],
    },
    Mistake {
        replace: "  address = \"10.0.1.51\"\n",
        by: "  address = \"10.0.1.100\"\n",
        at: "92:13",
        says: &["a target can't be at 10.0.1.100: it is a listener's"],
    },
    Mistake {
        replace: "address = \"10.0.1.100\"",
        by: "address = \"fd00:1::100\"",
        at: "97:11",
        says: &["listener \"db\" is at an IPv6 address, but a target of its is at 10.0.1.50"],
    },
    Mistake {
        replace: "connector = \"web-fn\"\n  [slot.rate.out]\n  bytes = { size = 12500000, refill_ms = 100, one_time_burst = 7 }\n  packets = { size = 1000, refill_ms = 100 }\n",
        by: "",
        at: "103:1",
        says: &["[[slot]] has neither `connector` nor `rate`"],
    },
    Mistake {
        replace: "  packets = { size = 128, refill_ms = 3600000 }\n",
        by: "",
        at: "114:3",
        says: &["[slot.rate.in] has neither `bytes` nor `packets`"],
    },
    Mistake {
        replace: "size = 12500000, ",
        by: "size = 65535, ",
        at: "108:20",
        says: &["65535 is out of range", "from 65536 to 4294967295"],
    },
    Mistake { replace: "size = 128, ", by: "size = 127, ", at: "115:22", says: &["from 128 to"] },
    Mistake {
        replace: "refill_ms = 3600000",
        by: "refill_ms = 0",
        at: "115:39",
        says: &["milliseconds from 1 to 3600000"],
    },
    Mistake {
        replace: "{ size = 1000, refill_ms = 100 }",
        by: "{ size = 1000 }",
        at: "109:13",
        says: &["has no `refill_ms`"],
    },
    Mistake { replace: "one_time_burst = 7", by: "burst = 7", at: "108:47", says: &["has no key `burst`"] },
];
