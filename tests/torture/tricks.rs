//! What the network does to a batch.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::{Counts, PATIENCE, State};

/// A batch has the one in its text and not the other, which is a plan being made.
const UPDATE: &[u8] = b"UPDATE public.torture";
const EXPLAIN: &[u8] = b"EXPLAIN";
/// The last message of a transaction, and how the server says that it ended.
const COMMIT: &[u8] = b"COMMIT\0";
const ROLLBACK: &[u8] = b"ROLLBACK\0";

/// What an error says of a disk that is full.
const FULL: &[u8] = b"C53100\0";

/// What is done to the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trick {
    /// The client is cut, and the batch never reaches the server.
    CutUnsent,
    /// It reaches the server, and the client is cut before there is an answer.
    CutSent,
    /// The server has answered, and the client is cut before it hears it.
    CutAnswered,
    /// The client is cut, and the batch reaches the server when another one does, or after that.
    CutLate(Until),
    /// The same, but the client waits to be killed instead of being cut.
    HoldLate(Until),
}

/// What a late batch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Another batch is on its way: the two meet in the server.
    Sent,
    /// Another batch is committed.
    Answered,
}

impl State {
    pub(crate) async fn trick_with(
        &self,
        trick: Trick,
        mut client: TcpStream,
        mut server: UnixStream,
        mut batch: Vec<u8>,
    ) {
        read_on(&mut client, &mut batch).await;
        let before = self.counted();
        match trick {
            Trick::CutUnsent => {
                drop(client);
                self.count(|counts| counts.tricked += 1);
            }
            Trick::CutSent => {
                let sent = server.write_all(&batch).await;
                drop(client);
                self.count(|counts| counts.tricked += u64::from(sent.is_ok()));
                drain(&mut server).await;
            }
            Trick::CutAnswered => {
                let _ = server.write_all(&batch).await;
                drain(&mut server).await;
                drop(client);
                self.count(|counts| counts.tricked += 1);
            }
            Trick::CutLate(until) => {
                drop(client);
                self.count(|counts| counts.tricked += 1);
                self.deliver_late(until, before, server, &batch).await;
            }
            Trick::HoldLate(until) => {
                self.count(|counts| counts.tricked += 1);
                gone(&mut client).await;
                self.deliver_late(until, before, server, &batch).await;
            }
        }
    }

    async fn deliver_late(
        &self,
        until: Until,
        before: Counts,
        mut server: UnixStream,
        batch: &[u8],
    ) {
        self.until(|now| match until {
            Until::Sent => now.sent > before.sent,
            Until::Answered => now.answered > before.answered,
        })
        .await;
        if server.write_all(batch).await.is_ok() {
            self.count(|counts| counts.late += 1);
        }
        drain(&mut server).await;
    }
}

fn has(said: &[u8], wanted: &[u8]) -> bool {
    said.windows(wanted.len()).any(|part| part == wanted)
}

/// Whether it holds a batch.
pub(crate) fn is_batch(said: &[u8]) -> bool {
    has(said, UPDATE) && !has(said, EXPLAIN)
}

/// Whether the server says that a transaction has ended.
pub(crate) fn is_end(said: &[u8]) -> bool {
    has(said, COMMIT) || has(said, ROLLBACK)
}

/// Whether the server says that its disk is full.
pub(crate) fn is_full(said: &[u8]) -> bool {
    has(said, FULL)
}

/// Reads the rest of a transaction, of which the driver may have written only the beginning.
async fn read_on(client: &mut TcpStream, batch: &mut Vec<u8>) {
    while !has(batch, COMMIT) {
        tokio::select! {
            got = client.read_buf(batch) => if !matches!(got, Ok(1..)) { return },
            () = tokio::time::sleep(Duration::from_millis(200)) => return,
        }
    }
}

/// Waits until the server has finished what it received, and forgets what it says.
async fn drain(server: &mut UnixStream) {
    let mut said = Vec::new();
    while !is_end(&said) {
        tokio::select! {
            got = server.read_buf(&mut said) => if !matches!(got, Ok(1..)) { return },
            () = tokio::time::sleep(PATIENCE) => return,
        }
    }
}

/// Waits until the client has gone away.
pub(crate) async fn gone(client: &mut TcpStream) {
    let mut said = [0; 1 << 10];
    loop {
        tokio::select! {
            got = client.read(&mut said) => if !matches!(got, Ok(1..)) { return },
            () = tokio::time::sleep(PATIENCE) => return,
        }
    }
}
