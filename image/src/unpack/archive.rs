//! Reads the entries of a tar archive: ustar, GNU (long names, sparse files) and PAX.
//!
//! Header fields are decoded by the `tar` crate. The sequence of headers is followed here, because its
//! reader keeps extension headers of any size in memory, and splits PAX records at newlines, which
//! attribute values may contain. Where readers are known to disagree about an archive
//! (CVE-2025-62518, RUSTSEC-2026-0068), it is read as Go's `archive/tar` does, or refused.

use std::io::{self, BufRead};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::error::{UnpackError, display_name};

const BLOCK: usize = 512;
/// Long names and PAX records together with their attributes, in bytes (the limit of Go's reader).
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
const SPARSE_RUNS_MAX: usize = 1 << 16;
/// The largest file: what ext4 can hold, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 44;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry, its extension headers applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, u32),
    /// The size of the file once written, in bytes.
    pub(super) size: u64,
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data belongs, as offset and length; the rest is holes.
    pub(super) sparse: Option<Vec<(u64, u64)>>,
}

/// An archive being read.
pub(super) struct Archive<R> {
    reader: R,
    /// Data of the current entry that was not read yet, in bytes.
    data_left: u64,
    padding: u64,
}

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

fn malformed(reason: impl Into<String>) -> UnpackError {
    UnpackError::Malformed { reason: reason.into() }
}

impl<R: BufRead> Archive<R> {
    pub(super) fn new(reader: R) -> Archive<R> {
        Archive { reader, data_left: 0, padding: 0 }
    }

