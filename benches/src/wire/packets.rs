//! Packets a second, from a program to a program: of one flow that is known, and each of a flow of its own.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, PerCpuArray, PerCpuValues};
use aya::programs::{Program, TestRun, TestRunAttrs, TestRunOptions};
use aya::util::nr_cpus;
use etherparse::PacketBuilder;
use nix::net::if_::if_nametoindex;
use weir_benches::figures::Series;
use weir_benches::{Outcome, machine};
use weir_netns_tests::servers::{ECHO_PORT, Echo};
use weir_netns_tests::topology::{ROUTER, ROUTER_DEVICE};
use weir_netns_tests::waiting::go_on;

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
/// Fewer than this share of the packets come where a way doesn't do what it is for.
const MOST: f64 = 0.9;

/// What was seen of packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Packets a second of one flow that is known.
    pub(crate) one_flow: f64,
    /// The same, each packet being the first of its flow.
    pub(crate) new_flows: f64,
    /// The largest share of packets that did not come.
    pub(crate) lost: f64,
}

/// How many packets are sent: slice by slice, of which the median counts.
#[derive(Clone, Copy, Debug)]
struct Load {
    packets: u32,
    slices: u32,
    /// No slice is begun later than this.
    window: Duration,
}

/// Of the known flow.
const ONE_FLOW: Load = Load { packets: 1 << 18, slices: 10, window: Duration::from_millis(1_500) };
/// Each of a flow of its own.
const NEW_FLOWS: Load = Load { packets: 50_000, slices: 5, window: ANSWER };

/// How many flows a visit opens: fewer than conntrack has room for where nobody configured it.
pub(crate) const FLOWS_OPENED: u32 = NEW_FLOWS.packets * NEW_FLOWS.slices + 1;

/// Measures a way that has carried nothing yet.
pub(crate) fn measure(way: &Way) -> Outcome<Rates> {
    let echo = Echo::udp(&way.sandbox()?.netns, ECHO_PORT)?;
    be_known(way)?;
    drop(echo);
    let macs = way.macs()?.map(|mac| mac.0);
    let to = way.mode().towards(ECHO_PORT);
    let [known, nobody] = [(ROUTER, CLIENT_PORT), (Ipv4Addr::new(10, 0, 0, 0), 0)];
    let frame = |(address, port)| frame(macs, SocketAddrV4::new(address, port), to);
    let one_flow = pour(way, Shot { frame: frame(known)?, is_new: false }, ONE_FLOW)?;
    let new_flows = pour(way, Shot { frame: frame(nobody)?, is_new: true }, NEW_FLOWS)?;
    let lost = one_flow.lost.max(new_flows.lost);
    Ok(Rates { one_flow: one_flow.per_second, new_flows: new_flows.per_second, lost })
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

/// What is sent.
struct Shot {
    frame: [u8; FRAME],
    is_new: bool,
}

/// What came of it.
struct Came {
    per_second: f64,
    lost: f64,
}

/// Sends a load from the client's device and looks at what the sandbox's receives.
fn pour(way: &Way, shot: Shot, load: Load) -> Outcome<Came> {
    let sink = inside(&way.sandbox()?.netns, || {
        let mut sink = programs::load(&["sink", "sink_tc"], &Devices::NONE)?;
        programs::attach(&mut sink, "sink", SANDBOX_DEVICE)?;
        programs::attach(&mut sink, "sink_tc", SANDBOX_DEVICE)?;
        Ok(sink)
    })?;
    let came = inside(way.client_side(), move || Source::new(shot)?.pour(sink, load));
    came.map_err(|error| format!("{}: {error}", way.mode().name()).into())
}

/// The source, for the first CPU and the thread that made it: its device is one of that thread's namespace.
struct Source {
    ebpf: Ebpf,
    shot: Shot,
    context: [[u8; 4]; 6],
}

impl Source {
    fn new(shot: Shot) -> Outcome<Self> {
        machine::stay_on(0)?;
        let mut ebpf = programs::load(&["source"], &Devices::NONE)?;
        Array::<_, [u8; FRAME]>::try_from(programs::table(&mut ebpf, "SHOT")?)?.set(0, shot.frame, 0)?;
        let plan = [u32::from(shot.is_new), 0];
        Array::<_, [u32; 2]>::try_from(programs::table(&mut ebpf, "PLAN")?)?.set(0, plan, 0)?;
        // `struct xdp_md`: data, its end, metadata, ingress device, queue, egress device.
        let context = [0, FRAME as u32, 0, if_nametoindex(ROUTER_DEVICE)?, 0, 0];
        Ok(Self { ebpf, shot, context: context.map(u32::to_ne_bytes) })
    }

    /// Sends slice after slice, each once the one before has come.
    fn pour(&self, mut sink: Ebpf, load: Load) -> Outcome<Came> {
        let mut tallies = PerCpuArray::<_, Tally>::try_from(programs::table(&mut sink, "TALLY")?)?;
        let (mut rates, mut lost) = (Series::default(), Series::default());
        let begun = Instant::now();
        for _ in 0..load.slices {
            if begun.elapsed() > load.window {
                break;
            }
            let nothing = vec![Tally::default(); nr_cpus().map_err(|(_, error)| error)?];
            tallies.set(0, PerCpuValues::try_from(nothing)?, 0)?;
            self.send(load.packets)?;
            let came = tallies.get(&0, 0)?;
            let share = came.iter().map(|[came, ..]| came).sum::<u64>() as f64 / f64::from(load.packets);
            if share < MOST {
                return Err(format!(
                    "only {:.0} % of {} packets came, translated, to the sandbox; try again when the machine is idle",
                    share * 100.0,
                    load.packets
                )
                .into());
            }
            rates.push(per_second(&came));
            lost.push(1.0 - share);
            go_on()?;
        }
        Ok(Came { per_second: rates.median(), lost: lost.most() })
    }

    /// As live frames, which leave by the device that they are said to have come in by.
    fn send(&self, packets: u32) -> Outcome<()> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.shot.frame);
        options.ctx_in = Some(self.context.as_flattened());
        options.repeat = packets;
        options.attrs = TestRunAttrs::new().xdp_live_frames(AT_ONCE);
        match self.ebpf.program("source") {
            Some(Program::Xdp(program)) => Ok(program.test_run(options).map(drop)?),
            _ => Err("the wire's object lacks its source".into()),
        }
    }
}

/// How many came, when the first, when the last that was stamped, and which one that was.
type Tally = [u64; 4];

/// By the sink's own clock. Of several CPUs each counts what it received, and they run side by side.
fn per_second(tallies: &PerCpuValues<Tally>) -> f64 {
    let worked = tallies.iter().filter(|[_, first, last, _]| last > first);
    worked.map(|[_, first, last, nth]| (nth - 1) as f64 * 1e9 / (last - first) as f64).sum()
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
