//! What applications see, by sockets. The scheduler has more to say about it than the way: nothing is judged by it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use weir_benches::{Outcome, machine};
use weir_netns_tests::servers::{HTTP_PORT, nginx};
use weir_netns_tests::topology::SANDBOX;

use crate::mode::SINK_PORT;
use crate::programs::inside;
use crate::way::Way;

/// How long a stream runs, and connections are made.
const WINDOW: Duration = Duration::from_secs(1);
/// More connections than this are not made in a window, so that no port is used twice.
const MOST_CONNECTIONS: u32 = 5_000;
/// Clients that connect at the same time.
const CLIENTS: u32 = 4;
/// Requests on one connection: fewer than nginx allows.
const REQUESTS: usize = 900;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is written at once.
const CHUNK: usize = 1 << 17;

/// What was seen by sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Gigabits a second of one TCP stream.
    pub(crate) gigabits: f64,
    /// Connections a second: each made, used for one request, closed.
    pub(crate) connections: f64,
    /// Microseconds that half of the requests on a connection take at most.
    pub(crate) p50_us: f64,
    /// The same of 99 in 100.
    pub(crate) p99_us: f64,
}

/// Measures a way.
pub(crate) fn measure(way: &mut Way) -> Outcome<Seen> {
    let gigabits = stream(way)?;
    let (netns, name) = (&way.sandbox()?.netns, &way.sandbox()?.name);
    let (name, server) = (name.clone(), nginx(netns, name, way.files())?);
    way.keep(server);
    let to = way.mode().towards(HTTP_PORT);
    let connections = inside(way.client_side(), move || connections(to))?;
    let [p50_us, p99_us] = inside(way.client_side(), move || requests(to, &name))?;
    Ok(Seen { gigabits, connections, p50_us, p99_us })
}

/// One TCP stream, of which the sandbox counts what it reads.
fn stream(way: &Way) -> Outcome<f64> {
    let listener = inside(&way.sandbox()?.netns, || Ok(TcpListener::bind((SANDBOX, SINK_PORT))?))?;
    let to = way.mode().towards(SINK_PORT);
    let stream = inside(way.client_side(), move || connect(to))?;
    let (accepted, _) = listener.accept()?;
    let reader = thread::spawn(move || read_all(accepted).map_err(|error| error.to_string()));
    inside(way.client_side(), move || write_for_a_window(stream))?;
    Ok(reader.join().map_err(|_| "the stream's reader panicked")??)
}

fn write_for_a_window(mut stream: TcpStream) -> Outcome<()> {
    machine::stay_on(0)?;
    let chunk = vec![0; CHUNK];
    let begun = Instant::now();
    while begun.elapsed() < WINDOW {
        stream.write_all(&chunk)?;
    }
    Ok(stream.shutdown(Shutdown::Write)?)
}

/// Gigabits a second, from the first byte to the end.
fn read_all(mut stream: TcpStream) -> Outcome<f64> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; CHUNK];
    let mut bytes = stream.read(&mut buffer)?;
    let begun = Instant::now();
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9),
            more => bytes += more,
        }
    }
}

/// Connections a second: several clients, each connecting again and again.
fn connections(to: SocketAddrV4) -> Outcome<f64> {
    let begun = Instant::now();
    let client = move || {
        let mut made = 0;
        while made < MOST_CONNECTIONS / CLIENTS && begun.elapsed() < WINDOW {
            visit(to).map_err(|error| format!("connection {made} to {to}: {error}"))?;
            made += 1;
        }
        Ok::<_, String>(made)
    };
    // They inherit the namespace and the CPU of the thread that starts them.
    machine::stay_on(0)?;
    let clients: Vec<_> = (0..CLIENTS).map(|_| thread::spawn(client)).collect();
    let mut made = 0;
    for client in clients {
        made += client.join().map_err(|_| "a client panicked")??;
    }
    Ok(f64::from(made) / begun.elapsed().as_secs_f64())
}

fn visit(to: SocketAddrV4) -> Outcome<()> {
    let mut stream = connect(to)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err("no answer of nginx's".into()) }
}

/// The median and the 99th percentile of requests on one connection, in microseconds.
fn requests(to: SocketAddrV4, body: &str) -> Outcome<[f64; 2]> {
    machine::stay_on(0)?;
    let mut stream = connect(to)?;
    let mut took = Vec::with_capacity(REQUESTS);
    let mut buffer = [0; 2048];
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: wire\r\n\r\n")?;
        let mut len = 0;
        while !buffer.get(..len).is_some_and(|read| read.trim_ascii_end().ends_with(body.as_bytes())) {
            let room =
                buffer.get_mut(len..).filter(|room| !room.is_empty()).ok_or("an answer without its end")?;
            match stream.read(room)? {
                0 => return Err(format!("{to} closed the connection after {} requests", took.len()).into()),
                more => len += more,
            }
        }
        took.push(begun.elapsed().as_nanos() as f64 / 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(f64::NAN);
    Ok([at(50), at(99)])
}

fn connect(to: SocketAddrV4) -> Outcome<TcpStream> {
    let stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
