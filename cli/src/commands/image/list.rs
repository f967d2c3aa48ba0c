//! `images`.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use skep_engine::docker::NEVER_SECONDS;
use skep_engine::docker::image::Summary;
use skep_engine::images::ListImages;

use crate::args::image::List as Flags;
use crate::context::Node;
use crate::format::human;
use crate::format::output::{self, List};
use crate::parse::filter;

/// `images`
pub(crate) fn run(node: &Node, args: &Flags) -> Result<i32> {
    let request = ListImages { name: args.repository.clone(), filters: filter::all(&args.list.filter) };
    let images = node.engine().list_images(&request)?;
    let now = Timestamp::now();
    let mut rows: Vec<Value> = Vec::new();
    for image in &images {
        rows.extend(names(image).iter().map(|name| row(image, name, args, now)));
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
struct Name<'a> {
    repository: &'a str,
    tag: &'a str,
    digest: &'a str,
}

const NONE: &str = "<none>";

fn names(image: &Summary) -> Vec<Name<'_>> {
    let digests: Vec<(&str, &str)> =
        image.repo_digests.iter().flatten().filter_map(|name| name.split_once('@')).collect();
    let digest =
        |repository: &str| digests.iter().find(|(name, _)| *name == repository).map_or(NONE, |(_, digest)| digest);
    let tagged = image.repo_tags.iter().flatten().filter_map(|name| name.rsplit_once(':'));
    let names: Vec<Name<'_>> =
        tagged.map(|(repository, tag)| Name { repository, tag, digest: digest(repository) }).collect();
    if !names.is_empty() {
        return names;
    }
    // Pulled by digest, or its tag went to another image.
    let repository = digests.first().map_or(NONE, |(repository, _)| repository);
    vec![Name { repository, tag: NONE, digest: digest(repository) }]
}

fn row(image: &Summary, name: &Name<'_>, args: &Flags, now: Timestamp) -> Value {
    let id = if args.no_trunc { &image.id } else { human::short_id(&image.id) };
    let created = Some(image.created)
        .filter(|seconds| *seconds != NEVER_SECONDS)
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    let size = human::size(image.size as f64, 3);
    json!({
        "ID": id,
        "Repository": name.repository,
        "Tag": name.tag,
        "Digest": name.digest,
        "CreatedSince": created.map_or_else(|| "N/A".to_owned(), |created| human::ago(created, now)),
        "CreatedAt": created.map_or_else(|| "N/A".to_owned(), human::local_time),
        "Size": size,
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_is_a_line_with_the_digest_of_its_repository() {
        let text = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let image = Summary {
            repo_tags: text(&["nginx:1", "localhost:5000/nginx:2"]),
            repo_digests: text(&["nginx@sha256:ab"]),
            ..Summary::default()
        };
        let lines: Vec<(&str, &str, &str)> =
            names(&image).iter().map(|name| (name.repository, name.tag, name.digest)).collect();
        assert_eq!(lines, [("nginx", "1", "sha256:ab"), ("localhost:5000/nginx", "2", NONE)]);
        let image = Summary { repo_digests: text(&["nginx@sha256:ab"]), ..Summary::default() };
        let lines: Vec<(&str, &str)> = names(&image).iter().map(|name| (name.repository, name.tag)).collect();
        assert_eq!(lines, [("nginx", NONE)]);
    }
}
