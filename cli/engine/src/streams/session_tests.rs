//! Sessions against a shim that is played here, in the bytes that a shim speaks.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use skep_runtime::Attach;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::*;
use crate::streams::fixture::Container;

/// Long enough for what can be done to be done; what is waited for so long cannot come.
const A_WHILE: Duration = Duration::from_millis(50);

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind][..], &length, payload].concat()
}

async fn read_frame(shim: &mut UnixStream) -> (u8, Vec<u8>) {
    let kind = shim.read_u8().await.unwrap();
    let mut payload = vec![0; shim.read_u32().await.unwrap() as usize];
    shim.read_exact(&mut payload).await.unwrap();
    (kind, payload)
}

/// A client that is attached, and the shim's end of its connection.
async fn attached(container: &Container) -> (AsyncSession, UnixStream) {
    let listener = container.listen();
    let attach = Attach { stdin: true, stdout: true, stderr: true };
    let session = AsyncSession::new(container.runtime.attach(&container.id, attach).unwrap()).unwrap();
    let (mut shim, _) = listener.accept().await.unwrap();
    let (kind, request) = read_frame(&mut shim).await;
    assert_eq!((kind, request), (b'R', br#"{"attach":{"stdin":true,"stdout":true,"stderr":true}}"#.to_vec()));
    (session, shim)
}

#[tokio::test]
async fn messages_arrive_whole_however_they_are_cut() {
    let container = Container::running();
    let (session, mut shim) = attached(&container).await;
    let said = [
        frame(b'1', b"out"),
        frame(b'?', b"what a newer shim may say"),
        frame(b'2', b"error"),
        frame(b'1', &[7; 64 << 10]),
        frame(b'x', br#"{"exit_code":7}"#),
    ];
    let (small, large) = (said[..3].concat(), said[3..].concat());
    let speaker = tokio::spawn(async move {
        for byte in small {
            shim.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        for part in large.chunks(1000) {
            shim.write_all(part).await.unwrap();
        }
        shim
    });
    let outputs: Vec<Output> = session.outputs().try_collect().await.unwrap();
    let expected = [
        Output::Stdout(b"out".to_vec()),
        Output::Stderr(b"error".to_vec()),
        Output::Stdout(vec![7; 64 << 10]),
        Output::Ended(7),
    ];
    assert!(outputs == expected, "{} messages", outputs.len());
    speaker.await.unwrap();
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let container = Container::running();
    let (mut session, mut shim) = attached(&container).await;
    let message = frame(b'1', b"hello");
    let (first, rest) = message.split_at(7);
    shim.write_all(first).await.unwrap();
    assert!(timeout(A_WHILE, session.next()).await.is_err(), "half a message is none");
    shim.write_all(rest).await.unwrap();
    assert_eq!(session.next().await.unwrap(), Some(Output::Stdout(b"hello".to_vec())));
}

#[tokio::test]
async fn input_windows_and_leaving_are_messages_in_their_order() {
    let container = Container::running();
    let (session, mut shim) = attached(&container).await;
    let input = session.input();
    for said in [
        Input::Window { rows: 24, columns: 300 },
        Input::Stdin(b"ls\n"),
        // No bytes are not the end of them.
        Input::Stdin(b""),
        Input::Window { rows: 50, columns: 80 },
        Input::EndOfOutput,
        Input::Leave,
        Input::EndOfStdin,
    ] {
        input.send(said).await.unwrap();
    }
    for expected in [
        (b'w', vec![0, 24, 1, 44]),
        (b'0', b"ls\n".to_vec()),
        (b'w', vec![0, 50, 0, 80]),
        (b'o', Vec::new()),
        (b'l', Vec::new()),
        (b'0', Vec::new()),
    ] {
        assert_eq!(read_frame(&mut shim).await, expected);
    }
}

#[tokio::test]
async fn what_waits_for_a_slow_program_is_sent_whole_or_not_at_all() {
    let container = Container::running();
    let (session, mut shim) = attached(&container).await;
    let input = session.input();
    let message = |number: usize| vec![u8::try_from(number % 251).unwrap(); 8192];
    let mut sent = 0;
    while timeout(A_WHILE, input.send(Input::Stdin(&message(sent)))).await.is_ok() {
        sent += 1;
    }
    // The last one was given up: it may still be on its way.
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        loop {
            match read_frame(&mut shim).await {
                (b'0', payload) => got.push(payload),
                other => return (got, other),
            }
        }
    });
    input.send(Input::Leave).await.unwrap();
    let (got, last) = reader.await.unwrap();
    assert_eq!(last, (b'l', Vec::new()));
    assert!(got.len() == sent || got.len() == sent + 1, "{} of {sent}", got.len());
    assert!(got.iter().enumerate().all(|(number, payload)| *payload == message(number)));
}

#[tokio::test]
async fn a_session_that_is_left_ends_with_its_last_input() {
    let container = Container::running();
    let (session, mut shim) = attached(&container).await;
    let (input, another) = (session.input(), session.input());
    drop(session.outputs());
    drop(another);
    input.send(Input::Stdin(b"x")).await.unwrap();
    assert_eq!(read_frame(&mut shim).await, (b'0', b"x".to_vec()));
    drop(input);
    let mut rest = Vec::new();
    assert_eq!(shim.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn a_shim_that_hangs_up_has_written_down_how_it_ended() {
    let container = Container::running();
    let (session, mut shim) = attached(&container).await;
    shim.write_all(&frame(b'1', b"last words")).await.unwrap();
    // Cut in the middle of a message.
    shim.write_all(&frame(b'2', b"lost")[..6]).await.unwrap();
    container.end(3);
    drop(shim);
    let outputs: Vec<Output> = session.outputs().try_collect().await.unwrap();
    assert_eq!(outputs, [Output::Stdout(b"last words".to_vec()), Output::Ended(3)]);
}

#[tokio::test]
async fn a_refusal_is_an_error_and_the_last_there_is() {
    let container = Container::running();
    let (session, mut shim) = attached(&container).await;
    shim.write_all(&frame(b'e', b"two clients have the input already")).await.unwrap();
    let mut outputs = std::pin::pin!(session.outputs());
    let refusal = outputs.next().await.unwrap().unwrap_err();
    assert!(refusal.to_string().contains("two clients have the input already"), "{refusal}");
    assert!(outputs.next().await.is_none());
}
