//! TOML tables read key by key, so that every mistake is found in one pass, each with its place.

use super::model::At;
use super::problem::Problem;
use miette::SourceSpan;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where mistakes are gathered.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.0.extend(problems);
    }

    /// Keeps the value, or the mistake.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

/// What a reader of one kind of value is: it takes the value with its place, and says what is wrong with it.
pub(crate) type Value<'a> = At<&'a DeValue<'a>>;

/// One table, being read. [`Section::finish`] reports the keys that nobody asked for.
pub(crate) struct Section<'a> {
    table: &'a DeTable<'a>,
    /// What it is called in messages, like `[[listener]]`.
    title: &'static str,
    /// Where its header stands.
    at: SourceSpan,
    asked: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(table: &'a DeTable<'a>, title: &'static str, at: SourceSpan) -> Self {
        Self { table, title, at, asked: BTreeSet::new() }
    }

    pub(crate) fn at(&self) -> SourceSpan {
        self.at
    }

    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.asked.insert(key);
        let value = self.table.get(key)?;
        Some(At { value: value.get_ref(), at: span(value.span()) })
    }

    /// Whether there is a value under `key`, right or wrong.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// The value under `key`, if it is there and right.
    pub(crate) fn optional<T>(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        read: impl FnOnce(Value<'a>) -> Result<T, Problem>,
    ) -> Option<At<T>> {
        let value = self.get(key)?;
        let at = value.at;
        problems.keep(read(value)).map(|value| At { value, at })
    }

    /// The value under `key`, which must be there. `example` is what could be written.
    pub(crate) fn required<T>(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        example: &str,
        read: impl FnOnce(Value<'a>) -> Result<T, Problem>,
    ) -> Option<At<T>> {
        if self.table.contains_key(key) {
            return self.optional(problems, key, read);
        }
        self.asked.insert(key);
        let title = self.title;
        problems.add(Problem::new(
            self.at,
            format!("{title} has no `{key}`"),
            format!("`{key}` is missing here"),
            format!("add a line like `{key} = {example}`"),
        ));
        None
    }

    /// The table under `key`.
    pub(crate) fn section(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        title: &'static str,
    ) -> Option<Self> {
        let value = self.get(key)?;
        let DeValue::Table(table) = value.value else {
            problems.add(wrong_type(&value, "a table", &format!("a section that begins with `{title}`")));
            return None;
        };
        Some(Section::new(table, title, value.at))
    }

    /// The tables of the array of tables under `key`.
    pub(crate) fn sections(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        title: &'static str,
    ) -> Vec<Self> {
        let wanted = format!("sections that each begin with `{title}`");
        self.tables(problems, key, title, &wanted).map_or_else(Vec::new, |tables| tables.value)
    }

    /// The tables of the list under `key`, if it is there and a list. `wanted` is what could be written.
    pub(crate) fn tables(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        title: &'static str,
        wanted: &str,
    ) -> Option<At<Vec<Self>>> {
        let value = self.get(key)?;
        let DeValue::Array(array) = value.value else {
            problems.add(wrong_type(&value, "a list of tables", wanted));
            return None;
        };
        let mut tables = Vec::new();
        for item in array.iter() {
            let item = At { value: item.get_ref(), at: span(item.span()) };
            match item.value {
                DeValue::Table(table) => tables.push(Section::new(table, title, item.at)),
                _ => problems.add(wrong_type(&item, "a table", wanted)),
            }
        }
        Some(At { value: tables, at: value.at })
    }

    /// The values of the list under `key`, those that are right. `wanted` is what could be written.
    pub(crate) fn list<T>(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        wanted: &str,
        read: impl Fn(Value<'a>) -> Result<T, Problem>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.get(key)?;
        let DeValue::Array(array) = value.value else {
            problems.add(wrong_type(&value, "a list", wanted));
            return None;
        };
        let items = array.iter().map(|item| At { value: item.get_ref(), at: span(item.span()) });
        let read = items.filter_map(|item| {
            let at = item.at;
            problems.keep(read(item)).map(|value| At { value, at })
        });
        Some(At { value: read.collect(), at: value.at })
    }

    /// Refuses what is known, and can't be had: `help` says what to do without it.
    pub(crate) fn refuse(&mut self, problems: &mut Problems, key: &'static str, why: &str, help: &str) {
        if let Some((written, _)) = self.table.get_key_value(key) {
            self.asked.insert(key);
            let message = format!("{} can't have `{key}`: {why}", self.title);
            problems.add(Problem::new(span(written.span()), message, "not here", help));
        }
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for key in self.table.keys().filter(|key| !self.asked.contains(key.get_ref().as_ref())) {
            let name: &str = key.get_ref();
            problems.add(Problem::new(
                span(key.span()),
                format!("{} has no key `{name}`", self.title),
                match nearest(name, self.asked.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "unknown key".to_owned(),
                },
                format!("the keys of {} are {}", self.title, list(&self.asked)),
            ));
        }
    }
}

pub(crate) fn span(range: Range<usize>) -> SourceSpan {
    range.into()
}

pub(crate) fn spanned<T>(value: &Spanned<T>) -> SourceSpan {
    span(value.span())
}

/// The complaint about a value of the wrong type.
pub(crate) fn wrong_type(value: &Value<'_>, wanted: &str, instead: &str) -> Problem {
    let found = match value.value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    Problem::new(
        value.at,
        format!("{found} where {wanted} is wanted"),
        format!("not {wanted}"),
        format!("write {instead}"),
    )
}

/// The candidate that someone who wrote `name` probably meant.
pub(crate) fn nearest<'n>(name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Below this two words have little more in common than some letters.
    const ALIKE: f64 = 0.8;
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| {
            // A slip or two of the finger in a short word, or a common beginning.
            let slips = strsim::damerau_levenshtein(&name, &candidate.to_lowercase());
            slips <= (name.chars().count() / 3).min(3) || strsim::jaro_winkler(&name, candidate) >= ALIKE
        })
        .min_by_key(|candidate| strsim::damerau_levenshtein(&name, &candidate.to_lowercase()))
}

/// Names as people list them: all of these.
pub(crate) fn list<T: Display>(names: impl IntoIterator<Item = T>) -> String {
    join(names, "and")
}

/// Names as people list them: any of these.
pub(crate) fn one_of<T: Display>(names: impl IntoIterator<Item = T>) -> String {
    join(names, "or")
}

fn join<T: Display>(names: impl IntoIterator<Item = T>, last_word: &str) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} {last_word} {last}", rest.join(", ")),
    }
}
