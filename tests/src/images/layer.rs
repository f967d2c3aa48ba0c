//! Layers: tar archives put together in memory, hostile ones included.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// How a layer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// Zstandard, which only OCI manifests know.
    Zstd,
    /// As it is, which only OCI manifests know.
    Plain,
}

/// A finished layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The archive, not compressed.
    pub tar: Vec<u8>,
    /// How it is compressed on the way.
    pub packing: Packing,
}

impl Layer {
    /// The bytes as they travel.
    ///
    /// # Errors
    /// When compression fails.
    pub fn packed(&self) -> Result<Vec<u8>> {
        match self.packing {
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&self.tar)?;
                Ok(encoder.finish()?)
            }
            Packing::Zstd => Ok(zstd::encode_all(self.tar.as_slice(), 1)?),
            Packing::Plain => Ok(self.tar.clone()),
        }
    }

    /// The media type in a manifest of the docker or the OCI kind.
    #[must_use]
    pub fn media_type(&self, docker: bool) -> &'static str {
        match (self.packing, docker) {
            (_, true) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Packing::Gzip, false) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Packing::Zstd, false) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Packing::Plain, false) => "application/vnd.oci.image.layer.v1.tar",
        }
    }
}

/// Collects the entries of a layer. Paths are relative to the root of the container.
pub struct LayerBuilder(Builder<Vec<u8>>);

impl Default for LayerBuilder {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl LayerBuilder {
    /// A directory.
    ///
    /// # Errors
    /// When the path does not fit into an archive.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<&mut Self> {
        self.entry(EntryType::Directory, path, mode, None, &[])
    }

    /// A file with content.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<&mut Self> {
        self.entry(EntryType::Regular, path, mode, None, data)
    }

    /// A symbolic link to `target`.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<&mut Self> {
        self.entry(EntryType::Symlink, path, 0o777, Some(target), &[])
    }

    /// A second name for the earlier entry `target`.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn hard_link(&mut self, path: &str, target: &str) -> Result<&mut Self> {
        self.entry(EntryType::Link, path, 0o755, Some(target), &[])
    }

    /// A copy of the file `source` of this machine.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn copy(&mut self, path: &str, mode: u32, source: &Path) -> Result<&mut Self> {
        let data =
            std::fs::read(source).with_context(|| format!("cannot read {}: run `make deps`", source.display()))?;
        self.file(path, mode, &data)
    }

    /// Any entry, its names written exactly as given: `../x` and absolute names included.
    ///
    /// # Errors
    /// When a name is longer than 100 bytes or the archive cannot be written.
    pub fn entry(
        &mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        target: Option<&str>,
        data: &[u8],
    ) -> Result<&mut Self> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        let old = header.as_old_mut();
        copy_name(&mut old.name, path)?;
        if let Some(target) = target {
            copy_name(&mut old.linkname, target)?;
        }
        header.set_cksum();
        self.0.append(&header, data)?;
        Ok(self)
    }

    /// The finished layer.
    ///
    /// # Errors
    /// When the archive cannot be closed.
    pub fn finish(self, packing: Packing) -> Result<Layer> {
        Ok(Layer { tar: self.0.into_inner()?, packing })
    }
}

fn copy_name(field: &mut [u8; 100], name: &str) -> Result<()> {
    field
        .get_mut(..name.len())
        .with_context(|| format!("{name} is too long for an archive"))?
        .copy_from_slice(name.as_bytes());
    Ok(())
}
