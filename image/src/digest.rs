//! Content digests: the names of blobs, layers and images.
//!
//! Only sha256 is understood: it is what every registry serves. Other algorithms are refused by name
//! when they are parsed, so a [`Digest`] in hand is always well formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skep_common::ErrorKind;
use thiserror::Error;

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DigestError {
    /// There is no `algorithm:` in front.
    #[error("invalid checksum digest format: {text:?} (expected sha256:<64 hexadecimal digits>)")]
    Format {
        /// What was given.
        text: String,
    },
    /// The algorithm is not sha256.
    #[error("unsupported digest algorithm {algorithm:?} (only sha256 is supported)")]
    Algorithm {
        /// The name before the colon.
        algorithm: String,
    },
    /// The hexadecimal part is not 64 digits long.
    #[error("invalid checksum digest length: {text:?} has {digits} digits, sha256 has 64")]
    Length {
        /// What was given.
        text: String,
        /// How many characters follow the colon.
        digits: usize,
    },
}

impl DigestError {
    /// What kind of failure this is: whoever wrote the text has to write another.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::BadArgument
    }
}

/// A sha256 digest, written `sha256:<64 lower-case hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of bytes that are in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The 64 hexadecimal digits, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        hex
    }

    /// A digest from its 64 hexadecimal digits; `None` if the text is anything else.
    #[must_use]
    pub(crate) fn from_hex(hex: &str) -> Option<Digest> {
        if hex.len() != 64 {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Digest(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let format = || DigestError::Format { text: text.into() };
        let (algorithm, hex) = text.split_once(':').ok_or_else(format)?;
        if algorithm.is_empty() || !algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b)) {
            return Err(format());
        }
        if algorithm != "sha256" {
            return Err(DigestError::Algorithm { algorithm: algorithm.into() });
        }
        if hex.len() != 64 {
            return Err(DigestError::Length { text: text.into(), digits: hex.len() });
        }
        Digest::from_hex(hex).ok_or_else(format)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a [`Digest`] from bytes as they stream by.
#[derive(Clone)]
pub(crate) struct Hasher(ring::digest::Context);

impl Hasher {
    pub(crate) fn new() -> Hasher {
        Hasher(ring::digest::Context::new(&ring::digest::SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let mut bytes = [0_u8; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Digest(bytes)
    }
}

/// The identity of an image: the digest of its configuration, as docker's image id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

impl ImageId {
    /// The first 12 hexadecimal digits, as `docker images` shows them.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hex = self.0.hex();
        hex.truncate(12);
        hex
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for ImageId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<ImageId, DigestError> {
        text.parse().map(ImageId)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_published_one() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(ImageId(Digest::of(b"")).short(), "e3b0c44298fc");
    }

    #[test]
    fn malformed_digests_are_refused_by_name() {
        assert!(matches!("e3b0".parse::<Digest>(), Err(DigestError::Format { .. })));
        assert!(matches!("sha512:00".parse::<Digest>(), Err(DigestError::Algorithm { .. })));
        assert!(matches!("sha256:00".parse::<Digest>(), Err(DigestError::Length { digits: 2, .. })));
        assert!(EMPTY.to_uppercase().replace("SHA", "sha").parse::<Digest>().is_err());
        assert!("../../x:".parse::<Digest>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_digest_survives_being_written(bytes in proptest::array::uniform32(0_u8..)) {
            let digest = Digest(bytes);
            proptest::prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
    }
}
