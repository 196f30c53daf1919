//! Builds `benches/ebpf/`: the floor program and the harness that the programs are measured in.

#[path = "../dataplane/build_ebpf.rs"]
mod build_ebpf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let object = build_ebpf::build("benches/ebpf", "weir-bench-ebpf")?;
    println!("cargo::rustc-env=WEIR_BENCH_OBJECT_PATH={}", object.display());
    Ok(())
}
