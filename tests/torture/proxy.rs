//! The network between the program and the server, with a will of its own.
//!
//! It listens on a port of this machine and passes everything on to the server's socket. A batch is
//! recognised by its UPDATE, and a [`Trick`] can be played on the next one. What was sent before a
//! client went away still reaches the server, as it does on a real network; sometimes late.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::Outcome;

/// A batch has the one in its text and not the other, which is a plan being made.
const UPDATE: &[u8] = b"UPDATE public.torture";
const EXPLAIN: &[u8] = b"EXPLAIN";
/// The last message of a transaction, and how the server says that it ended.
const COMMIT: &[u8] = b"COMMIT\0";
const ROLLBACK: &[u8] = b"ROLLBACK\0";
/// How long something is waited for that may never come.
const PATIENCE: Duration = Duration::from_secs(8);

/// What is done to the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trick {
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

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Connections that are open now.
    pub(crate) open: usize,
    /// Batches passed on.
    pub(crate) sent: u64,
    /// Batches passed on and answered.
    pub(crate) answered: u64,
    /// Tricks played.
    pub(crate) tricked: u64,
    /// Batches that reached the server late.
    pub(crate) late: u64,
}

struct State {
    upstream: PathBuf,
    trick: Mutex<Option<Trick>>,
    counts: watch::Sender<Counts>,
    cuts: watch::Sender<u64>,
}

/// Passes on what is said on a port.
pub(crate) struct Proxy {
    state: Arc<State>,
    counts: watch::Receiver<Counts>,
}

impl Proxy {
    /// Listens on `port` for the server whose socket is `upstream`.
    pub(crate) async fn listen(port: u16, upstream: PathBuf) -> Outcome<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let (sender, counts) = watch::channel(Counts::default());
        let (cuts, _) = watch::channel(0);
        let state = State { upstream, trick: Mutex::default(), counts: sender, cuts };
        let state = Arc::new(state);
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Proxy { state, counts })
    }

    /// Returns what has happened so far.
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until `holds`; returns false if it did not within a few seconds.
    pub(crate) async fn until(&self, holds: impl Fn(&Counts) -> bool) -> bool {
        self.state.until(holds).await
    }

    /// Plays a trick on the next batch; returns false if there was none.
    pub(crate) async fn play(&self, trick: Trick) -> bool {
        let before = self.counts().tricked;
        *self.state.trick() = Some(trick);
        let is_played = self.until(|counts| counts.tricked > before).await;
        // One that was taken in the last moment counts, because it cannot be taken back.
        is_played || self.state.trick().take().is_none()
    }

    /// Cuts every connection on both sides; returns how many there were.
    pub(crate) fn cut_all(&self) -> usize {
        let open = self.counts().open;
        self.state.cuts.send_modify(|cuts| *cuts += 1);
        open
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            state.count(|counts| counts.open += 1);
            // Else the answers of a batch, which are several, would wait for each other.
            let _ = client.set_nodelay(true);
            if let Ok(server) = UnixStream::connect(&state.upstream).await {
                state.relay(client, server).await;
            }
            state.count(|counts| counts.open -= 1);
        });
    }
}

impl State {
    fn trick(&self) -> std::sync::MutexGuard<'_, Option<Trick>> {
        self.trick.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    async fn until(&self, holds: impl Fn(&Counts) -> bool) -> bool {
        let mut counts = self.counts.subscribe();
        tokio::select! {
            found = counts.wait_for(|counts| holds(counts)) => found.is_ok(),
            () = tokio::time::sleep(PATIENCE) => false,
        }
    }

    async fn relay(&self, mut client: TcpStream, mut server: UnixStream) {
        let mut cuts = self.cuts.subscribe();
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut is_pending = false;
        loop {
            tokio::select! {
                got = client.read(&mut up) => {
                    let Ok(1..) = got else { return };
                    let said = &up[..got.unwrap_or(0)];
                    if is_batch(said) {
                        let trick = self.trick().take();
                        if let Some(trick) = trick {
                            return self.trick_with(trick, client, server, said.to_vec()).await;
                        }
                        is_pending = true;
                        self.count(|counts| counts.sent += 1);
                    }
                    if server.write_all(said).await.is_err() { return }
                }
                got = server.read(&mut down) => {
                    let Ok(1..) = got else { return };
                    let said = &down[..got.unwrap_or(0)];
                    if client.write_all(said).await.is_err() { return }
                    if is_pending && is_end(said) {
                        is_pending = false;
                        self.count(|counts| counts.answered += 1);
                    }
                }
                _ = cuts.changed() => return,
            }
        }
    }

    async fn trick_with(
        &self,
        trick: Trick,
        mut client: TcpStream,
        mut server: UnixStream,
        mut batch: Vec<u8>,
    ) {
        read_on(&mut client, &mut batch).await;
        let before = *self.counts.borrow();
        match trick {
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

fn is_batch(said: &[u8]) -> bool {
    has(said, UPDATE) && !has(said, EXPLAIN)
}

fn is_end(said: &[u8]) -> bool {
    has(said, COMMIT) || has(said, ROLLBACK)
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
async fn gone(client: &mut TcpStream) {
    let mut said = [0; 1 << 10];
    loop {
        tokio::select! {
            got = client.read(&mut said) => if !matches!(got, Ok(1..)) { return },
            () = tokio::time::sleep(PATIENCE) => return,
        }
    }
}
