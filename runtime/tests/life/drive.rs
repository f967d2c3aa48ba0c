//! A client as simple as can be: a session's streams on those of this process.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use skep_runtime::{Input, Output, OutputDecoder, Result, Session};

/// Copies until the program ends; its exit code.
pub(crate) fn drive(session: Session) -> Result<i32> {
    let takes_input = session.takes_input();
    let (socket, peer) = session.into_parts();
    socket.set_nonblocking(false).unwrap();
    if takes_input {
        let socket = socket.try_clone().unwrap();
        // Ends with the process.
        std::thread::spawn(move || send_input(socket));
    }
    let mut socket = socket;
    let mut decoder = OutputDecoder::default();
    let mut buffer = vec![0; 32 << 10];
    loop {
        match socket.read(&mut buffer).unwrap_or(0) {
            0 => return peer.after_hang_up(),
            count => decoder.push(&buffer[..count]),
        }
        while let Some(output) = decoder.decode()? {
            match output {
                Output::Stdout(bytes) => std::io::stdout().write_all(&bytes).unwrap(),
                Output::Stderr(bytes) => std::io::stderr().write_all(&bytes).unwrap(),
                Output::Ended(code) => {
                    std::io::stdout().flush().unwrap();
                    return Ok(code);
                }
            }
        }
    }
}

fn send_input(mut socket: UnixStream) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = std::io::stdin().read(&mut buffer).unwrap_or(0);
        let mut frame = Vec::new();
        match count {
            0 => Input::EndOfStdin.encode(&mut frame),
            count => Input::Stdin(&buffer[..count]).encode(&mut frame),
        }
        if socket.write_all(&frame).is_err() || count == 0 {
            return;
        }
    }
}
