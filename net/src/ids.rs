//! Ids, and addresses of links: checked when they are made, so that nothing below has to.
//!
//! Used by everything in this crate. Invariant: an id is safe as part of a file's and of a link's name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use skep_common::names;

use crate::error::{Error, Result};

macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident, $kind:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps an id.
            ///
            /// # Errors
            /// [`Error::InvalidName`] unless it matches `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}`.
            pub fn new(id: impl Into<String>) -> Result<Self> {
                let id = id.into();
                if is_name(&id) { Ok(Self(id)) } else { Err(Error::InvalidName { kind: $kind, value: id }) }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(id: String) -> Result<Self> {
                Self::new(id)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(id: &str) -> Result<Self> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id_type!(
    /// A network's id, local or overlay (64 hexadecimal digits, or a swarm's 25 characters).
    NetworkId,
    "network id"
);
id_type!(
    /// A sandbox's id: the id of the container whose network namespace it is.
    SandboxId,
    "sandbox id"
);
id_type!(
    /// A swarm service's id.
    ServiceId,
    "service id"
);

/// Longest name or id.
const NAME_LENGTH_MAX: usize = 128;

/// Whether `text` may be used as a name or id.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= NAME_LENGTH_MAX && names::is_restricted(text)
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::InvalidMac { value: text.to_owned() };
        let octets = text.split([':', '-']).map(|octet| match octet.len() {
            1 | 2 => u8::from_str_radix(octet, 16).map_err(|_| invalid()),
            _ => Err(invalid()),
        });
        let octets = octets.collect::<Result<Vec<u8>>>()?;
        <[u8; 6]>::try_from(octets).map(Self).map_err(|_| invalid())
    }
}

impl TryFrom<String> for MacAddress {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}