    /// The next entry; `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extensions = Extensions::default();
        let mut described = false;
        loop {
            self.skip_entry()?;
            let Some(header) = self.header()? else {
                let complete = !described;
                return if complete { Ok(None) } else { Err(malformed("it ends after an extension header")) };
            };
            let kind = header.entry_type();
            let size = number(&header.as_old().size, header.entry_size())?;
            described = true;
            match kind {
                EntryType::GNULongName => set_once(&mut extensions.path, self.extension_text(size)?)?,
                EntryType::GNULongLink => set_once(&mut extensions.link, self.extension_text(size)?)?,
                EntryType::XHeader => {
                    let pax = parse_pax(&self.extension(size)?)?;
                    set_once(&mut extensions.pax, pax)?;
                }
                EntryType::XGlobalHeader => {
                    self.expect_data(size)?;
                    described = false;
                }
                _ => return self.entry(&header, size, extensions).map(Some),
            }
        }
    }

    /// Hands the data of the current entry over piece by piece: at most `length` bytes of it.
    pub(super) fn read_data(
        &mut self,
        length: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        let mut wanted = length.min(self.data_left);
        while wanted > 0 {
            let available = self.reader.fill_buf().map_err(UnpackError::Decompress)?;
            if available.is_empty() {
                return Err(malformed("it ends in the middle of an entry"));
            }
            let piece = available.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
            sink(&available[..piece])?;
            self.reader.consume(piece);
            wanted -= piece as u64;
            self.data_left -= piece as u64;
        }
        Ok(())
    }

    /// What follows the archive: padding, to be read to its end for the digest's sake.
    pub(super) fn finish(mut self, bytes_max: u64) -> Result<(), UnpackError> {
        let mut read = 0;
        loop {
            let available = self.reader.fill_buf().map_err(UnpackError::Decompress)?.len();
            if available == 0 {
                return Ok(());
            }
            self.reader.consume(available);
            read += available as u64;
            if read > bytes_max {
                return Err(malformed("data follows its end"));
            }
        }
    }

    fn skip_entry(&mut self) -> Result<(), UnpackError> {
        self.read_data(u64::MAX, |_| Ok(()))?;
        let padding = std::mem::take(&mut self.padding);
        self.data_left = padding;
        self.read_data(u64::MAX, |_| Ok(()))
    }

    fn expect_data(&mut self, size: u64) -> Result<(), UnpackError> {
        if size > u64::MAX / 2 {
            return Err(malformed("a size is out of range"));
        }
        self.data_left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// Reads a block; `None` at the end of the input.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(malformed("it ends in the middle of a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Decompress(error)),
            }
        }
        Ok(Some(block))
    }

    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            return match self.block()? {
                Some(next) if next.iter().any(|byte| *byte != 0) => {
                    Err(malformed("an empty header is followed by more"))
                }
                _ => Ok(None),
            };
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum = |signed: bool| -> i64 {
            let value = |byte: &u8| if signed { i64::from(byte.cast_signed()) } else { i64::from(*byte) };
            block[..148].iter().chain(&block[156..]).map(value).sum::<i64>() + 8 * 32
        };
        let stated = header.cksum().map(i64::from).map_err(|_| malformed("a header has no checksum"))?;
        // Some old writers summed signed bytes.
        if stated == sum(false) || stated == sum(true) {
            Ok(Some(header))
        } else {
            Err(malformed("a header's checksum is wrong"))
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > EXTENSION_BYTES_MAX {
            let reason = format!("an extension header has {size} bytes, at most {EXTENSION_BYTES_MAX} are read");
            return Err(UnpackError::Limit { reason });
        }
        self.expect_data(size)?;
        let mut bytes = Vec::new();
        self.read_data(u64::MAX, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn extension_text(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        let mut text = self.extension(size)?;
        if let Some(end) = text.iter().position(|byte| *byte == 0) {
            text.truncate(end);
        }
        Ok(text)
    }

    fn entry(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Entry, UnpackError> {
        let pax = extensions.pax.unwrap_or_default();
        let path = one_of(extensions.path, pax.path)?.unwrap_or_else(|| header.path_bytes().into_owned());
        let in_header = || header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        let link = one_of(extensions.link, pax.link)?.unwrap_or_else(in_header);
        let kind = entry_kind(header.entry_type(), &path)?;
        let fields = header.as_old();
        let size = pax.size.unwrap_or(size);
        let sparse = header.entry_type() == EntryType::GNUSparse;
        let (size, sparse) = if sparse {
            let (size, runs) = self.sparse_runs(header, size)?;
            (size, Some(runs))
        } else {
            // Of links and devices the size means nothing, and no data follows.
            self.expect_data(if kind == Kind::File { size } else { 0 })?;
            (size, None)
        };
        if size > FILE_BYTES_MAX {
            return Err(UnpackError::Limit { reason: format!("entry {:?} has {size} bytes", display_name(&path)) });
        }
        let owner = |pax: Option<u64>, field: &[u8], value: io::Result<u64>| -> Result<u32, UnpackError> {
            let id = pax.map_or_else(|| number(field, value), Ok)?;
            // The last one means "no change" to chown(2).
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| UnpackError::Refused {
                entry: display_name(&path),
                reason: format!("its owner {id} is out of range"),
            })
        };
        let device = |value: io::Result<Option<u32>>| value.ok().flatten().unwrap_or(0);
        let seconds = number(&fields.mtime, header.mtime())?.cast_signed();
        let mode = number(&fields.mode, header.mode().map(u64::from))?;
        Ok(Entry {
            kind,
            mode: u32::try_from(mode & 0o7777).unwrap_or_default(),
            uid: owner(pax.uid, &fields.uid, header.uid())?,
            gid: owner(pax.gid, &fields.gid, header.gid())?,
            mtime: pax.mtime.unwrap_or((clamp_seconds(seconds), 0)),
            size,
            device: (device(header.device_major()), device(header.device_minor())),
            xattrs: pax.xattrs,
            sparse,
            path,
            link,
        })
    }

    /// The map of a GNU sparse file, and its size with holes.
    fn sparse_runs(&mut self, header: &Header, stored: u64) -> Result<(u64, Vec<(u64, u64)>), UnpackError> {
        let gnu = header.as_gnu().ok_or_else(|| malformed("a sparse file has no GNU header"))?;
        let size = gnu.real_size().map_err(|_| malformed("a sparse file has no size"))?;
        let mut runs = Vec::new();
        add_runs(&mut runs, &gnu.sparse)?;
        let mut extended = gnu.is_extended();
        while extended {
            let block = self.block()?.ok_or_else(|| malformed("it ends in the middle of a header"))?;
            let mut extension = GnuExtSparseHeader::new();
            extension.as_mut_bytes().copy_from_slice(&block);
            add_runs(&mut runs, extension.sparse())?;
            extended = extension.is_extended();
            if runs.len() > SPARSE_RUNS_MAX {
                return Err(UnpackError::Limit { reason: "a sparse file has too many parts".into() });
            }
        }
        let mut end = 0_u64;
        let mut total = 0_u64;
        for (offset, length) in &runs {
            let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size);
            end = next.ok_or_else(|| malformed("the parts of a sparse file are out of order"))?;
            total += length;
        }
        if total != stored {
            return Err(malformed("the parts of a sparse file do not add up"));
        }
        self.expect_data(stored)?;
        Ok((size, runs))
    }
}

