//! One table of mistakes: what is wrong with a file, where that is shown, and which words say it.

use super::document;

/// In a file, [`super::SMALL`] or another one, one text is replaced by another; the complaint must show this place and these words.
pub(super) struct Mistake {
    pub(super) replace: &'static str,
    pub(super) by: &'static str,
    pub(super) at: &'static str,
    pub(super) says: &'static [&'static str],
}

/// Makes each mistake in this file, by itself; every one that is not shown as it should be is shown here.
pub(super) fn find_all(file: &str, mistakes: &[Mistake]) {
    let wrong: Vec<_> = mistakes.iter().filter_map(|mistake| mistake.wrong_in(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Mistake {
    /// What is not as it should be, if anything is.
    fn wrong_in(&self, file: &str) -> Option<String> {
        if !file.contains(self.replace) {
            return Some(format!("{:?} is not in the file", self.replace));
        }
        let Err(invalid) = document(&file.replacen(self.replace, self.by, 1)).parse() else {
            return Some(format!("{:?} is taken", self.by));
        };
        let shown = invalid.rendered();
        let place = format!("weir.toml:{}: ", self.at);
        if !invalid.summary().starts_with(&place) || !shown.contains(&format!("[weir.toml:{}]", self.at)) {
            return Some(format!("{place} is not the place of {}\n{shown}", invalid.summary()));
        }
        let words = shown.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        let missing = self.says.iter().find(|said| !words.contains(*said));
        missing.map(|said| format!("{said:?} is missing from\n{shown}"))
    }
}

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake { replace: "port = 80\n", by: "port = \n", at: "28:8", says: &["not TOML"] },
    Mistake { replace: "version = 1\n", by: "", at: "1:1", says: &["no `version`", "version = 1"] },
    Mistake {
        replace: "version = 1",
        by: "version = 2",
        at: "1:11",
        says: &["version 2", "write `version = 1`"],
    },
    Mistake {
        replace: "protocol = \"tcp\"",
        by: "protocol = \"tcp\"\nadress = \"198.51.100.11\"",
        at: "30:1",
        says: &[
            "[[listener]] has no key `adress`",
            "did you mean `address`?",
            "the keys of [[listener]] are",
        ],
    },
    Mistake {
        replace: "port = 80\n",
        by: "port = \"80\"\n",
        at: "28:8",
        says: &["the text \"80\"", "whole number"],
    },
    Mistake { replace: "port = 80\n", by: "port = 0\n", at: "28:8", says: &["port 0", "from 1 to 65535"] },
    Mistake { replace: "port = 80\n", by: "port = 65536\n", at: "28:8", says: &["65536 is out of range"] },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"198.51.100.10/24\"",
        at: "27:11",
        says: &["\"198.51.100.10/24\" is not an address", "drop the prefix length: write \"198.51.100.10\""],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"198.51.100.10:80\"",
        at: "27:11",
        says: &["write \"198.51.100.10\" here, and `port = 80`"],
    },
    Mistake { replace: "\"198.51.100.10\"", by: "\"198.51.100\"", at: "27:11", says: &["four numbers"] },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"2001:db8::1\"",
        at: "27:11",
        says: &["an IPv6 address, but sandboxes have none", "`address6` and `gateway6`"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"224.0.0.1\"",
        at: "27:11",
        says: &["not a unicast address"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"169.254.100.2\"",
        at: "27:11",
        says: &["own address", "[sandbox]"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"169.254.100.1\"",
        at: "27:11",
        says: &["gateway", "[sandbox]"],
    },
    Mistake { replace: "\"tcp\"", by: "\"tpc\"", at: "29:12", says: &["did you mean \"tcp\"?", "`\"udp\"`"] },
    Mistake {
        replace: "target_group = \"web\"",
        by: "target_group = \"wbe\"",
        at: "30:16",
        says: &["target group \"wbe\" is not defined", "did you mean \"web\"?"],
    },
    Mistake {
        replace: "vpc = \"prod\"\n\n",
        by: "vpc = \"production\"\n\n",
        at: "8:7",
        says: &["VPC \"production\" is not defined", "did you mean \"prod\"?"],
    },
    Mistake {
        replace: "vpc = \"prod\"\n\n",
        by: "vpc = \"prod\"\nhook = \"xpd\"\n\n",
        at: "9:8",
        says: &["\"xpd\" is not a hook", "did you mean \"xdp\"?", "xdp-generic"],
    },
    Mistake { replace: "\"sandbox-2\"", by: "\"sandbox-1\"", at: "21:10", says: &["two targets are called"] },
    Mistake {
        replace: "interface = \"veth-sb2\"",
        by: "netns = \"sb1\"\n  interface = \"eth0\"\n  port = 8081",
        at: "23:15",
        says: &["port 8081 of the same slot, sb1:eth0"],
    },
    Mistake { replace: "\"veth-sb2\"", by: "\"eth0\"", at: "22:15", says: &["an uplink and a target"] },
    Mistake { replace: "\"veth-sb2\"", by: "\"veth/sb2\"", at: "22:15", says: &["name of a network device"] },
    Mistake { replace: "\"sb1\"", by: "\"../sb1\"", at: "16:11", says: &["/run/netns"] },
    Mistake {
        replace: "name = \"prod\"",
        by: "name = \"a b\"",
        at: "4:8",
        says: &["\"a b\" can't be a name"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\nsandbox.mac = \"03:00:00:00:00:01\"\n",
        at: "2:15",
        says: &["multicast MAC", "02:00:00:00:00:01"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\nsandbox.mac = \"2:3\"\n",
        at: "2:15",
        says: &["six pairs"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\ngateway = \"169.254.100.2\"\n",
        at: "2:1",
        says: &["the same address, 169.254.100.2"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"2001:db8::1/64\"",
        at: "27:11",
        says: &["drop the prefix length: write \"2001:db8::1\""],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"[2001:db8::1]:80\"",
        at: "27:11",
        says: &["write \"2001:db8::1\" here, and `port = 80`"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"2001:db8::1::\"",
        at: "27:11",
        says: &["not an IPv6 address", "like \"2001:db8::10\""],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"::ffff:198.51.100.10\"",
        at: "27:11",
        says: &["an IPv4 address", "write it as what it is: \"198.51.100.10\""],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"ff02::1\"",
        at: "27:11",
        says: &["ff02::1 is not a unicast address"],
    },
    Mistake {
        replace: "\"tcp\"\n",
        by: "\"tcp\"\nidle_timeout = 59\n",
        at: "30:16",
        says: &["59 is out of range", "a whole number of seconds from 60 to 6000"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[timeouts]\ntcp_closing = 0\n",
        at: "3:15",
        says: &["0 is out of range", "a whole number of seconds from 1 to 6000"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[timeouts]\nudp_idle = 6001\n",
        at: "3:12",
        says: &["6001 is out of range", "from 60 to 6000"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[timeouts]\ntcp_idle = \"350s\"\n",
        at: "3:12",
        says: &["the text \"350s\"", "a whole number of seconds from 60 to 6000, without quotes"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[timeouts]\ntcp_established = 350\n",
        at: "3:1",
        says: &["[timeouts] has no key `tcp_established`", "`tcp_idle`"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\naddress6 = \"fd00::2\"\n",
        at: "3:12",
        says: &["[sandbox] has `address6`, but no `gateway6`", "or remove `address6`"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\ngateway6 = \"fd00::1\"\n",
        at: "3:12",
        says: &["[sandbox] has `gateway6`, but no `address6`"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\naddress6 = \"fd00::2\"\ngateway6 = \"fd00::2\"\n",
        at: "2:1",
        says: &["the same IPv6 address, fd00::2"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\naddress6 = \"fd00::2\"\ngateway6 = \"::1\"\n",
        at: "4:12",
        says: &["::1 is not a unicast address"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\naddress6 = \"10.0.0.1\"\ngateway6 = \"fd00::1\"\n",
        at: "3:12",
        says: &["10.0.0.1 is not an IPv6 address", "like \"2001:db8::10\""],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_flows_v6 = 16777217\n",
        at: "3:16",
        says: &["16777217 is out of range", "from 1024 to 16777216"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_half_open = 63\n",
        at: "3:17",
        says: &["63 is out of range", "from 64 to 16777216"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_flows = 1024\nmax_half_open = 1025\n",
        at: "4:17",
        says: &["max_half_open is 1025, but only 1024 flows fit (max_flows)", "from 64 to 1024"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_half_open_v6 = 524289\n",
        at: "3:20",
        says: &["only 524288 flows fit (max_flows_v6)"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_flows = 1000\n",
        at: "3:13",
        says: &["1000 is out of range", "from 1024 to 16777216"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\ndataplane.hash_key = \"0011\"\n",
        at: "2:22",
        says: &["hash_key", "32 hex digits"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\ndataplane.pin_dir = \"weir\"\n",
        at: "2:21",
        says: &["\"weir\" is not an absolute path"],
    },
    Mistake {
        replace: "[[uplink]]\ninterface = \"eth0\"\nvpc = \"prod\"\n",
        by: "",
        at: "23:7",
        says: &["VPC \"prod\" has no uplink", "add an [[uplink]] with `vpc = \"prod\"`"],
    },
    Mistake { replace: "[[vpc]]", by: "[vpc]", at: "3:1", says: &["a list of tables is wanted", "[[vpc]]"] },
];
