//! The keys that leave a container running.

/// Finds them in what the user types.
#[derive(Debug)]
pub(super) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// `None` is Ctrl-P Ctrl-Q; without a key, nothing is found.
    pub(super) fn new(keys: Option<&[u8]>) -> Self {
        Self { keys: keys.unwrap_or(&[0x10, 0x11]).to_vec(), matched: 0 }
    }

    /// What the program is to get, and whether the user leaves. Keys that might be the beginning are held back until the
    /// next one.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_across_reads_and_passed_on_otherwise() {
        let mut keys = DetachKeys::new(None);
        assert_eq!(keys.take(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.take(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.take(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.take(b"\x11rest"), (Vec::new(), true));
        assert_eq!(DetachKeys::new(Some(b"")).take(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
