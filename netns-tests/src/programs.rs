//! Real programs in a VPC, and their clients: PostgreSQL, Redis, DNS and SSH. Each tells who came to it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::error::Error;
use crate::netns::Netns;
use crate::process::{self, Process, output};
use crate::requirements::postgresql;
use crate::waiting::{PATIENCE, until};

/// The name that the name server knows, and the address it has.
pub const NAME: (&str, &str) = ("weir.example", "203.0.113.7");

/// Who runs PostgreSQL, which refuses root.
const ITS_USER: [&str; 4] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];

const POSTGRES_PORT: u16 = 5432;
const REDIS_PORT: u16 = 6379;
const SSH_PORT: u16 = 22;

/// PostgreSQL, with a database of its own.
#[derive(Debug)]
pub struct Postgres {
    // Before its files.
    _process: Process,
    _home: TempDir,
}

impl Postgres {
    /// Makes a database and serves it on all addresses of a namespace.
    pub fn begin(netns: &Netns, dir: &Path) -> Result<Self, Error> {
        // Not in the run's own folder, which is closed to other users.
        let home = TempDir::with_prefix("weir-postgres-").map_err(Error::io("make a temporary folder"))?;
        let data = home.path().join("data");
        output(Command::new("chown").arg("postgres:postgres").arg(home.path()))?;
        let bin = postgresql()?;
        let [setpriv, user @ ..] = ITS_USER;
        let mut make = Command::new(setpriv);
        make.args(user).arg(bin.join("initdb")).arg("-D").arg(&data).current_dir(home.path());
        output(make.args(["-A", "trust", "-U", "postgres", "--no-sync", "--no-instructions", "--locale=C"]))?;
        let rules = data.join("pg_hba.conf");
        fs::write(&rules, "host all all all trust\n").map_err(Error::file("write", &rules))?;
        let mut serve = netns.command(setpriv);
        serve.args(user).arg(bin.join("postgres")).arg("-D").arg(&data).current_dir(home.path());
        serve.args(["-c", "listen_addresses=*", "-c", "unix_socket_directories=", "-c", "fsync=off"]);
        let mut process = Process::start("PostgreSQL", &mut serve, &dir.join("postgres.log"))?;
        listens(netns, &mut process, "tcp", POSTGRES_PORT)?;
        Ok(Self { _process: process, _home: home })
    }

    /// Asks it, by `psql`, whom it sees.
    pub fn who_am_i(from: &Netns, server: IpAddr) -> Result<IpAddr, Error> {
        let mut psql = from.command("psql");
        psql.args(["-h", &server.to_string(), "-U", "postgres", "-X", "-A", "-t", "-w"]);
        read_address(psql.args(["-c", "select host(inet_client_addr())"]))
    }
}

/// Redis, without anything on a disk.
#[derive(Debug)]
pub struct Redis(Process);

impl Redis {
    /// Serves on all addresses of a namespace.
    pub fn begin(netns: &Netns, dir: &Path) -> Result<Self, Error> {
        let mut serve = netns.command("redis-server");
        serve.args(["--port", &REDIS_PORT.to_string(), "--bind", "*", "-::*", "--protected-mode", "no"]);
        serve.args(["--save", "", "--appendonly", "no"]).arg("--dir").arg(dir);
        let mut process = Process::start("Redis", &mut serve, &dir.join("redis.log"))?;
        listens(netns, &mut process, "tcp", REDIS_PORT)?;
        Ok(Self(process))
    }

    /// Whether it still runs.
    pub fn must_run(&mut self) -> Result<(), Error> {
        self.0.must_run()
    }

    /// Asks it, by `redis-cli`, whom it sees.
    pub fn who_am_i(from: &Netns, server: IpAddr) -> Result<IpAddr, Error> {
        let mut ask = from.command("redis-cli");
        let said = output(ask.args(["-h", &server.to_string(), "CLIENT", "INFO"]))?;
        // "id=4 addr=192.0.2.100:40000 laddr=…", and "addr=[2001:db8:2::100]:40000"
        let found = said.split_whitespace().find_map(|word| word.strip_prefix("addr="));
        let found = found.and_then(|it| it.rsplit_once(':')).map(|(address, _)| address);
        found.and_then(|it| it.trim_matches(['[', ']']).parse().ok()).ok_or_else(|| Error::Output {
            command: process::shown(&ask),
            why: "no address in it".into(),
            output: said,
        })
    }
}

/// A name server, dnsmasq, which notes who asks.
#[derive(Debug)]
pub struct Dns {
    _process: Process,
    log: PathBuf,
}

impl Dns {
    /// Serves one name on all addresses of a namespace.
    pub fn begin(netns: &Netns, dir: &Path) -> Result<Self, Error> {
        let log = dir.join("dns.log");
        let (name, address) = NAME;
        let mut serve = netns.command("dnsmasq");
        serve.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"]);
        serve.args(["--no-resolv", "--no-hosts", "--log-queries", "--log-facility=-"]);
        let mut process = Process::start("dnsmasq", serve.arg(format!("--address=/{name}/{address}")), &log)?;
        for protocol in ["udp", "tcp"] {
            listens(netns, &mut process, protocol, 53)?;
        }
        Ok(Self { _process: process, log })
    }

