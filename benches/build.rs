//! Builds `benches/ebpf/`: the floor program with the harness that programs are measured in, and the wire's.

#[path = "../dataplane/build_ebpf.rs"]
mod build_ebpf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (variable, program) in
        [("WEIR_BENCH_OBJECT_PATH", "weir-bench-ebpf"), ("WEIR_WIRE_OBJECT_PATH", "weir-wire-ebpf")]
    {
        let object = build_ebpf::build("benches/ebpf", program)?;
        println!("cargo::rustc-env={variable}={}", object.display());
    }
    Ok(())
}
