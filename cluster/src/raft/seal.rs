//! Encryption at rest: each record is sealed with a key which lies beside the node's private key.

use rand::Rng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const KEY_BYTES: usize = 32;
/// By so many bytes sealed data is longer: the nonce and the tag.
pub(super) const SEAL_BYTES: usize = NONCE_LEN + 16;

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The key does not have 32 bytes.
    #[error("the key of the raft log is damaged")]
    Key,
    /// The data was not sealed with this key for this place, or has been changed.
    #[error("the data is damaged or was not written by this node")]
    Open,
}

/// The key of a node's raft files.
pub(crate) struct DiskKey {
    key: LessSafeKey,
}

impl std::fmt::Debug for DiskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskKey")
    }
}

impl DiskKey {
    /// Random bytes for a new key.
    pub(crate) fn generate() -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }

    /// The key made of the bytes in its file.
    ///
    /// # Errors
    /// If it has another length.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::Key)?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// Seals `plain` for the place `context`, which must be given again to open it.
    ///
    /// # Errors
    /// If it is too long to be sealed.
    pub(crate) fn seal(&self, context: &[u8], mut plain: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut plain)
            .map_err(|_| SealError::Key)?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut plain);
        Ok(sealed)
    }

    /// Opens what [`DiskKey::seal`] made.
    ///
    /// # Errors
    /// If it was not sealed with this key for this place, or has been changed.
    pub(crate) fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Open)?;
        let mut body = body.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| SealError::Open)?;
        Ok(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_place_open() {
        let key = DiskKey::new(&DiskKey::generate()).unwrap();
        let sealed = key.seal(b"1", b"text".to_vec()).unwrap();
        assert_eq!(key.open(b"1", &sealed).unwrap(), b"text");
        assert!(key.open(b"2", &sealed).is_err());
        assert!(DiskKey::new(&DiskKey::generate()).unwrap().open(b"1", &sealed).is_err());
        assert!(!sealed.windows(4).any(|w| w == b"text"));
        assert!(key.open(b"1", &sealed[..5]).is_err());
        assert!(DiskKey::new(b"short").is_err());
    }
}
