//! Container images made from nothing but Debian's own programs, in the formats registries hold.
//!
//! [`tutorial::all`] are the four the tutorial speaks of; the hostile ones are put together by the tests.

pub mod layer;
pub mod tutorial;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::layer::Layer;

/// How an image is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Docker's image manifest, version 2, schema 2.
    Docker,
    /// An OCI image manifest.
    Oci,
    /// An OCI index whose first entry is an image for arm64 and whose second is the OCI manifest.
    OciIndex,
    /// Docker's manifest list, likewise.
    DockerList,
}

/// One blob as a registry stores it.
#[derive(Debug, Clone)]
pub struct Blob {
    /// `sha256:` and the digest in hexadecimal.
    pub digest: String,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// `bytes` under their digest.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { digest: digest(&bytes), bytes }
    }
}

/// A manifest or an index, as pushed.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its media type.
    pub media_type: &'static str,
    /// Its content under its digest.
    pub blob: Blob,
}

/// An image ready to be pushed: blobs first, then the manifests in order, the last one under the tag.
#[derive(Debug, Clone)]
pub struct Image {
    /// The repository, such as `library/nginx`.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// Layers and configurations.
    pub blobs: Vec<Blob>,
    /// Manifests, those an index refers to before the index.
    pub manifests: Vec<Manifest>,
}

impl Image {
    /// Puts `layers` and the `config` object of an image configuration together.
    ///
    /// # Errors
    /// When something cannot be written as JSON.
    pub fn build(repository: &str, tag: &str, format: Format, layers: &[Layer], config: &Value) -> Result<Self> {
        let mut image =
            Self { repository: repository.to_owned(), tag: tag.to_owned(), blobs: Vec::new(), manifests: Vec::new() };
        let docker = matches!(format, Format::Docker | Format::DockerList);
        if matches!(format, Format::OciIndex | Format::DockerList) {
            let mut decoy = config.clone();
            if let Some(fields) = decoy.as_object_mut() {
                fields.insert("Cmd".to_owned(), json!(["/made-for-another-processor"]));
            }
            let first = layers.get(..1).unwrap_or_default();
            image.add_manifest(docker, "arm64", first, &decoy)?;
            image.add_manifest(docker, "amd64", layers, config)?;
            image.add_index(docker)?;
        } else {
            image.add_manifest(docker, "amd64", layers, config)?;
        }
        Ok(image)
    }

    /// What a reference to this image is called: `repository:tag`, without `library/`.
    #[must_use]
    pub fn reference(&self) -> String {
        let name = self.repository.strip_prefix("library/").unwrap_or(&self.repository);
        format!("{name}:{}", self.tag)
    }

    /// The digest the tag refers to.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.manifests.last().map_or("", |manifest| manifest.blob.digest.as_str())
    }

    fn add_manifest(&mut self, docker: bool, architecture: &str, layers: &[Layer], config: &Value) -> Result<()> {
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(&layer.tar)).collect();
        let history: Vec<Value> =
            layers.iter().map(|_| json!({"created": "2024-01-01T00:00:00Z", "created_by": "lab"})).collect();
        let config = Blob::new(serde_json::to_vec(&json!({
            "created": "2024-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        }))?);
        let (media_type, config_type) = if docker {
            ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json")
        } else {
            ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json")
        };
        let mut descriptors = Vec::new();
        for layer in layers {
            let blob = Blob::new(layer.packed()?);
            descriptors.push(descriptor(layer.media_type(docker), &blob));
            self.blobs.push(blob);
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config_type, &config),
            "layers": descriptors,
        });
        self.blobs.push(config);
        self.manifests.push(Manifest { media_type, blob: Blob::new(serde_json::to_vec(&manifest)?) });
        Ok(())
    }

    fn add_index(&mut self, docker: bool) -> Result<()> {
        let media_type = if docker {
            "application/vnd.docker.distribution.manifest.list.v2+json"
        } else {
            "application/vnd.oci.image.index.v1+json"
        };
        let entries: Vec<Value> = self
            .manifests
            .iter()
            .zip(["arm64", "amd64"])
            .map(|(manifest, architecture)| {
                let mut entry = descriptor(manifest.media_type, &manifest.blob);
                if let Some(fields) = entry.as_object_mut() {
                    let platform = json!({"architecture": architecture, "os": "linux"});
                    fields.insert("platform".to_owned(), platform);
                }
                entry
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
        self.manifests.push(Manifest { media_type, blob: Blob::new(serde_json::to_vec(&index)?) });
        Ok(())
    }
}

/// `sha256:` and the digest of `bytes` in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.bytes.len()})
}