/// A field's value; one that was left empty is zero.
fn number(field: &[u8], value: io::Result<u64>) -> Result<u64, UnpackError> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    value.map_err(|_| malformed("a field is not a number"))
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), UnpackError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("two extension headers of one kind describe one entry")),
    }
}

/// A name given by GNU or by PAX headers; given by both, readers disagree on which counts.
fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, UnpackError> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => Err(malformed("an entry is given two names")),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

fn entry_kind(kind: EntryType, path: &[u8]) -> Result<Kind, UnpackError> {
    Ok(match kind {
        // Before POSIX a directory was a file whose name ends so.
        EntryType::Regular if kind.as_byte() == 0 && path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::CharacterDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let reason = format!("its type {:?} is unknown", char::from(other.as_byte()));
            return Err(UnpackError::Refused { entry: display_name(path), reason });
        }
    })
}

fn add_runs(runs: &mut Vec<(u64, u64)>, headers: &[GnuSparseHeader]) -> Result<(), UnpackError> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        let number = |value: io::Result<u64>| value.map_err(|_| malformed("a sparse file's map is not numbers"));
        runs.push((number(header.offset())?, number(header.length())?));
    }
    Ok(())
}

/// Parses `LENGTH KEY=VALUE\n` records, where LENGTH counts the whole record.
fn parse_pax(mut bytes: &[u8]) -> Result<Pax, UnpackError> {
    let mut pax = Pax::default();
    while !bytes.is_empty() {
        let bad = || malformed("a PAX record is malformed");
        let space = bytes.iter().position(|byte| *byte == b' ').filter(|space| *space > 0 && *space < 10);
        let space = space.ok_or_else(bad)?;
        let length: usize = ascii_number(&bytes[..space]).and_then(|n| n.try_into().ok()).ok_or_else(bad)?;
        let record = bytes.get(space + 1..length).ok_or_else(bad)?;
        let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|byte| *byte == b'=').filter(|equals| *equals > 0).ok_or_else(bad)?;
        apply_pax(&mut pax, &record[..equals], &record[equals + 1..])?;
        bytes = &bytes[length..];
    }
    Ok(pax)
}

fn apply_pax(pax: &mut Pax, key: &[u8], value: &[u8]) -> Result<(), UnpackError> {
    let number = || ascii_number(value).ok_or_else(|| malformed("a PAX number is malformed"));
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        pax.xattrs.push((name.to_vec(), value.to_vec()));
        return Ok(());
    }
    if key.starts_with(b"GNU.sparse.") {
        return Err(malformed("it has a sparse file in PAX format, which is not supported"));
    }
    if value.is_empty() {
        return Ok(());
    }
    match key {
        b"path" => pax.path = Some(value.to_vec()),
        b"linkpath" => pax.link = Some(value.to_vec()),
        b"size" => pax.size = Some(number()?),
        b"uid" => pax.uid = Some(number()?),
        b"gid" => pax.gid = Some(number()?),
        b"mtime" => pax.mtime = Some(parse_time(value).ok_or_else(|| malformed("a PAX time is malformed"))?),
        _ => {}
    }
    Ok(())
}

fn ascii_number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Parses `[-]SECONDS[.FRACTION]`, rounding towards the past.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = clamp_seconds(i64::try_from(ascii_number(seconds.as_bytes())?).ok()?);
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// Times beyond what file systems keep are brought into range.
fn clamp_seconds(seconds: i64) -> i64 {
    const LIMIT: i64 = 1 << 40;
    seconds.clamp(-LIMIT, LIMIT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_fractions() {
        assert_eq!(parse_time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_time(b"12"), Some((12, 0)));
        assert_eq!(parse_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_time(b"1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(parse_time(b"99999999999999999"), Some((1 << 40, 0)));
        for text in ["", "x", "1.x", "--1", "1.2.3", "\u{e9}"] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn pax_records_are_split_by_their_lengths() {
        let pax = parse_pax(b"12 path=a\nb\n9 uid=12\n").unwrap();
        assert_eq!(pax.path.unwrap(), b"a\nb");
        assert_eq!(pax.uid, Some(12));
        for bytes in [&b"x"[..], b"99 a=b\n", b"0 a=b\n", b"6 a=bc", b"6 =abc\n", b"-6 a=b\n"] {
            assert!(parse_pax(bytes).is_err(), "{bytes:?}");
        }
    }
}
