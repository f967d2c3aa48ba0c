//! Manifests and indexes: which blobs an image is made of.
//!
//! OCI image specification, `manifest.md` and `image-index.md`, and Docker's schema 2 of the same shape,
//! read with oci-client's types. A document that could be read as both is refused (CVE-2021-41190), as are the limits below exceeded.
//! Called by the pull with bytes whose digest is already verified, and by the store with its own.

use std::collections::BTreeMap;

use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageIndex, OciImageManifest,
};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use skep_common::ErrorKind;
use thiserror::Error;

use crate::digest::Digest;
use crate::platform::Platform;

/// Manifests larger than this are refused, in bytes (the limit of the distribution specification).
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Images of more layers are refused: their names must fit in the one page of a mount's options.
pub(crate) const LAYERS_MAX: usize = 200;

/// The media types of manifests that are asked for.
pub(crate) const ACCEPTED: [&str; 4] =
    [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// Why a document is not a usable manifest.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It is not JSON of the expected shape.
    #[error("manifest {digest} is malformed")]
    Malformed {
        /// The document's digest.
        digest: Digest,
        /// Where it departs from the format.
        #[source]
        source: serde_json::Error,
    },
    /// It lists both layers and manifests, or says to be one and is the other.
    #[error("manifest {digest} is ambiguous: {reason}")]
    Ambiguous {
        /// The document's digest.
        digest: Digest,
        /// What contradicts what.
        reason: String,
    },
    /// It is of Docker's schema 1.
    #[error(
        "manifest {digest} is in Docker's image format version 1, which is no longer supported: \
         push the image again with a current tool"
    )]
    Schema1 {
        /// The document's digest.
        digest: Digest,
    },
    /// It is neither an image nor an index.
    #[error("manifest {digest} describes neither an image nor an index: {reason}")]
    Unsupported {
        /// The document's digest.
        digest: Digest,
        /// What it is instead.
        reason: String,
    },
    /// It lists more layers than can be mounted.
    #[error("manifest {digest} lists {count} layers, at most {LAYERS_MAX} are supported")]
    TooManyLayers {
        /// The document's digest.
        digest: Digest,
        /// How many it lists.
        count: usize,
    },
    /// One blob is listed with two sizes.
    #[error("manifest {digest} lists blob {blob} with different sizes, {first} and {second} bytes")]
    SizeConflict {
        /// The document's digest.
        digest: Digest,
        /// The blob.
        blob: Digest,
        /// One size.
        first: u64,
        /// The other.
        second: u64,
    },
    /// A layer is not in the registry but at an address in the manifest.
    #[error(
        "layer {layer} of manifest {digest} is kept outside of the registry ({media_type}): \
         such foreign layers are not fetched"
    )]
    ForeignLayer {
        /// The document's digest.
        digest: Digest,
        /// The layer.
        layer: Digest,
        /// Its media type.
        media_type: String,
    },
}

impl ManifestError {
    /// What kind of failure this is. No manifest becomes usable by asking for it again.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ManifestError::Malformed { .. } | ManifestError::Ambiguous { .. } | ManifestError::SizeConflict { .. } => {
                ErrorKind::BadArgument
            }
            ManifestError::Schema1 { .. }
            | ManifestError::Unsupported { .. }
            | ManifestError::TooManyLayers { .. }
            | ManifestError::ForeignLayer { .. } => ErrorKind::NotSupported,
        }
    }
}

/// A reference to a blob or to another manifest, its digest and size checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
    /// It is kept elsewhere than in the registry.
    foreign: bool,
    /// Of an index's entries.
    pub(crate) platform: Option<Platform>,
}

/// A manifest, by what it lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manifest {
    Image(ImageManifest),
    Index(Vec<Descriptor>),
}

/// The manifest of one image for one platform; layers bottom first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageManifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// What tells the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl Manifest {
    pub(crate) fn parse(digest: &Digest, bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let digest = *digest;
        let outline: Outline = read(digest, bytes)?;
        if outline.fs_layers.is_some() || outline.schema_version == Some(1) {
            return Err(ManifestError::Schema1 { digest });
        }
        let ambiguous = |reason: &str| ManifestError::Ambiguous { digest, reason: reason.into() };
        let media_type = outline.media_type.unwrap_or_default();
        let says_index = media_type.contains("image.index") || media_type.contains("manifest.list");
        let says_image = media_type.contains("image.manifest") || media_type.contains("distribution.manifest.v2");
        match (outline.manifests, outline.config, outline.layers) {
            (Some(_), _, Some(_)) => Err(ambiguous("it has both layers and manifests")),
            (Some(_), Some(_), None) => Err(ambiguous("it has both a configuration and manifests")),
            (Some(_), None, None) if says_image => Err(ambiguous("it says it is an image but lists manifests")),
            (Some(_), None, None) => {
                let index: OciImageIndex = read(digest, bytes)?;
                let entries = index.manifests.into_iter().map(|entry| Descriptor::of_entry(digest, entry));
                Ok(Manifest::Index(entries.collect::<Result<_, _>>()?))
            }
            (None, Some(_), _) if says_index => Err(ambiguous("it says it is an index but lists layers")),
            (None, Some(_), _) => ImageManifest::check(digest, read(digest, bytes)?).map(Manifest::Image),
            (None, None, _) => {
                let reason = "it lists no configuration and no manifests".into();
                Err(ManifestError::Unsupported { digest, reason })
            }
        }
    }
}

fn read<T: DeserializeOwned>(digest: Digest, bytes: &[u8]) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(|source| ManifestError::Malformed { digest, source })
}

