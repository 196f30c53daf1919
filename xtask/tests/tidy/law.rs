//! The dependency law: who may know whom, read from the manifests.

use crate::tree::File;

/// A package of Weir and the packages of Weir that it may depend on. Whatever is not written here is forbidden;
/// a package without a line is too.
const LAW: &[(&str, &[&str])] = &[
    // Compiled into the kernel as it is: it must not know that there is one.
    ("weir-path", &[]),
    ("weir-ebpf", &["weir-path"]),
    ("weir-dataplane", &["weir-path"]),
    ("weir-controller", &["weir-path", "weir-dataplane"]),
    // Nothing depends on what follows, but for tests.
    ("weir-testkit", &["weir-path", "weir-dataplane"]),
    ("weir-path-fuzz", &["weir-path", "weir-testkit"]),
    ("weir-netns-tests", &["weir-path", "weir-dataplane", "weir-testkit"]),
    ("weir-benches", &["weir-path", "weir-dataplane", "weir-testkit", "weir-controller", "weir-netns-tests"]),
    ("weir-bench-ebpf", &["weir-path"]),
    ("xtask", &["weir-path"]),
];

/// What tests alone may depend on besides.
const IN_TESTS: &[&str] = &["weir-testkit"];

/// Packages whose dependencies on others than Weir's own are a decision too.
const FOREIGN: &[(&str, &[&str])] = &[("weir-path", &["zerocopy"]), ("xtask", &[])];

/// One dependency of a manifest.
#[derive(PartialEq, Eq, Debug)]
struct Dependency {
    name: String,
    in_tests: bool,
}

/// What the manifests do that the law forbids.
pub(crate) fn offences(files: &[File]) -> Vec<String> {
    let manifests = files.iter().filter(|file| file.is_manifest());
    manifests.flat_map(|manifest| offences_of(&manifest.path, &manifest.text)).collect()
}

fn offences_of(path: &str, manifest: &str) -> Vec<String> {
    // The workspace's own manifest names versions; it is no package.
    let Some(package) = package(manifest) else { return Vec::new() };
    let Some((_, allowed)) = LAW.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{path}: {package} has no line in the dependency law")];
    };
    let foreign = FOREIGN.iter().find(|(name, _)| *name == package).map(|(_, foreign)| *foreign);
    let is_ours = |name: &str| LAW.iter().any(|(ours, _)| *ours == name);
    let is_allowed = |dependency: &Dependency| {
        let name = dependency.name.as_str();
        if is_ours(name) {
            allowed.contains(&name) || dependency.in_tests && IN_TESTS.contains(&name)
        } else {
            dependency.in_tests || foreign.is_none_or(|foreign| foreign.contains(&name))
        }
    };
    let offences = dependencies(manifest).into_iter().filter(|dependency| !is_allowed(dependency));
    offences.map(|dependency| format!("{path}: {package} must not depend on {}", dependency.name)).collect()
}

fn package(manifest: &str) -> Option<&str> {
    let (_, section) = manifest.split_once("[package]\n")?;
    let name = section.lines().find_map(|line| line.strip_prefix("name = \""))?;
    name.strip_suffix('"')
}

/// The dependencies of all sections: `[dependencies]`, `[target.x.dev-dependencies]`, `[dependencies.x]`.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut dependencies = Vec::new();
    let mut section = String::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            if let Some((kind, name)) = section.rsplit_once('.').filter(|(kind, _)| is_dependencies(kind)) {
                dependencies
                    .push(Dependency { name: name.to_owned(), in_tests: kind.ends_with("dev-dependencies") });
            }
        } else if let (true, Some((name, _))) = (is_dependencies(&section), line.split_once('=')) {
            let name = name.trim().trim_end_matches(".workspace").to_owned();
            dependencies.push(Dependency { name, in_tests: section.ends_with("dev-dependencies") });
        }
    }
    dependencies
}

fn is_dependencies(section: &str) -> bool {
    section != "workspace.dependencies"
        && matches!(
            section.rsplit('.').next(),
            Some("dependencies" | "dev-dependencies" | "build-dependencies")
        )
}

/// Cargo.lock must name the public registry and nothing else: a mirror would tie the build to one machine.
pub(crate) fn foreign_sources(lock: &str) -> Vec<String> {
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let foreign = lock.lines().filter(|line| line.starts_with("source = ") && *line != public);
    foreign.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offences_of_package(package: &str, sections: &str) -> Vec<String> {
        offences_of("x/Cargo.toml", &format!("[package]\nname = \"{package}\"\n\n{sections}"))
    }

    #[test]
    fn each_branch_of_the_law_is_kept() {
        for (package, sections) in [
            ("weir-path", "[dependencies]\nlibc = \"0.2\"\n"),
            ("weir-path", "[dependencies]\nweir-dataplane.workspace = true\n"),
            ("weir-ebpf", "[dependencies]\nweir-dataplane = { path = \"../dataplane\" }\n"),
            ("weir-dataplane", "[dependencies.weir-controller]\nworkspace = true\n"),
            ("weir-dataplane", "[dependencies]\nweir-testkit.workspace = true\n"),
            ("weir-controller", "[target.'cfg(unix)'.dependencies]\nweir-netns-tests.workspace = true\n"),
            ("weir-controller", "[build-dependencies]\nxtask.workspace = true\n"),
            ("weir-controller", "[dev-dependencies]\nweir-benches.workspace = true\n"),
            ("xtask", "[dependencies]\nthiserror.workspace = true\n"),
            ("weir-new", ""),
        ] {
            assert_eq!(offences_of_package(package, sections).len(), 1, "{package}: {sections}");
        }
    }

    #[test]
    fn what_the_law_allows_is_no_offence() {
        for (package, sections) in [
            (
                "weir-path",
                "[dependencies]\n# why\nzerocopy.workspace = true\n\n[dev-dependencies]\nproptest.workspace = true\nweir-testkit.workspace = true\n",
            ),
            ("weir-dataplane", "[dependencies]\naya.workspace = true\nweir-path.workspace = true\n"),
            ("xtask", "[dependencies]\nweir-path.workspace = true\n\n[lints]\nworkspace = true\n"),
        ] {
            assert_eq!(offences_of_package(package, sections), [""; 0], "{package}");
        }
    }

    #[test]
    fn a_mirror_in_the_lock_file_is_named() {
        let lock = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\nsource = \"registry+https://mirror\"\n";
        assert_eq!(foreign_sources(lock), ["source = \"registry+https://mirror\""]);
    }
}
