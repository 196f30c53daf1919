//! Packets a second, from a program to a program: of one flow that is known, and each of a flow of its own.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, PerCpuArray, PerCpuValues};
use aya::programs::{Program, TestRun, TestRunAttrs, TestRunOptions};
use aya::util::nr_cpus;
use etherparse::PacketBuilder;
use nix::net::if_::if_nametoindex;
use weir_benches::{Outcome, machine};
use weir_netns_tests::servers::{ECHO_PORT, Echo};
use weir_netns_tests::topology::{ROUTER, ROUTER_DEVICE};

use crate::programs::{self, Devices, inside};
use crate::way::{SANDBOX_DEVICE, Way};

/// The port that the known flow comes from.
const CLIENT_PORT: u16 = 40_000;
/// How long an answer may take: a neighbour may have to be asked first.
const ANSWER: Duration = Duration::from_secs(5);
/// As long as each frame is, in `benches/ebpf/` too: the shortest that Ethernet has.
const FRAME: usize = 60;
/// Ethernet, IPv4 and UDP.
const HEADERS: usize = 42;
/// Frames that are given to the device at once: as many as a driver polls for.
const AT_ONCE: u32 = 64;
/// Where fewer than this share of packets come, or of flows are opened, a way doesn't do what it is for.
pub(crate) const MOST: f64 = 0.9;

/// Which flows packets belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traffic {
    /// One that is known, and was answered.
    OneFlow,
    /// Each a new one.
    NewFlows,
}

impl Traffic {
    /// How often a way has its turn in a round.
    pub(crate) const fn turns(self) -> usize {
        match self {
            Self::OneFlow => 8,
            Self::NewFlows => 5,
        }
    }

    /// How many packets it is given in a turn.
    const fn packets(self) -> u32 {
        match self {
            Self::OneFlow => 1 << 18,
            Self::NewFlows => 50_000,
        }
    }
}

/// How many flows a round opens: fewer than conntrack has room for where nobody configured it.
pub(crate) const FLOWS_OPENED: u32 = Traffic::NewFlows.packets() * Traffic::NewFlows.turns() as u32 + 1;

/// What came of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    /// Packets a second.
    pub(crate) per_second: f64,
    /// The share of the packets that did not come.
    pub(crate) lost: f64,
}

/// A source and a sink at the ends of a way.
pub(crate) struct Line {
    /// None while they are in use, and after that went wrong.
    ends: Option<Ends>,
}

impl Line {
    /// Proves that the way carries datagrams and makes its one flow known, then puts a sink before the sandbox.
    pub(crate) fn lay(way: &Way) -> Outcome<Self> {
        let echo = Echo::udp(&way.sandbox()?.netns, ECHO_PORT)?;
        be_known(way)?;
        drop(echo);
        let macs = way.macs()?.map(|mac| mac.0);
        let to = way.mode().towards(ECHO_PORT);
        let [known, nobody] = [(ROUTER, CLIENT_PORT), (Ipv4Addr::new(10, 0, 0, 0), 0)];
        let frame = |(address, port)| frame(macs, SocketAddrV4::new(address, port), to);
        let frames = [frame(known)?, frame(nobody)?];
        let sink = inside(&way.sandbox()?.netns, || {
            let mut sink = programs::load(&["sink", "sink_tc"], &Devices::NONE)?;
            programs::attach(&mut sink, "sink", SANDBOX_DEVICE)?;
            programs::attach(&mut sink, "sink_tc", SANDBOX_DEVICE)?;
            Ok(sink)
        })?;
        let source = programs::load(&["source"], &Devices::NONE)?;
        Ok(Self { ends: Some(Ends { source, sink, frames, opened: 0 }) })
    }

    /// One turn.
    pub(crate) fn pour(&mut self, way: &Way, traffic: Traffic) -> Outcome<Came> {
        let ends = self.ends.take().ok_or("a turn failed before")?;
        let poured = inside(way.client_side(), move || ends.pour(traffic));
        let (ends, came) = poured.map_err(|error| format!("{}: {error}", way.mode().name()))?;
        self.ends = Some(ends);
        Ok(came)
    }
}

struct Ends {
    source: Ebpf,
    sink: Ebpf,
    /// Of the known flow, and what new ones are made from.
    frames: [[u8; FRAME]; 2],
    opened: u32,
}

