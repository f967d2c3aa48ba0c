//! The frame of one record in the raft log, and what to think of bytes that are none.
//!
//! A record is `mark, length, sealed bytes`; its number in the file is part of the seal, so that records cannot be
//! moved. Called by the log only.

use openraft::{Entry, LogId, Vote};
use serde::{Deserialize, Serialize};

use super::seal::SEAL_BYTES;
use super::{DiskKey, RaftId, TypeConfig};

const MARK: &[u8; 4] = b"\xf5rec";
/// Bytes of mark and length.
pub(super) const FRAME: usize = 8;
const RECORD_BYTES_MAX: usize = 256 << 20;
/// The shortest record there is, `{"Append":[]}`, sealed and framed.
const RECORD_BYTES_MIN: usize = FRAME + SEAL_BYTES + 13;

/// An entry of the log.
pub(super) type LogEntry = Entry<TypeConfig>;

/// What is written at once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    /// The newest vote.
    Vote(Vote<RaftId>),
    /// Entries behind all others.
    Append(Vec<LogEntry>),
    /// Entries from this index on are gone.
    Truncate(u64),
    /// Entries up to this one are gone.
    Purge(LogId<RaftId>),
}

/// The bytes of a record, as they are appended.
///
/// # Errors
/// If it is too long to be read again.
pub(super) fn encode(record: &Record, number: u64, key: &DiskKey) -> Result<Vec<u8>, std::io::Error> {
    let plain = serde_json::to_vec(record)?;
    let sealed = key.seal(&number.to_le_bytes(), plain).map_err(std::io::Error::other)?;
    let length = record_length(sealed.len())?;
    let mut bytes = Vec::with_capacity(FRAME + sealed.len());
    bytes.extend_from_slice(MARK);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend(sealed);
    Ok(bytes)
}

/// A longer record would be refused when it is read.
fn record_length(bytes: usize) -> Result<u32, std::io::Error> {
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= RECORD_BYTES_MAX);
    length.ok_or_else(|| std::io::Error::other(format!("a record of {bytes} bytes is too long for the raft log")))
}

/// The record at the start of `content` with its size; `None` if it is not whole or not genuine.
pub(super) fn read(content: &[u8], number: u64, key: &DiskKey) -> Option<(Record, usize)> {
    let (frame, rest) = content.split_at_checked(FRAME)?;
    let (mark, length) = frame.split_at(MARK.len());
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    if mark != MARK || length > RECORD_BYTES_MAX {
        return None;
    }
    let plain = key.open(&number.to_le_bytes(), rest.get(..length)?).ok()?;
    let record = serde_json::from_slice(&plain).ok()?;
    Some((record, FRAME + length))
}

/// Whether `tail`, which begins where record `number` should and does not, is what a crash leaves of the record that was
/// being written. It is not where another record was begun behind it.
///
/// How many records a hole has swallowed is not known, so a record behind it may have any number for which there was
/// room. Nor need its seal be looked at where another record follows in turn: that four random bytes are a mark, and the
/// length behind them leads to a mark again, is not to be expected.
pub(super) fn is_torn(tail: &[u8], number: u64, key: &DiskKey) -> bool {
    let frames = || (1..tail.len()).filter(|offset| tail[*offset..].starts_with(MARK));
    let begun_behind_damaged = next_frame(tail).is_some_and(|next| next.starts_with(MARK));
    // A seal that does not open at the very start, with more behind it, is another node's file.
    let of_another_node = number == 0 && next_frame(tail).is_some_and(|next| !next.is_empty());
    let chained = || frames().any(|offset| next_frame(&tail[offset..]).is_some_and(|next| next.starts_with(MARK)));
    let sealed = || {
        frames().any(|offset| {
            let swallowed_max = (offset / RECORD_BYTES_MIN) as u64;
            next_frame(&tail[offset..]).is_some()
                && (number + 1..=number + swallowed_max.max(1)).any(|later| read(&tail[offset..], later, key).is_some())
        })
    };
    !(begun_behind_damaged || of_another_node || chained() || sealed())
}

/// What lies behind the frame at the start of `content`; `None` if there is no frame, or not the whole of it.
fn next_frame(content: &[u8]) -> Option<&[u8]> {
    let (frame, rest) = content.split_at_checked(FRAME)?;
    let (mark, length) = frame.split_at(MARK.len());
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    if mark != MARK || length > RECORD_BYTES_MAX { None } else { rest.get(length..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_could_not_be_read_again_is_not_written() {
        assert!(record_length(RECORD_BYTES_MAX).is_ok());
        assert!(record_length(RECORD_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn no_record_is_shorter_than_the_shortest() {
        let key = DiskKey::new(&[3; 32]).unwrap();
        assert_eq!(encode(&Record::Append(Vec::new()), 0, &key).unwrap().len(), RECORD_BYTES_MIN);
        for record in [Record::Truncate(0), Record::Vote(Vote::default())] {
            assert!(encode(&record, 0, &key).unwrap().len() >= RECORD_BYTES_MIN);
        }
    }
}
