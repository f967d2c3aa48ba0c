//! Compiled filters on disk, so that starting a container neither parses nor compiles a profile.
//!
//! A file is named by what it was compiled from, and starts with the hash of the rest: anything
//! else found there is ignored and replaced. Losing a race or the file costs a compilation.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::kernel::sys::FilterInstruction;

/// Changes when the compiler does.
const FORMAT: &str = concat!("skep filter 1 ", env!("CARGO_PKG_VERSION"));
const HASH_LEN: usize = 32;
const INSTRUCTION_LEN: usize = 8;
/// Longest file worth reading: the kernel's limit of instructions.
const FILE_LEN_MAX: u64 = (HASH_LEN + 4096 * INSTRUCTION_LEN) as u64;

/// Name of the file for a profile and a set of capabilities on the running kernel.
pub(super) fn key(profile: &str, capability_set: u64) -> String {
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [FORMAT, release.as_str(), profile] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(capability_set.to_le_bytes());
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The filter, if it is there and whole.
pub(super) fn load(directory: &Path, key: &str) -> Option<Vec<FilterInstruction>> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(directory.join(key))
        .ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return None;
    }
    let mut content = Vec::new();
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut content).ok()?;
    let (hash, body) = content.split_at_checked(HASH_LEN)?;
    let (chunks, rest) = body.as_chunks::<INSTRUCTION_LEN>();
    if body.is_empty() || !rest.is_empty() || Sha256::digest(body).as_slice() != hash {
        return None;
    }
    let decode = |bytes: &[u8; INSTRUCTION_LEN]| {
        let [c0, c1, jump_true, jump_false, o0, o1, o2, o3] = *bytes;
        FilterInstruction {
            code: u16::from_le_bytes([c0, c1]),
            jump_true,
            jump_false,
            operand: u32::from_le_bytes([o0, o1, o2, o3]),
        }
    };
    Some(chunks.iter().map(decode).collect())
}

/// Keeps a filter. Failing to is no error.
pub(super) fn store(directory: &Path, key: &str, program: &[FilterInstruction]) {
    let mut body = Vec::with_capacity(program.len() * INSTRUCTION_LEN);
    for op in program {
        body.extend(op.code.to_le_bytes());
        body.extend([op.jump_true, op.jump_false]);
        body.extend(op.operand.to_le_bytes());
    }
    let hash = Sha256::digest(&body);
    let write = || -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&hash)?;
        file.write_all(&body)?;
        file.persist(directory.join(key))?;
        Ok(())
    };
    if let Err(error) = write() {
        tracing::debug!(%error, directory = %directory.display(), "cannot keep a compiled filter");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn program() -> Vec<FilterInstruction> {
        let op = |number: u32| FilterInstruction {
            code: 0x15,
            jump_true: number as u8,
            jump_false: 3,
            operand: 0xdead_0000 | number,
        };
        (0..40).map(op).collect()
    }

    #[test]
    fn what_was_kept_is_found_again_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, key) = (directory.path().join("filters"), key("profile", 5));
        assert_eq!(load(&path, &key), None);
        store(&path, &key, &program());
        assert_eq!(load(&path, &key), Some(program()));
        let file = path.join(&key);
        let whole = fs::read(&file).unwrap();
        for damage in 0..whole.len() {
            let mut broken = whole.clone();
            broken[damage] ^= 1;
            fs::write(&file, &broken).unwrap();
            assert_eq!(load(&path, &key), None, "bit flipped in byte {damage}");
        }
        for length in [0, 10, 32, 40, whole.len() - 1] {
            fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(load(&path, &key), None, "cut off at {length}");
        }
        store(&path, &key, &program());
        assert_eq!(load(&path, &key), Some(program()));
    }

    #[test]
    fn keys_differ_with_what_the_filter_depends_on() {
        assert_ne!(key("a", 1), key("a", 2));
        assert_ne!(key("a", 1), key("b", 1));
        assert_eq!(key("a", 1), key("a", 1));
    }
}
