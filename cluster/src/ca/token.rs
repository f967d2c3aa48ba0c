//! Join tokens: `SWMTKN-1-DIGEST-SECRET`, both in base 36, the digest being the SHA-256 of the root certificate.

use std::fmt;

use rand::Rng;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::CaError;

const PREFIX: &str = "SWMTKN";
const FORMAT: &str = "1";
const DIGEST_LENGTH: usize = 50;
const SECRET_LENGTH: usize = 25;

/// What a node needs to join: how to know the swarm's root certificate, and the secret of a role.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    /// Digest of the root certificate.
    pub digest: String,
    /// Secret of the role.
    pub secret: String,
}

impl JoinToken {
    /// Takes a token apart.
    ///
    /// # Errors
    /// If it is not a token.
    pub(crate) fn parse(text: &str) -> Result<Self, CaError> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [prefix, format, digest, secret] = parts.as_slice() else { return Err(CaError::Token) };
        let is_base36 = |text: &str| text.bytes().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase());
        let fits = *prefix == PREFIX
            && *format == FORMAT
            && digest.len() == DIGEST_LENGTH
            && secret.len() == SECRET_LENGTH
            && is_base36(digest)
            && is_base36(secret);
        if !fits {
            return Err(CaError::Token);
        }
        Ok(Self { digest: (*digest).to_owned(), secret: (*secret).to_owned() })
    }

    /// Whether both are the same, in a time that tells nothing about where they differ.
    pub(crate) fn matches(&self, other: &str) -> bool {
        let (a, b) = (self.to_string(), other);
        a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{FORMAT}-{}-{}", self.digest, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{FORMAT}-{}-…", self.digest)
    }
}

/// The digest of a root certificate (PEM), as it stands in tokens.
///
/// # Errors
/// If it is not PEM.
pub(crate) fn digest_of(root_pem: &[u8]) -> Result<String, CaError> {
    let der =
        CertificateDer::from_pem_slice(root_pem).map_err(|_| CaError::Malformed { what: "the root certificate" })?;
    Ok(base36(digest(&SHA256, &der).as_ref(), DIGEST_LENGTH))
}

/// A new secret of 16 random bytes.
pub(crate) fn new_secret() -> String {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    base36(&bytes, SECRET_LENGTH)
}

fn base36(bytes: &[u8], length: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![b'0'; length];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 36).unwrap_or(u8::MAX);
            remainder = value % 36;
        }
        *digit = char::from_digit(remainder, 36).map_or(b'0', |c| c as u8);
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base36_is_padded_and_big_endian() {
        assert_eq!(base36(&[0, 0, 35], 4), "000z");
        assert_eq!(base36(&[1, 0], 4), "0074");
        assert_eq!(base36(&[0xff; 16], SECRET_LENGTH), "f5lxx1zz5pnorynqglhzmsp33");
        assert_eq!(base36(&[0xff; 32], DIGEST_LENGTH), "6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtof");
    }

    #[test]
    fn tokens_survive_the_way_through_text_and_malformed_ones_do_not() {
        let token = JoinToken { digest: base36(&[7; 32], DIGEST_LENGTH), secret: new_secret() };
        let text = token.to_string();
        assert_eq!(JoinToken::parse(&text).unwrap(), token);
        assert!(token.matches(&text));
        assert!(!token.matches(&text[..text.len() - 1]));
        for bad in
            ["", "SWMTKN-1-a-b", &text[..text.len() - 1], &text.replace("SWMTKN-1", "SWMTKN-2"), &text.to_uppercase()]
        {
            assert!(matches!(JoinToken::parse(bad), Err(CaError::Token)), "{bad}");
            assert!(!token.matches(bad));
        }
    }
}