    /// Asks for the name by `dig`, and says whether the answer is right.
    pub fn ask(from: &Netns, server: IpAddr, how: &[&str]) -> Result<bool, Error> {
        let (name, address) = NAME;
        let mut dig = from.command("dig");
        dig.args([&format!("@{server}"), name, "A", "+short", "+tries=1", "+time=5"]).args(how);
        Ok(output(&mut dig)?.trim() == address)
    }

    /// Who asked so far, each as often as it did: `… query[A] weir.example from 192.0.2.100`.
    pub fn askers(&self) -> Result<Vec<IpAddr>, Error> {
        let text = fs::read_to_string(&self.log).map_err(Error::file("read", &self.log))?;
        let of_line = |line: &str| {
            line.contains("query[A]").then(|| line.rsplit_once(" from ")?.1.trim().parse().ok()).flatten()
        };
        Ok(text.lines().filter_map(of_line).collect())
    }
}

/// An SSH server, with keys made for the run.
#[derive(Debug)]
pub struct SshServer {
    _process: Process,
    key: PathBuf,
}

impl SshServer {
    /// Serves on all addresses of a namespace.
    pub fn begin(netns: &Netns, dir: &Path) -> Result<Self, Error> {
        let home = dir.join(format!("ssh-{}", netns.name()));
        fs::create_dir_all(&home).map_err(Error::file("make the folder", &home))?;
        let [host_key, key] = ["host_key", "key"].map(|name| home.join(name));
        for file in [&host_key, &key] {
            output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file))?;
        }
        // Where it puts those who have not shown who they are; Debian's own service makes it as well.
        let empty = Path::new("/run/sshd");
        fs::create_dir_all(empty).map_err(Error::file("make the folder", empty))?;
        let config = home.join("sshd_config");
        let text = format!(
            "Port {SSH_PORT}\nHostKey {}\nAuthorizedKeysFile {}.pub\nStrictModes no\nUsePAM {}\nPidFile none\n\
             UseDNS no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\n",
            host_key.display(),
            key.display(),
            if is_root_locked() { "yes" } else { "no" },
        );
        fs::write(&config, text).map_err(Error::file("write", &config))?;
        let mut serve = netns.command("/usr/sbin/sshd");
        let log = home.join("sshd.log");
        let mut process = Process::start("sshd", serve.args(["-D", "-e", "-f"]).arg(&config), &log)?;
        listens(netns, &mut process, "tcp", SSH_PORT)?;
        Ok(Self { _process: process, key })
    }

    /// Logs in, and stays.
    pub fn log_in(&self, from: &Netns, server: IpAddr) -> Result<Session, Error> {
        let mut ssh = from.command("ssh");
        ssh.args([
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "LogLevel=ERROR",
        ]);
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"])
            .arg(&self.key);
        ssh.arg(format!("root@{server}")).arg("echo $SSH_CONNECTION; exec cat");
        Session::begin(ssh)
    }
}

/// sshd takes a password that begins so for an account that nobody may use, unless PAM judges that.
fn is_root_locked() -> bool {
    fs::read_to_string("/etc/shadow").is_ok_and(|text| text.lines().any(|line| line.starts_with("root:!")))
}

/// A session in which the server says back whatever it is told.
#[derive(Debug)]
pub struct Session {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Whom the server sees.
    pub seen_as: IpAddr,
}

impl Session {
    fn begin(mut ssh: Command) -> Result<Self, Error> {
        let line = process::shown(&ssh);
        let started = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn();
        let mut child = started.map_err(Error::io(format!("start `{line}`")))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Missing { what: "a pipe to ssh".into(), by_hand: line });
        };
        let mut session = Self { child, to, from: BufReader::new(from), seen_as: [0; 4].into() };
        // "192.0.2.100 40000 10.0.1.2 22"
        let said = session.hear()?;
        let address = said.split_whitespace().next().and_then(|word| word.parse().ok());
        session.seen_as = address.ok_or_else(|| Error::Output {
            command: line,
            why: "no SSH_CONNECTION; its own words are above".into(),
            output: said,
        })?;
        Ok(session)
    }

    /// Says something, and hears whether just that comes back.
    pub fn exchange(&mut self, words: &str) -> Result<bool, Error> {
        writeln!(self.to, "{words}").map_err(Error::io("speak in an SSH session"))?;
        Ok(self.hear()?.trim_end() == words)
    }

    fn hear(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.from.read_line(&mut line).map_err(Error::io("listen in an SSH session"))?;
        Ok(line)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _: io::Result<()> = self.child.kill();
        let _: io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

fn read_address(command: &mut Command) -> Result<IpAddr, Error> {
    let said = output(command)?;
    said.trim().parse().map_err(|_| Error::Output {
        command: process::shown(command),
        why: "not an address".into(),
        output: said,
    })
}

/// Waits until a program listens on a port.
fn listens(netns: &Netns, process: &mut Process, protocol: &str, port: u16) -> Result<(), Error> {
    let what = format!("a listener on {protocol} port {port} of {}", netns.name());
    let (kind, port) = (format!("-Hln{}", &protocol[..1]), format!(":{port}"));
    until(&what, PATIENCE, String::new, || {
        process.must_run()?;
        let listening = output(netns.command("ss").args([&kind, "sport", "=", &port]))?;
        Ok((!listening.trim().is_empty()).then_some(()))
    })
}

/// The set of those who came.
pub fn everyone<E>(seen: impl IntoIterator<Item = Result<IpAddr, E>>) -> Result<BTreeSet<IpAddr>, E> {
    seen.into_iter().collect()
}