impl Descriptor {
    /// `document` is the manifest that lists it.
    fn new(document: Digest, wire: OciDescriptor) -> Result<Descriptor, ManifestError> {
        let malformed = |reason: String| {
            let source = serde_json::Error::custom(reason);
            ManifestError::Malformed { digest: document, source }
        };
        let digest = wire.digest.parse().map_err(|error| malformed(format!("{error}")))?;
        let size = u64::try_from(wire.size).map_err(|_| malformed(format!("{} is no size", wire.size)))?;
        let elsewhere = ["foreign", "nondistributable"].iter().any(|word| wire.media_type.contains(word));
        let foreign = elsewhere && wire.urls.is_some_and(|urls| !urls.is_empty());
        Ok(Descriptor { media_type: wire.media_type, digest, size, foreign, platform: None })
    }

    fn of_entry(document: Digest, entry: ImageIndexEntry) -> Result<Descriptor, ManifestError> {
        let platform = entry.platform.map(|platform| Platform {
            os: platform.os.to_string(),
            architecture: platform.architecture.to_string(),
            variant: platform.variant,
        });
        let (media_type, digest, size) = (entry.media_type, entry.digest, entry.size);
        let wire = OciDescriptor { media_type, digest, size, ..OciDescriptor::default() };
        Ok(Descriptor { platform, ..Descriptor::new(document, wire)? })
    }
}

impl ImageManifest {
    fn check(digest: Digest, wire: OciImageManifest) -> Result<ImageManifest, ManifestError> {
        if wire.artifact_type.is_some() || wire.config.media_type == "application/vnd.oci.empty.v1+json" {
            let reason = "it is an artifact that cannot be run".into();
            return Err(ManifestError::Unsupported { digest, reason });
        }
        if wire.layers.len() > LAYERS_MAX {
            return Err(ManifestError::TooManyLayers { digest, count: wire.layers.len() });
        }
        let config = Descriptor::new(digest, wire.config)?;
        let layers =
            wire.layers.into_iter().map(|layer| Descriptor::new(digest, layer)).collect::<Result<Vec<_>, _>>()?;
        let mut sizes = BTreeMap::from([(config.digest, config.size)]);
        for layer in &layers {
            if layer.foreign {
                let media_type = layer.media_type.clone();
                return Err(ManifestError::ForeignLayer { digest, layer: layer.digest, media_type });
            }
            let first = *sizes.entry(layer.digest).or_insert(layer.size);
            if first != layer.size {
                let (blob, second) = (layer.digest, layer.size);
                return Err(ManifestError::SizeConflict { digest, blob, first, second });
            }
        }
        Ok(ImageManifest { config, layers })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const A: &str = concat!(
        r#"{"mediaType":"application/octet-stream","size":1,"#,
        r#""digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#
    );

    fn parse(json: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(&Digest::of(json.as_bytes()), json.as_bytes())
    }

    #[test]
    fn images_and_indexes_are_told_apart() {
        let image = parse(&format!(r#"{{"schemaVersion":2,"config":{A},"layers":[{A}]}}"#)).unwrap();
        assert!(matches!(image, Manifest::Image(image) if image.layers.len() == 1));
        let index = parse(&format!(r#"{{"schemaVersion":2,"manifests":[{A}]}}"#)).unwrap();
        assert!(matches!(index, Manifest::Index(entries) if entries.len() == 1));
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for json in [
            format!(r#"{{"schemaVersion":2,"config":{A},"layers":[{A}],"manifests":[{A}]}}"#),
            format!(r#"{{"schemaVersion":2,"layers":[{A}],"manifests":[{A}]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{A},"manifests":[{A}]}}"#),
            format!(r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[{A}]}}"#),
            format!(r#"{{"mediaType":"application/vnd.oci.image.index.v1+json","config":{A},"layers":[{A}]}}"#),
        ] {
            assert!(matches!(parse(&json), Err(ManifestError::Ambiguous { .. })), "{json}");
        }
    }

    #[test]
    fn old_foreign_and_oversized_manifests_are_refused() {
        assert!(matches!(parse(r#"{"schemaVersion":1,"fsLayers":[]}"#), Err(ManifestError::Schema1 { .. })));
        assert!(matches!(parse("{}"), Err(ManifestError::Unsupported { .. })));
        assert!(matches!(parse("null"), Err(ManifestError::Malformed { .. })));
        let many = vec![A; LAYERS_MAX + 1].join(",");
        let many = format!(r#"{{"schemaVersion":2,"config":{A},"layers":[{many}]}}"#);
        assert!(matches!(parse(&many), Err(ManifestError::TooManyLayers { count: 201, .. })));
        let other = A.replace("\"size\":1", "\"size\":2");
        let conflict = format!(r#"{{"schemaVersion":2,"config":{A},"layers":[{other}]}}"#);
        assert!(matches!(parse(&conflict), Err(ManifestError::SizeConflict { first: 1, second: 2, .. })));
        let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let foreign = A.replace("\"size\":1", r#""size":1,"urls":["http://x/"]"#);
        let foreign = foreign.replace("application/octet-stream", kind);
        let foreign = format!(r#"{{"schemaVersion":2,"config":{A},"layers":[{foreign}]}}"#);
        assert!(matches!(parse(&foreign), Err(ManifestError::ForeignLayer { .. })));
        let negative = A.replace("\"size\":1", "\"size\":-1");
        let digest = A.replace("e3b0", "xyz");
        for odd in [negative, digest] {
            let odd = format!(r#"{{"schemaVersion":2,"config":{odd},"layers":[]}}"#);
            assert!(matches!(parse(&odd), Err(ManifestError::Malformed { .. })), "{odd}");
        }
    }
}
