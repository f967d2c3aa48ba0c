//! `GET /images/json`: the images that are asked for, newest first.

use jiff::Timestamp;
use regex::Regex;
use serde::{Deserialize, Serialize};
use skep_image::{Image, Reference};

use super::digest_name;
use crate::docker::NEVER_SECONDS;
use crate::docker::image::Summary;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::time::moment;

/// What stands for a name or tag that is not there.
const NONE: &str = "<none>";

/// Which images are asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListImages {
    /// Those with this name, a pattern or a whole reference.
    pub name: Option<String>,
    /// What has to hold for them.
    pub filters: Filters,
}

impl Engine {
    /// Images, newest first, each with those of its names that are asked for.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a filter that cannot be read, [`crate::ErrorKind::NotFound`] for an image
    /// that it names.
    pub fn list_images(&self, request: &ListImages) -> Result<Vec<Summary>> {
        let runtime = self.runtime()?;
        let filters = &request.filters;
        filters.accept(&["dangling", "label", "before", "since", "until", "reference"])?;
        let dangling = filters.flag("dangling")?;
        let wanted = Wanted::read(request)?;
        let created = |key: &str| -> Result<Option<Timestamp>> {
            let Some(name) = filters.values(key).first() else { return Ok(None) };
            Ok(runtime.images().resolve(name)?.created)
        };
        let now = Timestamp::now();
        let until = filters.values("until").first().map(|text| moment(text, now)).transpose()?;
        let (before, since) = (created("before")?, created("since")?);
        let is_before = |image: &Image, limit: Option<Timestamp>| {
            limit.is_none_or(|limit| image.created.is_some_and(|created| created < limit))
        };
        let mut images = runtime.images().list()?;
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.to_string().cmp(&b.id.to_string())));
        images.retain(|image| {
            filters.labels("label", &image.config.labels)
                && dangling.is_none_or(|dangling| dangling == image.references.is_empty())
                && is_before(image, before)
                && is_before(image, until)
                && since.is_none_or(|since| image.created.is_some_and(|created| created > since))
        });
        Ok(images.iter().filter_map(|image| summary(image, &wanted)).collect())
    }
}

/// The names that are asked for.
struct Wanted {
    name: Option<String>,
    exact: Option<Reference>,
    pattern: Option<Regex>,
    patterns: Vec<Regex>,
}

impl Wanted {
    fn read(request: &ListImages) -> Result<Self> {
        let exact = request.name.as_deref().and_then(|name| name.parse().ok());
        let pattern = match (&request.name, &exact) {
            (Some(name), None) => Some(shell_pattern(name)?),
            _ => None,
        };
        let patterns = request.filters.values("reference").iter().map(|text| shell_pattern(text));
        Ok(Self { name: request.name.clone(), exact, pattern, patterns: patterns.collect::<Result<_>>()? })
    }

    fn has(&self, repository: &str, tag: &str) -> bool {
        let is_named = match (&self.name, &self.exact, &self.pattern) {
            (Some(name), Some(reference), _) => {
                let tag_given = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
                reference.familiar_name() == repository && (!tag_given || reference.tag() == Some(tag))
            }
            (_, _, Some(pattern)) => pattern.is_match(repository),
            _ => true,
        };
        let whole = format!("{repository}:{tag}");
        let matches = |pattern: &Regex| pattern.is_match(repository) || pattern.is_match(&whole);
        is_named && (self.patterns.is_empty() || self.patterns.iter().any(matches))
    }
}

/// An image with those of its names that are wanted; none when there is no such name.
fn summary(image: &Image, wanted: &Wanted) -> Option<Summary> {
    let tags: Vec<&Reference> = image.references.iter().filter(|name| name.tag().is_some()).collect();
    let shown: Vec<String> = tags
        .iter()
        .filter(|name| wanted.has(&name.familiar_name(), name.tag().unwrap_or(NONE)))
        .map(|name| name.familiar())
        .collect();
    if tags.is_empty() {
        // Pulled by digest, or its tag went to another image.
        let repository = image.repo_digests.first().map_or_else(|| NONE.to_owned(), Reference::familiar_name);
        if !wanted.has(&repository, NONE) {
            return None;
        }
    } else if shown.is_empty() {
        return None;
    }
    let size = i64::try_from(image.size).unwrap_or(i64::MAX);
    Some(Summary {
        containers: -1,
        created: image.created.map_or(NEVER_SECONDS, |created| created.as_second()),
        id: image.id.to_string(),
        labels: Some(image.config.labels.clone()),
        parent_id: String::new(),
        repo_digests: Some(image.repo_digests.iter().filter_map(digest_name).collect()),
        repo_tags: Some(shown),
        shared_size: -1,
        size,
        virtual_size: Some(size),
    })
}

/// A pattern of Go's `path.Match`: `*` stands for anything but a slash, `?` for one character but a slash, `[a-z]` and
/// `[^a-z]` for one of, or none of, these, and a backslash takes the meaning from what follows.
fn shell_pattern(text: &str) -> Result<Regex> {
    let invalid = || Error::bad_argument(format!("invalid reference format: {text:?}: syntax error in pattern"));
    let mut pattern = String::from(r"(?s)\A");
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => pattern.push_str("[^/]*"),
            '?' => pattern.push_str("[^/]"),
            '[' => pattern.push_str(&class(&mut characters).ok_or_else(invalid)?),
            '\\' => pattern.push_str(&regex::escape(&characters.next().ok_or_else(invalid)?.to_string())),
            other => pattern.push_str(&regex::escape(&other.to_string())),
        }
    }
    pattern.push_str(r"\z");
    Regex::new(&pattern).map_err(|_| invalid())
}

/// The rest of a class, whose opening bracket was read.
fn class(characters: &mut std::str::Chars<'_>) -> Option<String> {
    let literal = |character: char| format!("\\x{{{:x}}}", u32::from(character));
    let mut class = String::from("[");
    let mut next = characters.next()?;
    if next == '^' {
        class.push('^');
        next = characters.next()?;
    }
    let mut is_first = true;
    while is_first || next != ']' {
        match next {
            '-' | ']' => return None,
            '\\' => class.push_str(&literal(characters.next()?)),
            other => class.push_str(&literal(other)),
        }
        is_first = false;
        next = characters.next()?;
        if next == '-' {
            let last = match characters.next()? {
                '\\' => characters.next()?,
                '-' | ']' => return None,
                other => other,
            };
            class.push('-');
            class.push_str(&literal(last));
            next = characters.next()?;
        }
    }
    class.push(']');
    Some(class)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_go() {
        for (pattern, text, expected) in [
            ("nginx", "nginx", true),
            ("ng*", "nginx", true),
            ("*:latest", "nginx:latest", true),
            ("*", "a/b", false),
            ("a/?", "a/b", true),
            ("", "a", false),
            ("a?b", "a/b", false),
            ("[m-o]ginx", "nginx", true),
            ("[^m-o]ginx", "nginx", false),
            (r"n\*", "n*", true),
            (r"n\*", "nx", false),
            ("a.c", "abc", false),
            ("{a,b}", "a", false),
        ] {
            assert_eq!(shell_pattern(pattern).unwrap().is_match(text), expected, "{pattern} {text}");
        }
        for bad in ["[", "[a", "[]a]", "[a-]", "a\\", "[z-a]"] {
            assert!(shell_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = shell_pattern(&"*a".repeat(40)).unwrap();
        assert!(!pattern.is_match(&"a".repeat(2000).replace("aaaa", "aaab")));
    }
}
