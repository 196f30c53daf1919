//! What serves inside a namespace: Debian's nginx, and echo servers that are threads of this process.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::Error;
use crate::guest::Guest;
use crate::netns::Netns;
use crate::process::Process;
use crate::waiting::{PATIENCE, until};

/// Where nginx listens in a sandbox.
pub const HTTP_PORT: u16 = 8080;

/// Where nginx writes down who came.
const VISITORS: &str = "visitors.log";

/// Where echo servers listen in a sandbox.
pub const ECHO_PORT: u16 = 7007;

/// The largest datagram that there is.
const LARGEST_DATAGRAM: usize = 1 << 16;

/// How long an echo thread waits before it looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);

/// Something that serves until it is dropped.
#[derive(Debug)]
pub enum Server {
    /// A program.
    Process(Process),
    /// A thread of this process.
    Echo(Echo),
    /// A guest behind a TAP device.
    Guest(Guest),
}

impl From<Process> for Server {
    fn from(process: Process) -> Self {
        Self::Process(process)
    }
}

impl From<Guest> for Server {
    fn from(guest: Guest) -> Self {
        Self::Guest(guest)
    }
}

impl From<Echo> for Server {
    fn from(echo: Echo) -> Self {
        Self::Echo(echo)
    }
}

/// Starts nginx in a namespace, on all its addresses. It answers `/` with `name`, and `/files/…` from the
/// folder `files` inside `dir`. Its own files are in `dir` too: nothing of the system's nginx is touched.
pub fn nginx(netns: &Netns, name: &str, dir: &Path) -> Result<Process, Error> {
    let home = dir.join(format!("nginx-{}", netns.name()));
    fs::create_dir_all(&home).map_err(Error::file("make the folder", &home))?;
    let config = home.join("nginx.conf");
    fs::write(&config, nginx_config(name, &home, dir)).map_err(Error::file("write", &config))?;
    let mut command = netns.command("nginx");
    command.arg("-p").arg(&home).arg("-c").arg(&config).arg("-e").arg(home.join("error.log"));
    let mut process = Process::start(format!("nginx of {name}"), &mut command, &home.join("output.log"))?;
    let what = format!("nginx of {name} listening on port {HTTP_PORT}");
    until(&what, PATIENCE, String::new, || {
        process.must_run()?;
        let local = SocketAddr::from(([127, 0, 0, 1], HTTP_PORT));
        netns.enter(move || TcpStream::connect(local).ok())
    })?;
    Ok(process)
}

fn nginx_config(name: &str, home: &Path, dir: &Path) -> String {
    let temp_paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {}/{kind};\n", home.display()))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid {home}/nginx.pid;\nevents {{ worker_connections 1024; }}\n\
         http {{\n  log_format who '$remote_addr';\n  access_log {home}/{VISITORS} who;\n{temp_paths}  server {{\n    listen {HTTP_PORT} backlog=1024;\n    \
         listen [::]:{HTTP_PORT} backlog=1024;\n    \
         location / {{ default_type text/plain; return 200 \"{name}\\n\"; }}\n    \
         location /files/ {{ root {dir}; }}\n  }}\n}}\n",
        home = home.display(),
        dir = dir.display(),
    )
}

/// Who came to the nginx of a namespace, each as often as it did. It writes that down once it has answered.
pub fn visitors(netns: &Netns, dir: &Path) -> Result<Vec<IpAddr>, Error> {
    let log = dir.join(format!("nginx-{}", netns.name())).join(VISITORS);
    let text = fs::read_to_string(&log).map_err(Error::file("read", &log))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// A server that sends back what it gets.
#[derive(Debug)]
pub struct Echo {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// UDP, on all IPv4 addresses of a namespace.
    pub fn udp(netns: &Netns, port: u16) -> Result<Self, Error> {
        Self::udp_at(netns, (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// UDP, on an address of a namespace.
    pub fn udp_at(netns: &Netns, at: SocketAddr) -> Result<Self, Error> {
        let socket = netns
            .enter(move || UdpSocket::bind(at))?
            .map_err(Error::io(format!("listen on UDP {at} in {}", netns.name())))?;
        socket.set_read_timeout(Some(LOOK)).map_err(Error::io("set a time limit on a socket"))?;
        Ok(Self::serve(move |ends| {
            let mut buffer = vec![0; LARGEST_DATAGRAM];
            while !ends.load(Ordering::Relaxed) {
                // A time-out is the chance to end; a refused answer is for the asker to notice.
                if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    let _: io::Result<usize> = socket.send_to(buffer.get(..len).unwrap_or_default(), from);
                }
            }
        }))
    }

    /// TCP, on all IPv4 addresses of a namespace, one thread for each connection.
    pub fn tcp(netns: &Netns, port: u16) -> Result<Self, Error> {
        Self::tcp_at(netns, (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// TCP, on an address of a namespace, one thread for each connection.
    pub fn tcp_at(netns: &Netns, at: SocketAddr) -> Result<Self, Error> {
        let listener = netns
            .enter(move || TcpListener::bind(at))?
            .map_err(Error::io(format!("listen on TCP {at} in {}", netns.name())))?;
        listener.set_nonblocking(true).map_err(Error::io("unblock a socket"))?;
        Ok(Self::serve(move |ends| {
            thread::scope(|scope| {
                while !ends.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => drop(scope.spawn(move || echo_stream(stream, ends))),
                        Err(_) => thread::sleep(LOOK / 10),
                    }
                }
            });
        }))
    }

    fn serve(serve: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        Self { ends, thread: Some(thread::spawn(move || serve(&told))) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was shown when it happened.
            let _: thread::Result<()> = thread.join();
        }
    }
}

fn echo_stream(mut stream: TcpStream, ends: &AtomicBool) {
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    if stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(LOOK))).is_err() {
        return;
    }
    while !ends.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) if stream.write_all(buffer.get(..len).unwrap_or_default()).is_err() => return,
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return;
            }
            Ok(_) | Err(_) => {}
        }
    }
}
