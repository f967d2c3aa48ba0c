//! What a person sees of `skep`, word for word, kept in files: commands with their exit codes, output and errors.
//!
//! What differs from run to run (ids, times, addresses of the lab, sizes of Debian's programs) is put in words that are
//! the same each time, and as long as what they stand for where a table depends on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::lab::{Lab, Node};
use crate::program::Finished;

/// Set to `write`, this variable has the files written anew.
pub const MODE: &str = "SKEP_GOLDEN";

/// A page: what was typed on a node, and what came.
pub struct Page<'a> {
    node: &'a Node,
    text: String,
    stable: Stable,
}

impl<'a> Page<'a> {
    /// An empty page about `node` of `lab`.
    #[must_use]
    pub fn new(lab: &Lab, node: &'a Node) -> Self {
        let places = [
            (lab.directory().display().to_string(), "/LAB".to_owned()),
            (node.cgroup_parent.clone(), "/CGROUP".to_owned()),
        ];
        Self { node, text: String::new(), stable: Stable { places: places.to_vec(), ids: BTreeMap::new() } }
    }

    /// Types `skep` with `arguments` and notes what comes.
    #[track_caller]
    pub fn run(&mut self, arguments: &[&str]) -> Finished {
        let finished = self.node.skep(arguments);
        self.note(&finished);
        finished
    }

    /// Notes a command that has ended.
    pub fn note(&mut self, finished: &Finished) {
        let typed = finished.command.split_once("# ").map_or(finished.command.as_str(), |(_, typed)| typed);
        let mut entry = format!("$ {typed}\n{}", finished.stdout);
        for line in finished.stderr.lines() {
            writeln!(entry, "! {line}").ok();
        }
        if finished.code != 0 {
            writeln!(entry, "(exit code {})", finished.code).ok();
        }
        if !entry.ends_with('\n') {
            entry.push_str("(no end of line)\n");
        }
        let stable = self.stable.words(&entry);
        self.text.push_str(&stable);
        self.text.push('\n');
    }

    /// Compares the page with the file of its name.
    ///
    /// # Panics
    /// Where they differ: with the first lines that do.
    #[track_caller]
    pub fn compare(self, name: &str) {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).join(format!("{name}.txt"));
        if std::env::var(MODE).is_ok_and(|mode| mode == "write") {
            if let Err(error) = fs::write(&path, &self.text) {
                panic!("cannot write {}: {error}", path.display());
            }
            return;
        }
        let wanted = match fs::read_to_string(&path) {
            Ok(wanted) => wanted,
            Err(error) => panic!("cannot read {}: {error}", path.display()),
        };
        if let Some(difference) = difference(&wanted, &self.text) {
            panic!("{} does not say what came ({MODE}=write has it written anew):\n{difference}", path.display());
        }
    }
}

/// The first lines in which two texts differ, under the command that they belong to.
fn difference(wanted: &str, found: &str) -> Option<String> {
    let (wanted, found): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), found.lines().collect());
    let first = (0..wanted.len().max(found.len())).find(|line| wanted.get(*line) != found.get(*line))?;
    let command = wanted.iter().take(first + 1).rev().find(|line| line.starts_with("$ ")).copied().unwrap_or_default();
    let part = |lines: &[&str], sign: char| {
        lines.iter().skip(first).take(5).fold(String::new(), |text, line| format!("{text}{sign} {line}\n"))
    };
    Some(format!("line {}, {command}\n{}{}", first + 1, part(&wanted, '-'), part(&found, '+')))
}

/// Puts what differs from run to run in words that are the same each time.
struct Stable {
    /// Paths, and what is said in their place.
    places: Vec<(String, String)>,
    /// Ids, and what is said in their place, as long as they are.
    ids: BTreeMap<String, String>,
}

impl Stable {
    fn words(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (place, word) in &self.places {
            text = text.replace(place, word);
        }
        let mut stable = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            stable.push_str(&self.line(line));
        }
        // A column of ages is as wide as its widest: the spaces between columns say nothing then.
        if stable.contains(AGE) {
            stable = stable.lines().map(|line| format!("{}\n", narrow(line))).collect();
        }
        stable
    }

    fn line(&mut self, line: &str) -> String {
        let line = times(&ages(line));
        let mut stable = String::with_capacity(line.len());
        let mut word = String::new();
        for character in line.chars() {
            if character.is_ascii_alphanumeric() {
                word.push(character);
                continue;
            }
            stable.push_str(&self.word(&word));
            word.clear();
            stable.push(character);
        }
        stable.push_str(&self.word(&word));
        numbers(&stable)
    }

    /// Ids of containers, images, networks (64 or the first 12 hexadecimal digits) and of the swarm's objects (25 or
    /// 50 digits and letters; the first 12 of one that was seen whole before).
    fn word(&mut self, word: &str) -> String {
        let hexadecimal = word.len() >= 12 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let letters = word.bytes().filter(u8::is_ascii_lowercase).count();
        let random = digits + letters == word.len() && digits >= 2 && letters >= 2;
        let whole = matches!(word.len(), 64) && hexadecimal || matches!(word.len(), 25 | 50) && random;
        if let Some((_, said)) = self.ids.iter().find(|(id, _)| id.starts_with(word) && word.len() >= 12) {
            return said[..word.len()].to_owned();
        }
        if whole || (word.len() == 12 && hexadecimal && digits > 0) {
            let number = self.ids.len() + 1;
            // As long as any id may be, and known by its beginning.
            let said = format!("ID{number:02}{}", "x".repeat(46 + 14));
            self.ids.insert(word.to_owned(), said.clone());
            return said[..word.len()].to_owned();
        }
        word.to_owned()
    }
}

