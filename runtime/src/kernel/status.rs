//! What the new process tells the one that started it, until its program runs.
//!
//! A pair of packet sockets. Both ends are close-on-exec: the end of the conversation means that
//! the last process holding the other end has executed its program, or ended.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::error::ProcessError;
use super::sys;

/// Longest message; a longer one would be cut off by the kernel.
const MESSAGE_LEN_MAX: usize = 16 << 10;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The process that will run the program, as the parent sees it.
    Pid(i32),
    /// Comes with the master of the pseudo-terminal.
    Terminal,
    /// For the user to read; the program runs nevertheless.
    Warning(String),
    /// The program will not run.
    Failed(ProcessError),
}

/// What was said until the other side was gone.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) pid: Option<i32>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
    pub(crate) failure: Option<ProcessError>,
}

/// The parent's and the new process' end.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Says something; a parent that is gone does not matter.
pub(crate) fn tell(channel: BorrowedFd<'_>, message: &Message, fd: Option<BorrowedFd<'_>>) {
    let message = match message {
        Message::Failed(error) => Message::Failed(ProcessError {
            message: error.message.chars().take(MESSAGE_LEN_MAX / 8).collect(),
            ..error.clone()
        }),
        other => other.clone(),
    };
    let Ok(text) = serde_json::to_vec(&message) else {
        return;
    };
    let fds: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[] } else { rights.as_slice() };
    let parts = [IoSlice::new(&text)];
    if let Err(error) = sendmsg::<()>(channel.as_raw_fd(), &parts, rights, MsgFlags::MSG_NOSIGNAL, None) {
        tracing::debug!(%error, "nobody listens to the new process");
    }
}

/// Listens until the other side is gone, or until `done` says that enough was heard.
pub(crate) fn listen(channel: &OwnedFd, report: &mut Report, done: impl Fn(&Report) -> bool) -> io::Result<()> {
    let mut buffer = vec![0; MESSAGE_LEN_MAX];
    while !done(report) {
        let (length, fd) = match receive(channel, &mut buffer) {
            Ok((0, _)) | Err(Errno::ECONNRESET) => return Ok(()),
            Ok(received) => received,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_slice(&buffer[..length])? {
            Message::Pid(pid) => report.pid = Some(pid),
            Message::Terminal => report.terminal = fd,
            Message::Warning(text) => report.warnings.push(text),
            Message::Failed(error) => report.failure = Some(error),
        }
    }
    Ok(())
}

/// The length of the next message, and the descriptor that came with it.
fn receive(channel: &OwnedFd, buffer: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(channel.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            fds.extend(numbers.into_iter().map(sys::own));
        }
    }
    Ok((received.bytes, fds.into_iter().next()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::AsFd;

    use super::*;
    use crate::kernel::ProcessErrorKind;

    #[test]
    fn messages_and_descriptors_arrive_until_the_end() {
        let (parent, child) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        tell(child.as_fd(), &Message::Pid(7), None);
        tell(child.as_fd(), &Message::Terminal, Some(file.as_fd()));
        let failure = ProcessError { kind: ProcessErrorKind::NotFound, message: "x".repeat(100_000) };
        tell(child.as_fd(), &Message::Failed(failure), None);
        drop(child);
        let mut report = Report::default();
        listen(&parent, &mut report, |_| false).unwrap();
        assert_eq!(report.pid, Some(7));
        assert!(report.terminal.is_some());
        let failure = report.failure.unwrap();
        assert_eq!(failure.kind, ProcessErrorKind::NotFound);
        assert!(failure.message.starts_with("xxx"));
    }
}
