//! Words that have no place in what others read, and links that lead nowhere.

use std::path::{Component, Path, PathBuf};

/// Written in halves, so that this file does not break its own rule.
const BANNED: &[(&str, &str)] = &[
    ("to", "do!"),
    ("TO", "DO"),
    ("unimple", "mented!"),
    ("db", "g!("),
    ("FIX", "ME"),
    ("XX", "X"),
    ("for ", "now"),
    ("lor", "em"),
    ("#[al", "low("),
    ("#![al", "low("),
    // Paths and names of somebody's machine.
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("..", "/shared"),
    ("arti", "factory"),
    ("mir", "ror."),
    (".inter", "nal:"),
];

/// The banned words of a text, with their lines.
pub(crate) fn banned(path: &str, text: &str) -> Vec<String> {
    let mut offences = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (first, second) in BANNED {
            let word = format!("{first}{second}");
            if line.contains(&word) {
                offences.push(format!("{path}:{}: `{word}`", number + 1));
            }
        }
    }
    offences
}

/// Relative links of a page that lead to nothing under `root`.
pub(crate) fn dead_links(root: &Path, page: &str, text: &str) -> Vec<String> {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let relative = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    relative
        .filter(|target| {
            let path = target.split('#').next().unwrap_or_default();
            let target = normal(&folder.join(path));
            !target.is_some_and(|target| root.join(target).exists())
        })
        .map(|target| format!("{page}: the link to {target} leads nowhere"))
        .collect()
}

/// The path with its `..` resolved; nothing if it leads out of the checkout.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => normal.pop().then_some(())?,
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_banned_word_is_found_with_its_line() {
        for (first, second) in BANNED {
            let offences = banned("a.rs", &format!("fine\nnot {first}{second} fine\n"));
            assert!(offences.contains(&format!("a.rs:2: `{first}{second}`")), "{offences:?}");
        }
        assert_eq!(banned("a.rs", "a method that works, in a roothold\n"), [""; 0]);
    }

    #[test]
    fn a_link_must_lead_to_a_file_of_the_checkout() {
        let root = crate::tree::root();
        let dead = |text: &str| dead_links(&root, "docs/page.md", text).len();
        assert_eq!(dead("[a](../Cargo.toml) [b](../xtask/Cargo.toml#top) [c](#here) [d](https://x.y/z)"), 0);
        assert_eq!(dead("[a](../no-such-file.md)"), 1);
        assert_eq!(dead("[a](../../outside.md)"), 1);
        assert_eq!(dead("[a](/etc/passwd)"), 1);
    }
}