const AGE: &str = "<AGE>";

/// `3 seconds ago`, `About a minute`, `Up 2 hours`: what docker says of a time.
fn ages(line: &str) -> String {
    let words: Vec<&str> = line.split_inclusive(' ').collect();
    let mut said = String::with_capacity(line.len());
    let mut at = 0;
    while at < words.len() {
        let word = |offset: usize| words.get(at + offset).map_or("", |word| word.trim());
        // In JSON the first word comes behind a quotation mark, and more may follow the last.
        let first = word(0).rsplit(['"', '(']).next().unwrap_or_default();
        let unit = |text: &str| {
            let text = &text[..text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len())];
            ["second", "minute", "hour", "day"].iter().any(|unit| text == *unit || text.strip_suffix('s') == Some(unit))
        };
        let length = match (first.to_ascii_lowercase().as_str(), word(1), word(2), word(3)) {
            ("less", "than", "a", text) if unit(text) => 4,
            ("about", "a" | "an", text, _) if unit(text) => 3,
            (number, text, ..) if number.parse::<u32>().is_ok() && unit(text) => 2,
            _ => 0,
        };
        if length == 0 {
            said.push_str(words[at]);
            at += 1;
            continue;
        }
        let last = words[at + length - 1];
        said.push_str(&word(0)[..word(0).len() - first.len()]);
        said.push_str(AGE);
        said.push_str(last.trim_start_matches(|c: char| c.is_ascii_alphabetic()));
        at += length;
    }
    said
}

/// `2026-01-02T03:04:05.678Z` and `2026-01-02 03:04:05 +0000 UTC`.
fn times(line: &str) -> String {
    let bytes = line.as_bytes();
    let mut said = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(rest) = line.get(at..) {
        let digits = |range: std::ops::Range<usize>| {
            rest.as_bytes().get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
        };
        let is_time = digits(0..4)
            && rest.as_bytes().get(4) == Some(&b'-')
            && digits(5..7)
            && digits(8..10)
            && matches!(rest.as_bytes().get(10), Some(b'T' | b' '))
            && digits(11..13)
            && digits(14..16);
        if is_time && !rest.starts_with("0001-01-01") {
            let length = rest
                .char_indices()
                .skip(11)
                .find(|(_, c)| !(c.is_ascii_digit() || matches!(c, ':' | '.' | 'Z' | '+')))
                .map_or(rest.len(), |(index, _)| index);
            said.push_str("<TIME>");
            at += length;
            continue;
        }
        let Some(character) = rest.chars().next() else { break };
        said.push(character);
        at += character.len_utf8();
    }
    debug_assert!(at <= bytes.len());
    said
}

/// Numbers that mean something else in each run, known by the words before them; and the lab's own addresses.
fn numbers(line: &str) -> String {
    let mut line = line.to_owned();
    for key in ["\"Pid\": ", "\"PID\": ", "\"Index\": ", "\"Size\": ", "\"VirtualSize\": "] {
        if let Some((before, after)) = line.split_once(key) {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            if rest.len() < after.len() && !after.starts_with("0,") {
                line = format!("{before}{key}<NUMBER>{rest}");
            }
        }
    }
    let mut said = String::with_capacity(line.len());
    let mut rest = line.as_str();
    while let Some((before, after)) = rest.split_once("10.99.") {
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        said.push_str(before);
        said.push_str("10.99.LAB");
        rest = after;
    }
    said.push_str(rest);
    said
}

/// Runs of spaces become two.
fn narrow(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let words: Vec<&str> = line.trim().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    format!("{}{}", " ".repeat(indent), words.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_alike() {
        let mut stable = Stable { places: vec![("/tmp/lab7".to_owned(), "/LAB".to_owned())], ids: BTreeMap::new() };
        let id = "3b".repeat(32);
        let said = stable.words(&format!("{id}\n{}   /tmp/lab7/x\n", &id[..12]));
        assert_eq!(said, format!("ID01{}\nID01xxxxxxxx   /LAB/x\n", "x".repeat(60)));
        assert_eq!(
            stable.words(
                "NAME   CREATED                  STATUS\nweb    Less than a second ago   Up 3 hours (healthy)\n"
            ),
            "NAME  CREATED  STATUS\nweb  <AGE> ago  Up <AGE> (healthy)\n"
        );
        assert_eq!(
            stable.words("{\"For\":\"Less than a second ago\",\"Status\":\"Up 3 seconds\",\"x\":1}\n"),
            "{\"For\":\"<AGE> ago\",\"Status\":\"Up <AGE>\",\"x\":1}\n"
        );
        assert_eq!(stable.words("at 2026-11-27T19:19:24.857Z, 10.99.12.3\n"), "at <TIME>, 10.99.LAB.3\n");
        assert_eq!(stable.words("    \"Pid\": 4711,\n"), "    \"Pid\": <NUMBER>,\n");
        assert_eq!(stable.words("a plain sentence with nothing in it\n"), "a plain sentence with nothing in it\n");
    }

    #[test]
    fn the_first_difference_is_shown_under_its_command() {
        assert_eq!(difference("$ a\nb\n", "$ a\nb\n"), None);
        let shown = difference("$ a\nb\n", "$ a\nc\n");
        assert!(shown.is_some_and(|shown| shown.starts_with("line 2, $ a\n- b\n+ c\n")));
    }
}
