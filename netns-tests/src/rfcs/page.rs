//! `docs/rfcs.md`, as the table says it must be.

use std::fmt::Write as _;

use crate::rfcs::{Claim, RFCS, Requirement, Rfc};

const HEAD: &str = "\
# What the RFCs ask of a NAT

Weir as sandboxes meet it by a [connector](operating.md#connectors-how-sandboxes-open-connections), where nothing is said in
the configuration; beside it the kernel's own NAT (`snat` of nftables over nf_conntrack, where nothing is said either, and no firewall), which
gets the very same packets. \"Otherwise\" says what is done instead, and why. A test that sees anything else than this page
says fails: `cargo test -p weir-netns-tests --test rfcs` (root). What IPv6 has as well is seen in both families, and has to be the same.
Times are those where nothing is said; the tests set shorter ones and measure them.

This page is written by `cargo xtask docs` from `netns-tests/src/rfcs`; a test keeps it so.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(&summary());
    RFCS.iter().for_each(|rfc| chapter(&mut page, rfc));
    page
}

/// How many are met, by RFC.
fn summary() -> String {
    let mut text = String::from(
        "\n| RFC | asked | Weir: met | otherwise | not applicable | kernel: met | otherwise |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|\n");
    for Rfc { number, requirements, .. } in &RFCS {
        let count = |is: &dyn Fn(&Requirement) -> bool| requirements.iter().filter(|it| is(it)).count();
        // Writing to a String cannot fail.
        let _: std::fmt::Result = writeln!(
            text,
            "| [{number}](#rfc-{number}) | {} | {} | {} | {} | {} | {} |",
            requirements.len(),
            count(&|it| it.weir == Claim::Met),
            count(&|it| matches!(it.weir, Claim::Otherwise(..))),
            count(&|it| matches!(it.weir, Claim::NotApplicable(_))),
            count(&|it| it.kernel == Claim::Met),
            count(&|it| matches!(it.kernel, Claim::Otherwise(..))),
        );
    }
    text
}

fn chapter(page: &mut String, rfc: &Rfc) {
    let Rfc { number, about, requirements } = rfc;
    // Writing to a String cannot fail.
    let _: std::fmt::Result = write!(
        page,
        "\n## RFC {number}\n\n{about}\n\n| number | level | asks | Weir | kernel | test |\n|---|---|---|---|---|---|\n"
    );
    for it in *requirements {
        let test = it.test.map_or_else(|| "–".to_owned(), |test| format!("`{test}`"));
        let cells = [
            it.number.to_owned(),
            it.level.word().to_owned(),
            it.asks.to_owned(),
            claim(it.weir),
            claim(it.kernel),
            test,
        ];
        let _: std::fmt::Result = writeln!(page, "| {} |", cells.join(" | "));
    }
}

fn claim(claim: Claim) -> String {
    match claim {
        Claim::Met => "met".to_owned(),
        Claim::Otherwise(seen, "") => format!("**otherwise**: {seen}"),
        Claim::Otherwise(seen, why) => format!("**otherwise**: {seen}. {why}"),
        Claim::NotApplicable(why) => format!("not applicable: {why}"),
        Claim::NotSeen(why) => format!("not seen: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_what_the_table_says() {
        let written = include_str!("../../../docs/rfcs.md");
        assert!(written == page(), "run `cargo xtask docs`");
    }

    #[test]
    fn no_cell_breaks_the_table() {
        for it in RFCS.iter().flat_map(|rfc| rfc.requirements) {
            let cells = [it.asks.to_owned(), claim(it.weir), claim(it.kernel)].concat();
            assert!(!cells.contains(['|', '\n']), "{cells}");
        }
    }
}
