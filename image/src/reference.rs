//! Image references as Docker reads them.
//!
//! `nginx` means `docker.io/library/nginx:latest`. A [`Reference`] is always normalised: it has a domain
//! and a path, and a tag, a digest or both. Grammar: distribution/reference, `reference.go` and
//! `normalize.go`. Used by every command that names an image, by the store and by the registry client.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skep_common::ErrorKind;
use thiserror::Error;

use crate::digest::{Digest, DigestError};

/// The domain of references that name none.
pub(crate) const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// It does not follow the grammar.
    #[error("invalid reference format: {text:?}: {reason}")]
    Format {
        /// What was given.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The repository name has capitals.
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    Uppercase {
        /// The repository as docker names it, with its `library/`.
        name: String,
    },
    /// The repository name is 64 hexadecimal digits, which would read as an image id.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId {
        /// What was given.
        name: String,
    },
    /// The repository name is longer than registries accept.
    #[error(
        "invalid reference format: repository name must not be more than {NAME_BYTES_MAX} characters, it has {length}"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// What follows the `@` is not a digest.
    #[error("invalid reference format: {text:?}")]
    Digest {
        /// What was given.
        text: String,
        /// What is wrong with the digest.
        #[source]
        source: DigestError,
    },
}

impl ReferenceError {
    /// What kind of failure this is: whoever wrote the text has to write another.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::BadArgument
    }
}

/// A normalised image reference. Ordered and compared by its canonical text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's name, with its port if it has one: `docker.io`, `localhost:5000`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/nginx`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Domain and path: `docker.io/library/nginx`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag. Absent only if there is a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference is pinned to one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The name as people write it: `nginx`, `localhost:5000/x`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        let short = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.path,
        };
        // `docker.io/a.b/c` has no short form: `a.b/c` would name the registry a.b.
        let (domain, path) = split_domain(short);
        let unambiguous = domain == self.domain && path == self.path && Digest::from_hex(short).is_none();
        if unambiguous { short.to_owned() } else { self.name() }
    }

    /// The reference as people write it, with tag and digest: `nginx:latest`.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    /// The whole reference: `docker.io/library/nginx:latest`.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.name() + &self.suffix()
    }

    fn suffix(&self) -> String {
        let mut suffix = String::new();
        if let Some(tag) = &self.tag {
            suffix = format!(":{tag}");
        }
        if let Some(digest) = &self.digest {
            suffix = format!("{suffix}@{digest}");
        }
        suffix
    }

    /// The same repository and tag, pinned to a digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { digest: Some(digest), ..self.clone() }
    }

    /// The repository at a digest and nothing else: `docker.io/library/nginx@sha256:…`.
    #[must_use]
    pub fn only_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same without its digest; a reference that had no tag gets `latest`.
    #[must_use]
    pub(crate) fn without_digest(&self) -> Reference {
        let tag = self.tag.clone().unwrap_or_else(|| DEFAULT_TAG.into());
        Reference { tag: Some(tag), digest: None, ..self.clone() }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        if Digest::from_hex(text).is_some() {
            return Err(ReferenceError::LooksLikeId { name: text.into() });
        }
        let format = |reason| ReferenceError::Format { text: text.into(), reason };
        if text.is_empty() {
            return Err(format("it is empty"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest { text: text.into(), source })?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        let (domain, remainder) = split_domain(name);
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder.as_str(), None),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase { name: path.into() });
        }
        check_domain(&domain).map_err(format)?;
        check_path(path).map_err(format)?;
        if path.len() > NAME_BYTES_MAX {
            return Err(ReferenceError::TooLong { length: path.len() });
        }
        if let Some(tag) = tag {
            check_tag(text, tag)?;
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
        Ok(Reference { domain, path: path.into(), tag, digest })
    }
}

/// Splits the domain from the rest, and fills in what docker fills in.
fn split_domain(name: &str) -> (String, String) {
    let (domain, remainder) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        (domain.into(), format!("{OFFICIAL_PREFIX}{remainder}"))
    } else {
        (domain.into(), remainder.into())
    }
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or("its IPv6 address has no closing bracket")?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| "its IPv6 address is malformed")?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or("only a port may follow an IPv6 address")?),
            };
            (None, port)
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    if let Some(port) = port
        && (port.is_empty() || port.len() > 5 || port.parse::<u16>().is_err() || port.starts_with('+'))
    {
        return Err("the registry's port is not a number from 0 to 65535");
    }
    let Some(host) = host else { return Ok(()) };
    for component in host.split('.') {
        let bytes = component.as_bytes();
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        if !ends(bytes.first()) || !ends(bytes.last()) {
            return Err("each part of the registry's name must begin and end with a letter or digit");
        }
        if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            return Err("the registry's name has a character other than letters, digits and dashes");
        }
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), &'static str> {
    for component in path.split('/') {
        if component.is_empty() {
            return Err("a part of the repository name is empty");
        }
        check_path_component(component.as_bytes())?;
    }
    Ok(())
}

/// Runs of lower-case letters and digits, joined by one dot, one or two underscores, or any dashes.
fn check_path_component(component: &[u8]) -> Result<(), &'static str> {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !component.iter().all(|byte| is_word(byte) || b"._-".contains(byte)) {
        return Err("repository names are lower-case letters, digits, and . _ - between them");
    }
    let outer = component.first().is_some_and(is_word) && component.last().is_some_and(is_word);
    let joined = component
        .split(is_word)
        .all(|joint| matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|b| *b == b'-'));
    if outer && joined { Ok(()) } else { Err("the signs . _ - of a repository name stand between letters or digits") }
}

fn check_tag(text: &str, tag: &str) -> Result<(), ReferenceError> {
    let format = |reason| ReferenceError::Format { text: text.into(), reason };
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
        return Err(format("a tag has 1 to 128 characters"));
    }
    if !tag.bytes().next().is_some_and(is_word) || !tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-') {
        return Err(format("a tag is letters, digits, _ . and -, and does not begin with . or -"));
    }
    Ok(())
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.canonical())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.canonical())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
