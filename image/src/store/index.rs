//! Which images there are, and by which names: the content of `index.json`. Pure.
//!
//! The record of an image lists everything that must stay on disk for it, so that what can be collected
//! is decided from this one document, without reading any blob.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, ImageId};
use crate::reference::Reference;

pub(crate) const INDEX_VERSION: u32 = 1;

/// Every image and every name. A name here has a tag or a digest, never both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) references: BTreeMap<Reference, ImageId>,
    #[serde(default)]
    pub(crate) images: BTreeMap<ImageId, ImageRecord>,
}

/// What belongs to one image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// The manifest for this platform, if the image came from a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Digest>,
    /// Indexes, manifest, configuration and compressed layers.
    #[serde(default)]
    pub(crate) blobs: BTreeSet<Digest>,
    /// The unpacked layers by diff id, bottom first.
    #[serde(default)]
    pub(crate) layers: Vec<Digest>,
}

impl Default for Index {
    fn default() -> Index {
        Index { version: INDEX_VERSION, references: BTreeMap::new(), images: BTreeMap::new() }
    }
}

/// What a name or id leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An id or the beginning of one.
    ById(ImageId),
    /// A name.
    ByReference(ImageId, Reference),
    Nothing,
    Ambiguous(usize),
}

impl Index {
    /// Looks a name, an id or the beginning of an id up, in docker's order: full id, name, beginning.
    pub(crate) fn find(&self, text: &str) -> Found {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Some(digest) = Digest::from_hex(hex) {
            let id = ImageId(digest);
            return if self.images.contains_key(&id) { Found::ById(id) } else { Found::Nothing };
        }
        if let Ok(reference) = text.parse::<Reference>()
            && let Some((reference, id)) = self.find_reference(&reference)
        {
            return Found::ByReference(id, reference);
        }
        if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Found::Nothing;
        }
        let matches: Vec<ImageId> = self.images.keys().filter(|id| id.0.hex().starts_with(hex)).copied().collect();
        match matches.as_slice() {
            [] => Found::Nothing,
            [id] => Found::ById(*id),
            many => Found::Ambiguous(many.len()),
        }
    }

    /// The stored name that a reference means; its digest, if it has one, decides.
    pub(crate) fn find_reference(&self, reference: &Reference) -> Option<(Reference, ImageId)> {
        let stored = match reference.digest() {
            Some(digest) => reference.only_digest(*digest),
            None => reference.clone(),
        };
        let id = *self.references.get(&stored)?;
        Some((stored, id))
    }

    /// The names of an image: tags first, then digests.
    pub(crate) fn names(&self, id: &ImageId) -> Vec<Reference> {
        let of_image = || self.references.iter().filter(|(_, named)| *named == id).map(|(reference, _)| reference);
        let tags = of_image().filter(|reference| reference.digest().is_none());
        let digests = of_image().filter(|reference| reference.digest().is_some());
        tags.chain(digests).cloned().collect()
    }
}

/// Whether an image has one tag at most, and all its names are in one repository.
pub(crate) fn is_single_repository(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    let repositories: BTreeSet<String> = names.iter().map(Reference::name).collect();
    tags <= 1 && repositories.len() <= 1
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn id(text: &str) -> ImageId {
        ImageId(Digest::of(text.as_bytes()))
    }

    fn index() -> Index {
        let mut index = Index::default();
        for name in ["a", "b"] {
            index.images.insert(id(name), ImageRecord::default());
        }
        index.references.insert("nginx:1".parse().unwrap(), id("a"));
        index.references.insert("nginx".parse().unwrap(), id("a"));
        let digest = Digest::of(b"manifest");
        index.references.insert(format!("nginx@{digest}").parse().unwrap(), id("a"));
        index
    }

    #[test]
    fn names_ids_and_beginnings_are_found() {
        let index = index();
        assert!(matches!(index.find("nginx"), Found::ByReference(found, _) if found == id("a")));
        assert!(matches!(index.find("docker.io/library/nginx:1"), Found::ByReference(found, _) if found == id("a")));
        let digest = Digest::of(b"manifest");
        assert!(matches!(index.find(&format!("nginx:any@{digest}")), Found::ByReference(..)));
        assert_eq!(index.find(&id("b").to_string()), Found::ById(id("b")));
        assert_eq!(index.find(&id("b").short()), Found::ById(id("b")));
        assert_eq!(index.find(&format!("sha256:{}", id("b").short())), Found::ById(id("b")));
        assert_eq!(index.find(&id("c").to_string()), Found::Nothing);
        assert_eq!(index.find("nginx:nope"), Found::Nothing);
        assert_eq!(index.find(""), Found::Nothing);
    }

    #[test]
    fn a_short_beginning_can_be_ambiguous() {
        let mut index = Index::default();
        for count in 0..40 {
            index.images.insert(id(&count.to_string()), ImageRecord::default());
        }
        let first = id("0").0.hex()[..1].to_owned();
        let expected = index.images.keys().filter(|id| id.0.hex().starts_with(&first)).count();
        assert!(expected > 1);
        assert_eq!(index.find(&first), Found::Ambiguous(expected));
    }

    #[test]
    fn a_name_wins_over_an_id_that_begins_so() {
        let mut index = index();
        let short = id("b").short();
        index.references.insert(short.parse().unwrap(), id("a"));
        assert!(matches!(index.find(&short), Found::ByReference(found, _) if found == id("a")));
    }

    #[test]
    fn the_document_survives_being_written_and_ignores_what_it_does_not_know() {
        let index = index();
        let json = serde_json::to_string(&index).unwrap();
        assert_eq!(serde_json::from_str::<Index>(&json).unwrap(), index);
        let json = json.replacen('{', "{\"later\":1,", 1);
        assert_eq!(serde_json::from_str::<Index>(&json).unwrap(), index);
    }

    #[test]
    fn tags_come_before_digests_and_repositories_are_counted() {
        let mut index = index();
        let names = index.names(&id("a"));
        assert_eq!(names.len(), 3);
        assert!(names[2].digest().is_some());
        assert!(!is_single_repository(&names));
        assert!(is_single_repository(&names[1..]));
        index.references.insert("other".parse().unwrap(), id("b"));
        index.references.insert(
            "another@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse().unwrap(),
            id("b"),
        );
        assert!(!is_single_repository(&index.names(&id("b"))));
    }
}
