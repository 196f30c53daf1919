//! Just enough of Rust's grammar to measure it: comments and literals blanked, functions found by braces.

/// The source with the contents of comments, strings and characters replaced by spaces: what is left is
/// code, on the same lines and in the same columns.
pub(crate) fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = match literal_or_comment(rest, code.chars().next_back()) {
            Some(length) => {
                code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                length
            }
            None => {
                code.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    code
}

/// The length of the comment or literal that `text` begins with, if it begins with one.
fn literal_or_comment(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    if text.starts_with('"') {
        return Some(quoted(text, '"'));
    }
    let in_a_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if let (false, Some(raw)) = (in_a_word, raw_string(text)) {
        return Some(raw);
    }
    let after_quote = text.strip_prefix('\'')?;
    // 'a' and '\n' are characters; 'a without a closing quote is a lifetime.
    let is_character = after_quote.starts_with('\\') || after_quote.chars().nth(1) == Some('\'');
    is_character.then(|| quoted(text, '\''))
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[..at].ends_with("*/") && at > 3 {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len() + hashes + 1;
    Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// What comes before the tests at a file's end.
pub(crate) fn without_tests(code: &str) -> &str {
    let tail = code.match_indices("#[cfg(test)]\n").find(|(at, attribute)| {
        let follows = code[at + attribute.len()..].trim_start();
        follows.starts_with("mod ") && !follows.lines().next().unwrap_or_default().ends_with(';')
    });
    tail.map_or(code, |(at, _)| &code[..at])
}

/// A function with a body.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Counted from one.
    pub(crate) line: usize,
    /// From its `fn` to its closing brace.
    pub(crate) lines: usize,
    pub(crate) is_test: bool,
}

/// All functions of blanked code.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    code.match_indices("fn ").filter_map(|(at, _)| function(code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let length = body_end(&code[at..]).filter(|_| !name.is_empty())?;
    // Attributes stand between the end of what came before and the function.
    let attributes = code[..at].rfind(['}', ';', '{']).map_or(&code[..at], |end| &code[end..at]);
    Some(Function {
        name,
        line: code[..at].matches('\n').count() + 1,
        lines: code[at..at + length].matches('\n').count() + 1,
        is_test: attributes.contains("#[test]"),
    })
}

/// Where the body ends that belongs to the signature `text` begins with; nothing for a mere declaration.
fn body_end(text: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces <= 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether blanked code has this word, not as a part of another.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part))
}

/// The paths that `use` brings in, each written out: `use a::{b, c::d};` is `a::b` and `a::c::d`.
pub(crate) fn imports(code: &str) -> Vec<String> {
    let mut imports = Vec::new();
    for statement in code.split(';') {
        let Some((before, tree)) = statement.rsplit_once("use ") else { continue };
        if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let tree: String = tree.split_whitespace().collect();
        expand("", &tree, &mut imports);
    }
    imports
}

fn expand(prefix: &str, tree: &str, into: &mut Vec<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        into.push(format!("{prefix}{tree}"));
        return;
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let prefix = format!("{prefix}{head}");
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if start < at {
                    expand(&prefix, &group[start..at], into);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = "a // unsafe {\nb /* { /* } */ { */ \"{\\\"{\" r#\"{\"{\"# '{' '\\'' br\"{\" <'a> c";
        let code = code(source);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "<'a>", "c"]);
        assert_eq!(code.len(), source.len());
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn a_functions_lines_are_counted_to_its_closing_brace() {
        let source = "trait T {\n    fn declared(&self) -> [u8; 4];\n}\n#[test]\nfn f(g: fn(u8)) -> [u8; 2] {\n    if a {\n    }\n}\n";
        let found = functions(&code(source));
        assert_eq!(found, [Function { name: "f".into(), line: 5, lines: 4, is_test: true }]);
    }

    #[test]
    fn the_tests_at_the_end_are_not_counted() {
        let source = "fn a() {}\n#[cfg(test)]\nmod fakes;\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n";
        assert_eq!(without_tests(source), "fn a() {}\n#[cfg(test)]\nmod fakes;\n");
    }

    #[test]
    fn groups_of_imports_are_written_out() {
        let code = "mod m {\n use a::{self, b as c,\n  d::{e, f::*}};\n}\npub use std::fs;\n";
        assert_eq!(imports(code), ["a::self", "a::basc", "a::d::e", "a::d::f::*", "std::fs"]);
    }

    #[test]
    fn a_word_is_not_found_inside_another() {
        assert!(has_word("pub unsafe fn", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
    }
}
