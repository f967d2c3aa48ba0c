//! System calls that no crate wraps safely. The only module of this crate with unsafe code.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Asks the kernel to say in words why a netlink request was refused (NETLINK_EXT_ACK).
pub(crate) fn enable_extended_acknowledgements(socket: &OwnedFd) -> io::Result<()> {
    let enabled: nix::libc::c_int = 1;
    // SAFETY: the descriptor is open for the length of the call, and the option's value is a live
    // c_int whose size is passed with it; the kernel only reads it.
    let result = unsafe {
        nix::libc::setsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_NETLINK,
            nix::libc::NETLINK_EXT_ACK,
            std::ptr::from_ref(&enabled).cast(),
            size_of::<nix::libc::c_int>() as nix::libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
