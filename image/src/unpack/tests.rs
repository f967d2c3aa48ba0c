//! Tests of unpacking: what archives may do, and what they may not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;
use crate::digest::Digest;

/// An archive under construction; headers are written as given, also impossible ones.
#[derive(Default)]
struct Builder(Vec<u8>);

impl Builder {
    fn header(kind: EntryType, name: &str, size: u64) -> Header {
        let mut header = Header::new_gnu();
        let bytes = name.as_bytes();
        header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(size);
        header
    }

    fn raw(mut self, mut header: Header, data: &[u8]) -> Builder {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &str) -> Builder {
        self.raw(Self::header(EntryType::Regular, name, data.len() as u64), data.as_bytes())
    }

    fn directory(self, name: &str, mode: u32) -> Builder {
        let mut header = Self::header(EntryType::Directory, name, 0);
        header.set_mode(mode);
        self.raw(header, b"")
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Builder {
        let mut header = Self::header(kind, name, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Builder {
        self.link(EntryType::Symlink, name, target)
    }

    fn hard_link(self, name: &str, target: &str) -> Builder {
        self.link(EntryType::Link, name, target)
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Builder {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw(Self::header(EntryType::XHeader, "pax", data.len() as u64), &data)
    }

    fn gnu_long(self, kind: EntryType, text: &str) -> Builder {
        let data = format!("{text}\0");
        self.raw(Self::header(kind, "././@LongLink", data.len() as u64), data.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

struct Unpacked {
    directory: tempfile::TempDir,
    result: Result<u64, UnpackError>,
}

impl Unpacked {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("root").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    #[track_caller]
    fn ok(self) -> Unpacked {
        if let Err(error) = &self.result {
            panic!("{error}: {error:?}");
        }
        self
    }
}

fn unpack_bytes(archive: &[u8]) -> Unpacked {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(directory.path().join("outside"), "untouched").unwrap();
    let result = unpack(BufReader::with_capacity(1000, archive), &root);
    assert_eq!(fs::read_to_string(directory.path().join("outside")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing appears beside the root");
    Unpacked { directory, result }
}

#[track_caller]
fn check_escape(builder: Builder, entry: &str) {
    let error = unpack_bytes(&builder.end()).result.unwrap_err();
    let expected = format!("entry {entry:?} escapes the image root: ");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[track_caller]
fn check_refused(builder: Builder, words: &str) {
    let error = unpack_bytes(&builder.end()).result.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn files_directories_and_links_are_made_with_their_attributes() {
    let mut setuid = Builder::header(EntryType::Regular, "bin/su", 4);
    setuid.set_mode(0o4755);
    setuid.set_uid(3);
    setuid.set_gid(70_000);
    let archive = Builder::default()
        .directory("./", 0o755)
        .directory("bin/", 0o1777)
        .raw(setuid, b"code")
        .symlink("bin/sh", "/absolute/is/data")
        .hard_link("su2", "bin/su")
        .file("deep/er/implied", "x")
        .file("/absolute", "kept inside");
    let unpacked = unpack_bytes(&archive.end()).ok();
    let status = fs::metadata(unpacked.path("bin/su")).unwrap();
    assert_eq!((status.mode() & 0o7777, status.uid(), status.gid()), (0o4755, 3, 70_000));
    assert_eq!((status.mtime(), status.nlink()), (1_700_000_000, 2));
    let directory = fs::metadata(unpacked.path("bin")).unwrap();
    assert_eq!((directory.mode() & 0o7777, directory.mtime()), (0o1777, 1_700_000_000));
    assert_eq!(fs::metadata(unpacked.path("")).unwrap().mtime(), 1_700_000_000);
    assert_eq!(fs::read_link(unpacked.path("bin/sh")).unwrap(), Path::new("/absolute/is/data"));
    assert_eq!(fs::symlink_metadata(unpacked.path("bin/sh")).unwrap().mtime(), 1_700_000_000);
    assert_eq!(unpacked.text("deep/er/implied"), "x");
    assert_eq!(unpacked.text("absolute"), "kept inside");
    assert_eq!(unpacked.result.as_ref().unwrap(), &16);
}

#[test]
fn the_umask_has_no_say() {
    let thread = std::thread::spawn(|| {
        // A umask of its own: the other tests go on.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        let archive = Builder::default().file("deep/er/implied", "x").directory("listed/", 0o755);
        let unpacked = unpack_bytes(&archive.end()).ok();
        ["deep", "deep/er", "listed"].map(|name| fs::metadata(unpacked.path(name)).unwrap().mode() & 0o7777)
    });
    assert_eq!(thread.join().unwrap(), [0o755; 3]);
}

#[test]
fn devices_and_fifos_are_made() {
    let mut null = Builder::header(EntryType::Char, "dev/null", 0);
    null.set_mode(0o666);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    let mut disk = Builder::header(EntryType::Block, "dev/disk", 0);
    disk.set_device_major(8).unwrap();
    disk.set_device_minor(1).unwrap();
    let fifo = Builder::header(EntryType::Fifo, "dev/fifo", 0);
    let unpacked = unpack_bytes(&Builder::default().raw(null, b"").raw(disk, b"").raw(fifo, b"").end()).ok();
    let status = fs::metadata(unpacked.path("dev/null")).unwrap();
    assert!(status.file_type().is_char_device());
    assert_eq!((status.rdev(), status.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o666));
    assert!(fs::metadata(unpacked.path("dev/disk")).unwrap().file_type().is_block_device());
    assert!(fs::symlink_metadata(unpacked.path("dev/fifo")).unwrap().file_type().is_fifo());
}

#[test]
fn whiteouts_become_what_overlayfs_understands() {
    let archive = Builder::default()
        .file("a/.wh.gone", "")
        .file("b/.wh..wh..opq", "")
        .file("c/kept", "new")
        .file("c/.wh.kept", "")
        .directory("d/both/", 0o755)
        .file("d/.wh.both", "")
        .file("e/.wh.later", "")
        .directory("e/later/", 0o755)
        .file(".wh..wh.aufs", "")
        .directory(".wh..wh.plnk/", 0o700)
        .file(".wh..wh.plnk/1.2", "");
    let unpacked = unpack_bytes(&archive.end()).ok();
    let gone = fs::symlink_metadata(unpacked.path("a/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for opaque in ["b", "d/both", "e/later"] {
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(unpacked.path(opaque), "trusted.overlay.opaque", &mut value).unwrap();
        assert_eq!(&value[..length], b"y", "{opaque}");
    }
    assert_eq!(unpacked.text("c/kept"), "new");
    assert_eq!(fs::read_dir(unpacked.path("")).unwrap().count(), 5);
}

#[test]
fn extended_attributes_are_kept_if_they_are_the_containers_business() {
    let capability = b"\x01\x00\x00\x02\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let archive = Builder::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"system_u:object_r:bin_t:s0"),
            ("mtime", b"1700000000.123456789"),
        ])
        .file("ping", "x");
    let unpacked = unpack_bytes(&archive.end()).ok();
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(unpacked.path("ping"), "security.capability", &mut value).unwrap();
    assert_eq!(&value[..length], capability, "also with a newline in it");
    let mut names = [0; 256];
    let length = rustix::fs::listxattr(unpacked.path("ping"), &mut names).unwrap();
    assert_eq!(&names[..length], b"security.capability\0");
    assert_eq!(fs::metadata(unpacked.path("ping")).unwrap().mtime_nsec(), 123_456_789);
}

#[test]
fn long_names_are_read_from_gnu_and_pax_headers() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(150));
    let target = "t".repeat(300);
    let archive = Builder::default()
        .gnu_long(EntryType::GNULongName, &long)
        .file("short", "gnu")
        .pax(&[("path", b"p/name"), ("uid", b"7"), ("size", b"3")])
        .file("other", "pax")
        .gnu_long(EntryType::GNULongLink, &target)
        .symlink("link", "x");
    let unpacked = unpack_bytes(&archive.end()).ok();
    assert_eq!(unpacked.text(&long), "gnu");
    assert_eq!(unpacked.text("p/name"), "pax");
    assert_eq!(fs::metadata(unpacked.path("p/name")).unwrap().uid(), 7);
    assert_eq!(fs::read_link(unpacked.path("link")).unwrap(), Path::new(&target));
    assert_eq!(fs::read_dir(unpacked.path("")).unwrap().count(), 3);
}

#[test]
fn sparse_files_keep_their_holes() {
    let mut header = Builder::header(EntryType::GNUSparse, "sparse", 6);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 30);
    gnu.sparse[0].set_offset(0);
    gnu.sparse[0].set_length(3);
    gnu.sparse[1].set_offset(1 << 20);
    gnu.sparse[1].set_length(3);
    let unpacked = unpack_bytes(&Builder::default().raw(header, b"abcdef").file("next", "n").end()).ok();
    let status = fs::metadata(unpacked.path("sparse")).unwrap();
    assert_eq!(status.len(), 1 << 30);
    assert!(status.blocks() < 1000);
    use std::os::unix::fs::FileExt;
    let mut data = [0; 3];
    fs::File::open(unpacked.path("sparse")).unwrap().read_exact_at(&mut data, 1 << 20).unwrap();
    assert_eq!(&data, b"def");
    assert_eq!(unpacked.text("next"), "n");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let archive = Builder::default()
        .file("x/deep/file", "1")
        .file("x", "now a file")
        .symlink("y", "x")
        .directory("y/", 0o711)
        .file("y/in", "2")
        .file("z", "old")
        .hard_link("z", "x")
        .hard_link("z", "z");
    let unpacked = unpack_bytes(&archive.end()).ok();
    assert_eq!(unpacked.text("x"), "now a file");
    assert_eq!(unpacked.text("y/in"), "2");
    assert_eq!(unpacked.text("z"), "now a file");
}

#[test]
fn links_that_stay_inside_are_followed() {
    let archive = Builder::default()
        .directory("usr/lib/", 0o755)
        .symlink("lib", "usr/lib")
        .file("lib/a.so", "a")
        .symlink("usr/back", "../lib")
        .file("usr/back/b.so", "b")
        .hard_link("c.so", "lib/a.so");
    let unpacked = unpack_bytes(&archive.end()).ok();
    assert_eq!(unpacked.text("usr/lib/a.so"), "a");
    assert_eq!(unpacked.text("usr/lib/b.so"), "b");
    assert_eq!(unpacked.text("c.so"), "a");
}

#[test]
fn names_that_lead_above_the_root_are_refused() {
    check_escape(Builder::default().file("../outside", "x"), "../outside");
    check_escape(Builder::default().file("../../etc/passwd", "x"), "../../etc/passwd");
    check_escape(Builder::default().file("a/../../outside", "x"), "a/../../outside");
    check_escape(Builder::default().file("/../outside", "x"), "/../outside");
    check_escape(Builder::default().directory("..", 0o777), "..");
    check_escape(Builder::default().file("./", "x"), "./");
    check_escape(Builder::default().symlink("a", "..").file("a/outside", "x"), "a/outside");
    check_escape(Builder::default().file(".wh...", ""), ".wh...");
    check_escape(Builder::default().file("a/.wh..", ""), "a/.wh..");
    check_escape(Builder::default().file("../.wh.outside", ""), "../.wh.outside");
    check_escape(Builder::default().pax(&[("path", b"a\0b")]).file("a", ""), "a\0b");
}

#[test]
fn links_out_of_the_root_are_not_written_through() {
    check_escape(Builder::default().symlink("evil", "/etc").file("evil/passwd", "x"), "evil/passwd");
    check_escape(Builder::default().symlink("evil", "../").file("evil/outside", "x"), "evil/outside");
    check_escape(Builder::default().symlink("a", "b").symlink("b", "a").file("a/x", "x"), "a/x");
    check_escape(Builder::default().symlink("e", "/etc").directory("e/new/", 0o777), "e/new/");
    check_escape(Builder::default().symlink("e", "..").file("e/.wh.outside", ""), "e/.wh.outside");
    // A link as the last step is replaced, not followed.
    let archive = Builder::default().symlink("evil", "../outside").file("evil", "inside");
    assert_eq!(unpack_bytes(&archive.end()).ok().text("evil"), "inside");
    let archive = Builder::default().symlink("evil", "../").directory("evil/", 0o777);
    assert!(fs::symlink_metadata(unpack_bytes(&archive.end()).ok().path("evil")).unwrap().is_dir());
}

#[test]
fn hard_links_out_of_the_root_are_refused() {
    check_escape(Builder::default().hard_link("x", "../outside"), "x");
    check_escape(Builder::default().hard_link("x", "/etc/passwd"), "x");
    check_escape(Builder::default().symlink("e", "/etc").hard_link("x", "e/passwd"), "x");
    check_escape(Builder::default().symlink("e", "..").hard_link("x", "e/outside"), "x");
    check_refused(Builder::default().directory("d/", 0o755).hard_link("x", "d"), "is a directory");
    // A hard link to a link is a link, and opens nothing.
    let archive = Builder::default().symlink("s", "../outside").hard_link("h", "s").file("h", "inside");
    assert_eq!(unpack_bytes(&archive.end()).ok().text("h"), "inside");
}

#[test]
fn excess_is_refused() {
    let deep = "d/".repeat(2000);
    check_escape(
        Builder::default().gnu_long(EntryType::GNULongName, &deep).file("x", ""),
        &format!("{}…", &deep[..200]),
    );
    let long = "d/".repeat(3000);
    check_escape(
        Builder::default().gnu_long(EntryType::GNULongName, &long).file("x", ""),
        &format!("{}…", &long[..200]),
    );
    check_refused(
        Builder::default().gnu_long(EntryType::GNULongName, &"n".repeat(300)).file("x", ""),
        "cannot create entry",
    );
    let huge = Builder::header(EntryType::XHeader, "pax", 10 << 30);
    check_refused(Builder::default().raw(huge, b""), "exceeds a limit: an extension header");
    let mut sparse = Builder::header(EntryType::GNUSparse, "sparse", 0);
    sparse.as_gnu_mut().unwrap().set_real_size(1 << 60);
    check_refused(Builder::default().raw(sparse, b""), "exceeds a limit");
    let mut owner = Builder::header(EntryType::Regular, "owned", 0);
    owner.set_uid(u64::from(u32::MAX));
    check_refused(Builder::default().raw(owner, b""), "is out of range");
    check_refused(Builder::default().pax(&[("gid", b"4294967296")]).file("x", ""), "is out of range");
}

#[test]
fn archives_that_readers_read_differently_are_refused() {
    let name = |text| Builder::default().gnu_long(EntryType::GNULongName, text);
    check_refused(name("a").gnu_long(EntryType::GNULongName, "b").file("c", ""), "two extension headers");
    check_refused(name("a").pax(&[("path", b"b")]).file("c", ""), "two names");
    check_refused(name("a"), "ends after an extension header");
    check_refused(Builder::default().pax(&[("size", b"1x")]).file("a", ""), "malformed");
    check_refused(Builder::default().pax(&[("GNU.sparse.major", b"1")]).file("a", ""), "sparse");
    check_refused(Builder::default().raw(Builder::header(EntryType::new(b'V'), "v", 0), b""), "type 'V' is unknown");
    // The size in a PAX header counts: what it covers is data, though it looks like an entry.
    let inner = Builder::default().file("smuggled", "x").0;
    let size = inner.len().to_string();
    let outer =
        Builder::default().pax(&[("size", size.as_bytes())]).raw(Builder::header(EntryType::Regular, "o", 0), &inner);
    let unpacked = unpack_bytes(&outer.file("last", "y").end()).ok();
    assert!(!unpacked.path("smuggled").exists());
    assert_eq!(fs::metadata(unpacked.path("o")).unwrap().len(), inner.len() as u64);
    assert_eq!(unpacked.text("last"), "y");
}

#[test]
fn damaged_archives_are_refused() {
    let archive = Builder::default().file("a", &"x".repeat(2000)).end();
    for length in [1, 511, 513, 1500] {
        let error = unpack_bytes(&archive[..length]).result.unwrap_err();
        assert!(matches!(error, UnpackError::Malformed { .. }), "{error}");
    }
    let mut altered = archive.clone();
    altered[0] = b'b';
    assert!(matches!(unpack_bytes(&altered).result, Err(UnpackError::Malformed { .. })));
    let mut followed = archive.clone();
    followed.extend_from_slice(&[0; 4096]);
    unpack_bytes(&followed).ok();
    unpack_bytes(&[]).ok();
}

/// Runs the decompressing thread and the writing one as a pull does.
fn decode_all(compressed: &[u8]) -> (Result<Decoded, UnpackError>, Vec<u8>) {
    let (sender, mut reader) = pieces();
    std::thread::scope(|scope| {
        let decoding = scope.spawn(move || {
            let result = decode(compressed, &sender);
            drop(sender);
            result
        });
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut reader, &mut bytes);
        (decoding.join().unwrap(), bytes)
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compression_is_recognised_by_content() {
    let plain: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    let digest = Digest::of(&plain);
    let mut two_members = gzip(&plain[..1000]);
    two_members.extend(gzip(&plain[1000..]));
    let zstd = zstd::stream::encode_all(plain.as_slice(), 1).unwrap();
    for compressed in [plain.clone(), gzip(&plain), two_members, zstd] {
        let (result, bytes) = decode_all(&compressed);
        assert_eq!(result.unwrap(), Decoded::Complete(digest));
        assert!(bytes == plain);
    }
    assert!(matches!(decode_all(b"BZh91AY").0, Err(UnpackError::Compression { method: "bzip2" })));
    assert!(matches!(decode_all(b"\xfd7zXZ\0x").0, Err(UnpackError::Compression { method: "xz" })));
    let whole = gzip(&plain);
    assert!(matches!(decode_all(&whole[..whole.len() / 2]).0, Err(UnpackError::Decompress(_))));
    assert_eq!(decode_all(b"").0.unwrap(), Decoded::Complete(Digest::of(b"")));
}

#[test]
fn a_reader_that_gives_up_stops_the_decompression() {
    let bomb = gzip(&vec![0; 64 << 20]);
    let (sender, reader) = pieces();
    drop(reader);
    assert_eq!(decode(bomb.as_slice(), &sender).unwrap(), Decoded::Abandoned);
}

/// One step of a random archive.
fn any_entry() -> impl Strategy<Value = (u8, String, String)> {
    let step =
        prop_oneof!["[ab]", Just("..".to_owned()), Just(".".to_owned()), Just(".wh.a".to_owned()), Just(String::new())];
    let path = prop::collection::vec(step, 1..4).prop_map(|steps| steps.join("/"));
    let target = prop_oneof![path.clone(), path.clone().prop_map(|path| format!("/{path}"))];
    (0_u8..5, path, target)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_archive_reaches_outside(entries in prop::collection::vec(any_entry(), 1..12)) {
        let mut builder = Builder::default();
        for (kind, path, target) in entries {
            builder = match kind {
                0 => builder.file(&path, "written"),
                1 => builder.directory(&path, 0o755),
                2 => builder.symlink(&path, &target),
                3 => builder.hard_link(&path, &target),
                _ => builder.raw(Builder::header(EntryType::Fifo, &path, 0), b""),
            };
        }
        // Whether accepted or refused: the helper asserts that nothing beside the root changed.
        unpack_bytes(&builder.end());
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2048), valid in any::<bool>()) {
        if valid && bytes.len() >= 512 {
            let sum: u32 = bytes[..148].iter().chain(&bytes[156..512]).map(|b| u32::from(*b)).sum::<u32>() + 256;
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        unpack_bytes(&bytes);
    }
}