impl Ends {
    /// Sends on the first CPU, by the client's device in the calling thread's namespace.
    fn pour(mut self, traffic: Traffic) -> Outcome<(Self, Came)> {
        machine::stay_on(0)?;
        machine::go_first()?;
        let packets = traffic.packets();
        let [known, new] = self.frames;
        let (frame, plan) = match traffic {
            Traffic::OneFlow => (known, [0, 0]),
            Traffic::NewFlows => (new, [1, self.opened]),
        };
        Array::<_, [u8; FRAME]>::try_from(programs::table(&mut self.source, "SHOT")?)?.set(0, frame, 0)?;
        Array::<_, [u32; 2]>::try_from(programs::table(&mut self.source, "PLAN")?)?.set(0, plan, 0)?;
        let mut tallies = PerCpuArray::<_, Tally>::try_from(programs::table(&mut self.sink, "TALLY")?)?;
        let nothing = vec![Tally::default(); nr_cpus().map_err(|(_, error)| error)?];
        tallies.set(0, PerCpuValues::try_from(nothing)?, 0)?;
        send(&self.source, &frame, packets)?;
        if traffic == Traffic::NewFlows {
            self.opened += packets;
        }
        let tallies = tallies.get(&0, 0)?;
        let share = tallies.iter().map(|[came, ..]| came).sum::<u64>() as f64 / f64::from(packets);
        if share < MOST {
            let percent = share * 100.0;
            return Err(format!(
                "only {percent:.0} % of {packets} packets came, translated, to the sandbox; try again when the machine is idle"
            )
            .into());
        }
        Ok((self, Came { per_second: per_second(&tallies), lost: 1.0 - share }))
    }
}

/// Runs the source: live frames leave by the device that they are said to have come in by.
fn send(source: &Ebpf, frame: &[u8; FRAME], packets: u32) -> Outcome<()> {
    // `struct xdp_md`: data, its end, metadata, ingress device, queue, egress device.
    let context = [0, FRAME as u32, 0, if_nametoindex(ROUTER_DEVICE)?, 0, 0].map(u32::to_ne_bytes);
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.ctx_in = Some(context.as_flattened());
    options.repeat = packets;
    options.attrs = TestRunAttrs::new().xdp_live_frames(AT_ONCE);
    match source.program("source") {
        Some(Program::Xdp(program)) => Ok(program.test_run(options).map(drop)?),
        _ => Err("the wire's object lacks its source".into()),
    }
}

/// How many came, when the first, when the last that was stamped, and which one that was.
type Tally = [u64; 4];

/// By the sink's own clock. Of several CPUs each counts what it received, and they run side by side.
fn per_second(tallies: &PerCpuValues<Tally>) -> f64 {
    let worked = tallies.iter().filter(|[_, first, last, _]| last > first);
    worked.map(|[_, first, last, nth]| (nth - 1) as f64 * 1e9 / (last - first) as f64).sum()
}

/// A datagram and its answer, by sockets: the way works both ways, and knows the flow as established.
fn be_known(way: &Way) -> Outcome<()> {
    let to = way.mode().towards(ECHO_PORT);
    let asked = inside(way.client_side(), move || {
        let socket = UdpSocket::bind((ROUTER, CLIENT_PORT))?;
        socket.set_read_timeout(Some(ANSWER))?;
        let mut answer = [0; 16];
        for said in [b"hello", b"again"] {
            socket.send_to(said, to)?;
            let (len, from) = socket.recv_from(&mut answer)?;
            if answer.get(..len) != Some(said.as_slice()) || from != SocketAddr::V4(to) {
                return Err(format!("{from} said {:?}", answer.get(..len)).into());
            }
        }
        Ok(())
    });
    asked
        .map_err(|error| format!("{} does not carry UDP to {to} and back: {error}", way.mode().name()).into())
}

/// The shortest UDP packet, with every checksum right.
fn frame([to_mac, from_mac]: [[u8; 6]; 2], from: SocketAddrV4, to: SocketAddrV4) -> Outcome<[u8; FRAME]> {
    const TTL: u8 = 64;
    let builder = PacketBuilder::ethernet2(from_mac, to_mac)
        .ipv4(from.ip().octets(), to.ip().octets(), TTL)
        .udp(from.port(), to.port());
    let mut bytes = Vec::with_capacity(FRAME);
    builder.write(&mut bytes, &[0; FRAME - HEADERS])?;
    bytes.try_into().map_err(|bytes: Vec<u8>| format!("a frame of {} bytes was made", bytes.len()).into())
}
