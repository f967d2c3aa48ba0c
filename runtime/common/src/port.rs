//! Transport protocols of ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortProtocol {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The IP protocol number (IANA's "Assigned Internet Protocol Numbers").
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Its name in lower case, as in `80/tcp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Not a protocol that has ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid proto: {0}")]
pub struct PortProtocolError(pub String);

impl FromStr for PortProtocol {
    type Err = PortProtocolError;

    /// In whatever case, as docker reads it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| PortProtocolError(text.to_owned()))
    }
}

/// First and last port of `80` or `8000-8010`.
pub fn parse_range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

/// Ports of one protocol and the protocol's text, as in `80`, `80/udp` and `8000-8010/tcp`: without a protocol it is TCP.
pub fn split_protocol(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((ports, "")) => (ports, PortProtocol::Tcp.name()),
        Some(parts) => parts,
        None => (text, PortProtocol::Tcp.name()),
    }
}

/// First and last port and their protocol, of `80`, `80/udp` or `8000-8010/tcp`; 0 is no port.
pub fn parse_exposed(text: &str) -> Option<(u16, u16, PortProtocol)> {
    let (ports, protocol) = split_protocol(text);
    let (first, last) = parse_range(ports).filter(|(first, _)| *first > 0)?;
    Some((first, last, protocol.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exposed_ports_are_read() {
        use PortProtocol::{Sctp, Tcp, Udp};
        for (text, expected) in [
            ("80", (80, 80, Tcp)),
            ("80/", (80, 80, Tcp)),
            ("8000-8010/udp", (8000, 8010, Udp)),
            ("1-65535/SCTP", (1, 65535, Sctp)),
        ] {
            assert_eq!(parse_exposed(text), Some(expected), "{text}");
        }
        for bad in ["", "x", "0", "80/icmp", "90-80", "70000", "+80", "-", "80-", "/tcp", "80/tcp/udp"] {
            assert_eq!(parse_exposed(bad), None, "{bad}");
        }
        assert_eq!(parse_range("0"), Some((0, 0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_is_too_strange(text in ".{0,12}") {
            parse_exposed(&text);
        }
    }

    #[test]
    fn names_read_back() {
        for protocol in PortProtocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
            assert_eq!(protocol.name().to_uppercase().parse(), Ok(protocol));
            assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.name());
        }
        assert_eq!("icmp".parse::<PortProtocol>().unwrap_err().to_string(), "invalid proto: icmp");
    }
}
