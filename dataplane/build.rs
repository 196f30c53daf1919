//! Builds `ebpf/` and hands the object to the crate. `WEIR_EBPF_OBJECT` names one that was built before.

mod build_ebpf;

use std::env;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=WEIR_EBPF_OBJECT");
    let object = match env::var_os("WEIR_EBPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => build_ebpf::build("ebpf", "weir-ebpf")?,
    };
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=WEIR_EBPF_OBJECT_PATH={}", object.display());
    Ok(())
}
