//! Debian's `docker-registry` on an address of the lab, and pushing images to it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http;
use crate::images::Image;
use crate::namespace::Namespace;
use crate::wait::try_until;

/// A running registry.
pub struct Registry {
    /// Where it listens, inside the lab's switch.
    pub address: SocketAddr,
    namespace: Namespace,
    process: Child,
}

impl Registry {
    /// Starts a registry with its configuration and data in `directory`, listening on `address` in `namespace`.
    ///
    /// # Errors
    /// When `docker-registry` is missing or does not answer.
    pub fn start(namespace: &Namespace, directory: &Path, address: SocketAddr) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let config = directory.join("config.yml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
                 filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n  \
                 secret: lab\n",
                directory.join("data").display()
            ),
        )?;
        let log = fs::File::create(directory.join("log"))?;
        let mut command = namespace.command();
        command.args(["docker-registry", "serve"]).arg(&config);
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start docker-registry: run `make deps`")?;
        let registry = Self { address, namespace: namespace.clone(), process };
        registry.wait_ready()?;
        Ok(registry)
    }

    fn wait_ready(&self) -> Result<()> {
        let address = self.address;
        try_until(Duration::from_secs(20), &mut || {
            self.namespace.inside(move || http::get(address, "/v2/")).map_err(|error| format!("{error:#}"))
        })
        .map_err(|reason| anyhow::anyhow!("docker-registry does not answer: {reason}"))?;
        Ok(())
    }

    /// Pushes `image` over the registry protocol.
    ///
    /// # Errors
    /// When the registry refuses a part of it.
    pub fn push(&self, image: &Image) -> Result<()> {
        let (address, image) = (self.address, image.clone());
        self.namespace.inside(move || push(address, &image))
    }

    /// Stops it: clients now find nobody at its address.
    pub fn stop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Pushes `image` to the registry at `address` from the namespace of the calling thread.
///
/// # Errors
/// When the registry refuses a part of it.
pub fn push(address: SocketAddr, image: &Image) -> Result<()> {
    let base = format!("/v2/{}", image.repository);
    for blob in &image.blobs {
        let at = format!("{base}/blobs/{}", blob.digest);
        if http::request(address, "HEAD", &at, &[], &[])?.status == 200 {
            continue;
        }
        let begun = http::request(address, "POST", &format!("{base}/blobs/uploads/"), &[], &[])?;
        let location = begun.header("location").context("an upload without a location")?;
        let path = path_of(location);
        let joint = if path.contains('?') { '&' } else { '?' };
        let put = http::request(
            address,
            "PUT",
            &format!("{path}{joint}digest={}", blob.digest),
            &[("Content-Type", "application/octet-stream")],
            &blob.bytes,
        )?;
        if put.status != 201 {
            bail!("pushing {at}: {} {}", put.status, put.text());
        }
    }
    let last = image.manifests.len().saturating_sub(1);
    for (index, manifest) in image.manifests.iter().enumerate() {
        let reference = if index == last { &image.tag } else { &manifest.blob.digest };
        let put = http::request(
            address,
            "PUT",
            &format!("{base}/manifests/{reference}"),
            &[("Content-Type", manifest.media_type)],
            &manifest.blob.bytes,
        )?;
        if put.status != 201 {
            bail!("pushing {base}:{reference}: {} {}", put.status, put.text());
        }
    }
    Ok(())
}

fn path_of(location: &str) -> &str {
    location
        .strip_prefix("http://")
        .and_then(|rest| rest.find('/').and_then(|slash| rest.get(slash..)))
        .unwrap_or(location)
}

/// Used by tests that look at what a registry holds: the digest behind `reference`.
///
/// # Errors
/// When the registry does not know it.
pub fn digest_of(namespace: &Namespace, address: SocketAddr, repository: &str, reference: &str) -> Result<String> {
    let path = format!("/v2/{repository}/manifests/{reference}");
    namespace.inside(move || {
        let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
            application/vnd.docker.distribution.manifest.list.v2+json, \
            application/vnd.docker.distribution.manifest.v2+json";
        let answer = http::request(address, "HEAD", &path, &[("Accept", accept)], &[])?;
        let digest = answer.header("docker-content-digest").context("no digest")?;
        Ok(digest.to_owned())
    })
}
