//! Platforms, and the choice of an image for one from an index.
//!
//! Field names and values: OCI image specification, `image-index.md`. Called by the pull.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use skep_common::ErrorKind;
use thiserror::Error;

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid platform {text:?}: expected OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/amd64")]
pub struct PlatformError {
    /// What was given.
    pub text: String,
}

impl PlatformError {
    /// What kind of failure this is: whoever wrote the text has to write another.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::BadArgument
    }
}

/// An operating system and a processor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, in Go's words: `linux`.
    #[serde(default)]
    pub os: String,
    /// Architecture, in Go's words: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// Which generation of the architecture: `v8`, `v7`; on amd64 `v1` to `v4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of this machine.
    #[must_use]
    pub fn host() -> Platform {
        let architecture = skep_common::host_architecture();
        let variant = match architecture {
            "amd64" => Some(x86_level()),
            "arm64" => Some("v8"),
            "arm" => Some("v7"),
            _ => None,
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.map(str::to_owned) }
    }

    /// How well an image made for `offered` runs here: greater is better, `None` is not at all.
    fn suitability(&self, offered: &Platform) -> Option<u32> {
        if offered.os != self.os || skep_common::architecture(&offered.architecture) != self.architecture {
            return None;
        }
        let baseline = match self.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            "arm" => 7,
            _ => 0,
        };
        let wanted = generation(self.variant.as_deref()).unwrap_or(baseline);
        let offered = generation(offered.variant.as_deref()).unwrap_or(baseline.min(wanted));
        (offered <= wanted).then_some(offered)
    }

    /// Whether an image made for `offered` runs here. One that does not say what it is made for is taken at its word.
    #[must_use]
    pub fn runs(&self, offered: &Platform) -> bool {
        offered.architecture.is_empty() || self.suitability(offered).is_some()
    }

    /// The position of the best of the offered platforms; the first of equals.
    pub(crate) fn choose<'a>(&self, offered: impl Iterator<Item = Option<&'a Platform>>) -> Option<usize> {
        let mut best: Option<(usize, u32)> = None;
        let mut unlabelled = Vec::new();
        let mut count = 0;
        for (position, platform) in offered.enumerate() {
            count += 1;
            let Some(platform) = platform else {
                unlabelled.push(position);
                continue;
            };
            if let Some(score) = self.suitability(platform)
                && best.is_none_or(|(_, best)| score > best)
            {
                best = Some((position, score));
            }
        }
        // An index of one entry without a label can only mean that entry.
        best.map(|(position, _)| position).or((count == 1).then(|| unlabelled.first().copied()).flatten())
    }
}

fn generation(variant: Option<&str>) -> Option<u32> {
    variant?.trim_start_matches('v').parse().ok()
}

#[cfg(target_arch = "x86_64")]
fn x86_level() -> &'static str {
    use std::arch::is_x86_feature_detected as has;
    if !(has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt")) {
        return "v1";
    }
    if !(has!("avx") && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("lzcnt")) {
        return "v2";
    }
    if !(has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl")) {
        return "v3";
    }
    "v4"
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_level() -> &'static str {
    "v1"
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let well_formed =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(well_formed) {
            return Err(PlatformError { text: text.into() });
        }
        Ok(Platform {
            os: parts[0].to_ascii_lowercase(),
            architecture: skep_common::architecture(&parts[1].to_ascii_lowercase()).into(),
            variant: parts.get(2).map(|variant| variant.to_ascii_lowercase()),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn choose(host: &str, offered: &[&str]) -> Option<usize> {
        let offered: Vec<Platform> = offered.iter().map(|text| text.parse().unwrap()).collect();
        host.parse::<Platform>().unwrap().choose(offered.iter().map(Some))
    }

    #[test]
    fn the_best_variant_that_runs_is_chosen() {
        assert_eq!(choose("linux/amd64", &["linux/arm64", "linux/amd64"]), Some(1));
        assert_eq!(choose("linux/amd64/v3", &["linux/amd64/v4", "linux/amd64/v2", "linux/amd64"]), Some(1));
        assert_eq!(choose("linux/amd64/v1", &["linux/amd64/v2"]), None);
        assert_eq!(choose("linux/amd64", &["linux/amd64", "linux/amd64"]), Some(0));
        assert_eq!(choose("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5", "linux/arm/v6"]), Some(2));
        assert_eq!(choose("linux/arm64", &["linux/arm64/v8"]), Some(0));
        assert_eq!(choose("linux/amd64", &["windows/amd64", "unknown/unknown"]), None);
    }

    #[test]
    fn a_lone_entry_without_a_platform_is_taken() {
        let host: Platform = "linux/amd64".parse().unwrap();
        assert_eq!(host.choose([None].into_iter()), Some(0));
        assert_eq!(host.choose([None, None].into_iter()), None);
        assert_eq!(host.choose([None, Some(&host)].into_iter()), Some(1));
    }

    #[test]
    fn an_image_for_another_processor_does_not_run() {
        let runs = |here: &str, there: &str| here.parse::<Platform>().unwrap().runs(&there.parse().unwrap());
        assert!(runs("linux/amd64", "linux/amd64") && runs("linux/arm64", "linux/arm64/v8"));
        assert!(!runs("linux/arm64", "linux/amd64") && !runs("linux/amd64", "windows/amd64"));
        assert!(Platform::host().runs(&Platform { os: String::new(), architecture: String::new(), variant: None }));
    }

    #[test]
    fn platforms_are_read_and_written() {
        assert_eq!("linux/x86_64".parse::<Platform>().unwrap().to_string(), "linux/amd64");
        assert_eq!("linux/arm/v7".parse::<Platform>().unwrap().to_string(), "linux/arm/v7");
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!(Platform::host().os, "linux");
    }
}
