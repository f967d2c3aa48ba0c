//! Decompression and the diff id, in a thread of their own.
//!
//! Which compression it is, is read from the first bytes: media types are often wrong. Pieces go through
//! a bounded channel to the thread that writes files, and their buffers come back to be filled again.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use flate2::bufread::MultiGzDecoder;

use super::error::UnpackError;
use crate::digest::{Digest, Hasher};

const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 8;
const COMPRESSED_BUFFER_BYTES: usize = 128 << 10;

type Piece = Result<Vec<u8>, io::Error>;

/// The sending end.
pub(crate) struct PieceSender {
    full: SyncSender<Piece>,
    empty: Receiver<Vec<u8>>,
}

/// The receiving end, read as a stream.
pub(crate) struct PieceReader {
    full: Receiver<Piece>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    position: usize,
}

/// A channel for decompressed pieces: at most two megabytes are under way.
pub(crate) fn pieces() -> (PieceSender, PieceReader) {
    let (full_sender, full_receiver) = sync_channel(PIECES_MAX);
    let (empty_sender, empty_receiver) = channel();
    let sender = PieceSender { full: full_sender, empty: empty_receiver };
    (sender, PieceReader { full: full_receiver, empty: empty_sender, piece: Vec::new(), position: 0 })
}

/// What came out of a compressed stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// All of it was decompressed; this is its digest.
    Complete(Digest),
    /// The reader went away because it met an error.
    Abandoned,
}

/// Decompresses a stream into pieces. The source is not read further than the end of the compressed data.
pub(crate) fn decode(source: impl Read, sender: &PieceSender) -> Result<Decoded, UnpackError> {
    let mut source = BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, source);
    let mut start = Vec::with_capacity(6);
    source.by_ref().take(6).read_to_end(&mut start).map_err(UnpackError::Decompress)?;
    let source = Cursor::new(start.clone()).chain(source);
    match start.as_slice() {
        [0x1f, 0x8b, ..] => forward(MultiGzDecoder::new(source), sender),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(source).map_err(UnpackError::Decompress)?;
            forward(decoder, sender)
        }
        [b'B', b'Z', b'h', ..] => Err(UnpackError::Compression { method: "bzip2" }),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(UnpackError::Compression { method: "xz" }),
        _ => forward(source, sender),
    }
}

fn forward(mut decoder: impl Read, sender: &PieceSender) -> Result<Decoded, UnpackError> {
    let mut hasher = Hasher::new();
    loop {
        let mut piece = sender.empty.try_recv().unwrap_or_default();
        piece.resize(PIECE_BYTES, 0);
        let mut filled = 0;
        while filled < PIECE_BYTES {
            match decoder.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let copy = io::Error::new(error.kind(), error.to_string());
                    let _ = sender.full.send(Err(copy));
                    return Err(UnpackError::Decompress(error));
                }
            }
        }
        if filled == 0 {
            return Ok(Decoded::Complete(hasher.finish()));
        }
        piece.truncate(filled);
        hasher.update(&piece);
        if sender.full.send(Ok(piece)).is_err() {
            return Ok(Decoded::Abandoned);
        }
    }
}

impl BufRead for PieceReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.piece.len() {
            let next = match self.full.recv() {
                Ok(next) => next?,
                Err(_) => Vec::new(),
            };
            let used = std::mem::replace(&mut self.piece, next);
            self.position = 0;
            if used.capacity() > 0 {
                let _ = self.empty.send(used);
            }
        }
        Ok(&self.piece[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position = (self.position + count).min(self.piece.len());
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
