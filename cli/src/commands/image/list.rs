//! `images`.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use skep_engine::filters::Filters;
use skep_image::{Image, Reference};

use crate::args::image::List as Flags;
use crate::context::Node;
use crate::format::human;
use crate::format::output::{self, List};
use crate::parse::filter;

/// `images`
pub fn run(node: &Node, args: &Flags) -> Result<i32> {
    let runtime = node.runtime()?;
    let filters = filter::known(&args.list.filter, &["dangling", "label", "before", "since", "until", "reference"])?;
    let dangling = filters.flag("dangling")?;
    let created = |key: &str| -> Result<Option<Timestamp>> {
        let Some(name) = filters.values(key).first() else { return Ok(None) };
        Ok(runtime.images().resolve(name)?.created)
    };
    let (before, since) = (created("before")?, created("since")?);
    let now = Timestamp::now();
    let mut images = runtime.images().list()?;
    images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.to_string().cmp(&b.id.to_string())));
    let mut rows = Vec::new();
    for image in &images {
        let labels: BTreeMap<String, String> = image.config.labels.clone();
        let wanted = filters.labels("label", &labels)
            && dangling.is_none_or(|dangling| dangling == image.references.is_empty())
            && before.is_none_or(|before| image.created.is_some_and(|created| created < before))
            && since.is_none_or(|since| image.created.is_some_and(|created| created > since));
        if wanted {
            rows.extend(names(image, args, &filters).into_iter().map(|name| row(image, &name, args, now)));
        }
    }
    if args.list.quiet && output::given(args.list.format.as_deref()).is_none() {
        rows.dedup_by(|a, b| a.get("ID") == b.get("ID"));
    }
    let mut columns = vec![("REPOSITORY", "Repository"), ("TAG", "Tag")];
    if args.digests {
        columns.push(("DIGEST", "Digest"));
    }
    columns.extend([("IMAGE ID", "ID"), ("CREATED", "CreatedSince"), ("SIZE", "Size")]);
    let list = List { columns: &columns, more: &[("DIGEST", "Digest"), ("CREATED AT", "CreatedAt")], rows };
    list.print(args.list.format.as_deref(), args.list.quiet.then_some("ID"))?;
    Ok(0)
}

/// Repository, tag and digest of one line.
struct Name {
    repository: String,
    tag: String,
    digest: String,
}

const NONE: &str = "<none>";

fn names(image: &Image, args: &Flags, filters: &Filters) -> Vec<Name> {
    let digest = |repository: &str| {
        let found = image.repo_digests.iter().find(|reference| reference.familiar_name() == repository);
        found.and_then(Reference::digest).map_or_else(|| NONE.to_owned(), ToString::to_string)
    };
    let tags: Vec<&Reference> = image.references.iter().filter(|reference| reference.tag().is_some()).collect();
    let mut names: Vec<Name> = tags
        .iter()
        .map(|reference| Name {
            repository: reference.familiar_name(),
            tag: reference.tag().unwrap_or(NONE).to_owned(),
            digest: digest(&reference.familiar_name()),
        })
        .collect();
    if names.is_empty() {
        // Pulled by digest, or its tag went to another image.
        let repository = image.repo_digests.first().map_or_else(|| NONE.to_owned(), Reference::familiar_name);
        names.push(Name { digest: digest(&repository), repository, tag: NONE.to_owned() });
    }
    let asked = args.repository.as_deref();
    names.retain(|name| {
        asked.is_none_or(|asked| is_named(name, asked))
            && filters.any("reference", |pattern| {
                glob(pattern, &name.repository) || glob(pattern, &format!("{}:{}", name.repository, name.tag))
            })
    });
    names
}

fn is_named(name: &Name, asked: &str) -> bool {
    let Ok(reference) = asked.parse::<Reference>() else {
        return glob(asked, &name.repository);
    };
    let tag_given = asked.rsplit('/').next().is_some_and(|last| last.contains(':'));
    reference.familiar_name() == name.repository && (!tag_given || reference.tag() == Some(name.tag.as_str()))
}

/// `*` stands for anything but a slash, `?` for one character.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern.get(1..).unwrap_or_default();
            let ends = text.char_indices().map(|(index, _)| index).chain([text.len()]);
            ends.take_while(|end| !text.get(..*end).unwrap_or_default().contains('/'))
                .any(|end| glob(rest, text.get(end..).unwrap_or_default()))
        }
        Some(first) => match text.chars().next() {
            Some(found) if first == '?' || first == found => glob(
                pattern.get(first.len_utf8()..).unwrap_or_default(),
                text.get(found.len_utf8()..).unwrap_or_default(),
            ),
            _ => false,
        },
    }
}

fn row(image: &Image, name: &Name, args: &Flags, now: Timestamp) -> Value {
    let id = if args.no_trunc { image.id.to_string() } else { image.id.short().to_owned() };
    let since = image.created.map_or_else(|| "N/A".to_owned(), |created| human::ago(created, now));
    json!({
        "ID": id,
        "Repository": name.repository,
        "Tag": name.tag,
        "Digest": name.digest,
        "CreatedSince": since,
        "CreatedAt": image.created.map_or_else(|| "N/A".to_owned(), human::local_time),
        "Size": human::size(image.size as f64, 3),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": human::size(image.size as f64, 3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("nginx", "nginx", true),
            ("ng*", "nginx", true),
            ("*:latest", "nginx:latest", true),
            ("*", "a/b", false),
            ("a/?", "a/b", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
