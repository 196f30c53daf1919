//! Builds a crate for the kernel's target with the first compiler that can. Shared by build scripts.
//!
//! The compiler must have the source of `core`: `WEIR_EBPF_RUSTC` (libraries in `WEIR_EBPF_LIB`), else
//! cargo's own, else the one that `cargo xtask setup` puts into `target/weir-toolchain` where rustup has no
//! sources to give.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// CPU v3 for compare-and-swap and 32-bit registers; the linker may use wide loads on byte arrays, which
/// x86-64 and arm64 allow (a quarter fewer instructions).
const RUSTFLAGS: &[&str] = &[
    "-Cdebuginfo=2",
    "-Ctarget-cpu=v3",
    "-Clinker=bpf-linker",
    "-Clink-arg=--btf",
    "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
];

struct Compiler {
    rustc: PathBuf,
    libraries: Option<PathBuf>,
}

/// Builds the crate in `source` (a folder seen from the workspace's root) and returns its binary `name`.
pub(crate) fn build(source: &str, name: &str) -> Result<PathBuf, Box<dyn Error>> {
    for name in ["WEIR_EBPF_RUSTC", "WEIR_EBPF_LIB"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let root = Path::new(&required("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    for watched in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(source).join(watched).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("dataplane/path").display());
    let target = target_dir()?;
    let compiler = compiler(&target)?;
    let out = target.join("ebpf");
    let mut cargo = Command::new(required("CARGO")?);
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        let is_cargos = ["CARGO_", "RUSTC_", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "TARGET", "CLIPPY_"];
        if name_text != "CARGO_HOME" && is_cargos.iter().any(|prefix| name_text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    if let Some(libraries) = &compiler.libraries {
        cargo.env("LD_LIBRARY_PATH", libraries);
    }
    let status = cargo
        .current_dir(root.join(source))
        .env("RUSTC", &compiler.rustc)
        // The BPF target has no prebuilt `core`; building it is all that this unlocks.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"))
        .env("CARGO_TARGET_DIR", &out)
        .args(["build", "--release", "--locked", "-Zbuild-std=core", "--target=bpfel-unknown-none"])
        .status()?;
    if !status.success() {
        return Err(format!(
            "building {source} failed (see above); `cargo xtask setup` installs what it needs"
        )
        .into());
    }
    Ok(out.join("bpfel-unknown-none/release").join(name))
}

/// The first compiler that has the source of `core` beside it.
fn compiler(target: &Path) -> Result<Compiler, Box<dyn Error>> {
    let named = env::var_os("WEIR_EBPF_RUSTC").map(|rustc| Compiler {
        rustc: rustc.into(),
        libraries: env::var_os("WEIR_EBPF_LIB").map(PathBuf::from),
    });
    let own = Compiler { rustc: required("RUSTC")?.into(), libraries: None };
    let prefix = target.join("weir-toolchain/usr");
    let installed =
        Compiler { rustc: prefix.join("bin/rustc"), libraries: Some(prefix.join("lib/x86_64-linux-gnu")) };
    [named, Some(own), Some(installed)].into_iter().flatten().find(has_core_source).ok_or_else(|| {
        "no compiler has the source of `core`, which the BPF target is built from; run `cargo xtask setup`, \
         or `rustup component add rust-src`"
            .into()
    })
}

fn has_core_source(compiler: &Compiler) -> bool {
    let mut rustc = Command::new(&compiler.rustc);
    if let Some(libraries) = &compiler.libraries {
        rustc.env("LD_LIBRARY_PATH", libraries);
    }
    let Ok(output) = rustc.args(["--print", "sysroot"]).output() else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir()
}

/// The workspace's target directory, so that all profiles share one build of `ebpf/`.
fn target_dir() -> Result<PathBuf, Box<dyn Error>> {
    let out = PathBuf::from(required("OUT_DIR")?);
    // <target>/<profile>/build/<package>/out
    out.ancestors()
        .nth(4)
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{} is no OUT_DIR", out.display()).into())
}

fn required(name: &str) -> Result<String, Box<dyn Error>> {
    env::var(name).map_err(|error| format!("{name}: {error}; this script is run by cargo").into())
}
