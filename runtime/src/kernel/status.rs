//! What the new process tells the one that started it, until its program runs.
//!
//! A pair of packet sockets. Both ends are close-on-exec: the end of the conversation means that
//! the last process holding the other end has executed its program, or ended.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::error::ProcessError;

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
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
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
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let parts = [IoSlice::new(&text)];
    if let Err(error) = sendmsg(channel, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
        tracing::debug!(%error, "nobody listens to the new process");
    }
}

/// Listens until the other side is gone, or until `done` says that enough was heard.
pub(crate) fn listen(channel: &OwnedFd, report: &mut Report, done: impl Fn(&Report) -> bool) -> io::Result<()> {
    let mut buffer = vec![0; MESSAGE_LEN_MAX];
    while !done(report) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = match recvmsg(
            channel.as_fd(),
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(received) => received,
            Err(Errno::INTR) => continue,
            Err(Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if received.bytes == 0 {
            return Ok(());
        }
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match serde_json::from_slice(&buffer[..received.bytes])? {
            Message::Pid(pid) => report.pid = Some(pid),
            Message::Terminal => report.terminal = fd,
            Message::Warning(text) => report.warnings.push(text),
            Message::Failed(error) => report.failure = Some(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
