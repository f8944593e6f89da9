//! The network between the program and the server, with a will of its own.
//!
//! It listens on a port of this machine and passes everything on to a socket, request by request. A
//! batch is recognised by its UPDATE, and a [`Trick`] can be played on the next one; or something
//! happens to the nth request, whatever it is. What was sent before a client went away still reaches
//! the server, as it does on a real network; sometimes late.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::Outcome;
use crate::nth::Nth;
use crate::tricks::{Trick, is_end, is_full};
use crate::wire::{Frames, Request, Requests, Rewrite, is_ready};

/// How long something is waited for that may never come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

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
    /// Batches passed on whose connection was gone before the answer.
    pub(crate) unanswered: u64,
    /// Answers that said that the disk is full.
    pub(crate) full: u64,
    /// Whether the nth request has come.
    pub(crate) is_nth: bool,
}

/// How the network is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Nothing gets through, and nobody is told.
    pub(crate) is_frozen: bool,
    /// Each piece takes this long.
    pub(crate) latency: Duration,
}

pub(crate) struct State {
    rewrites: &'static [Rewrite],
    is_sabotaged: AtomicBool,
    rewritten: AtomicUsize,
    trick: Mutex<Option<Trick>>,
    nth: Mutex<Option<(u64, Nth)>>,
    requests: AtomicU64,
    counts: watch::Sender<Counts>,
    cuts: watch::Sender<u64>,
    weather: watch::Sender<Weather>,
}

/// Passes on what is said on a port.
pub(crate) struct Proxy {
    state: Arc<State>,
    counts: watch::Receiver<Counts>,
}

/// One connection, on both sides.
pub(crate) struct Link {
    pub(crate) client: TcpStream,
    pub(crate) server: UnixStream,
    pub(crate) answers: Frames,
    /// Requests that the server has not answered.
    pub(crate) waiting: u32,
}

impl Proxy {
    /// Begins to listen on ports of this machine, for servers that listen at sockets.
    pub(crate) async fn listen(
        ways: Vec<(u16, PathBuf)>,
        rewrites: &'static [Rewrite],
    ) -> Outcome<Proxy> {
        let (sender, counts) = watch::channel(Counts::default());
        let state = Arc::new(State {
            rewrites,
            is_sabotaged: AtomicBool::new(false),
            rewritten: AtomicUsize::new(0),
            trick: Mutex::default(),
            nth: Mutex::default(),
            requests: AtomicU64::new(0),
            counts: sender,
            cuts: watch::channel(0).0,
            weather: watch::channel(Weather::default()).0,
        });
        for (port, upstream) in ways {
            let listener = TcpListener::bind(("127.0.0.1", port)).await?;
            tokio::spawn(accept(listener, upstream, Arc::clone(&state)));
        }
        Ok(Proxy { state, counts })
    }

    /// Returns what has happened so far.
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Changes what is said from now on.
    pub(crate) fn sabotage(&self) {
        self.state.is_sabotaged.store(true, Ordering::Relaxed);
    }

    /// Returns how often a statement was changed on its way.
    pub(crate) fn rewritten(&self) -> usize {
        self.state.rewritten.load(Ordering::Relaxed)
    }

    /// Waits until `holds`; returns false if it did not within a few seconds.
    pub(crate) async fn until(&self, holds: impl Fn(&Counts) -> bool) -> bool {
        self.state.until(holds).await
    }

    /// Plays a trick on the next batch; returns false if there was none.
    pub(crate) async fn play(&self, trick: Trick) -> bool {
        let before = self.counts().tricked;
        *lock(&self.state.trick) = Some(trick);
        let is_played = self.until(|counts| counts.tricked > before).await;
        // One that was taken in the last moment counts, because it cannot be taken back.
        is_played || lock(&self.state.trick).take().is_none()
    }

    /// Cuts every connection on both sides; returns how many there were.
    pub(crate) fn cut_all(&self) -> usize {
        let open = self.counts().open;
        self.state.cuts.send_modify(|cuts| *cuts += 1);
        open
    }

    /// Changes how the network is.
    pub(crate) fn weather(&self, weather: Weather) {
        self.state.weather.send_replace(weather);
    }

    /// Counts requests from now on, and lets something happen to one of them.
    pub(crate) fn arm(&self, nth: Option<(u64, Nth)>) {
        self.state.requests.store(0, Ordering::SeqCst);
        self.state.count(|counts| counts.is_nth = false);
        *lock(&self.state.nth) = nth;
    }

    /// Returns the requests since it was armed.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, upstream: PathBuf, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let (state, upstream) = (Arc::clone(&state), upstream.clone());
        tokio::spawn(async move {
            state.count(|counts| counts.open += 1);
            // Else the answers of a batch, which are several, would wait for each other.
            let _ = client.set_nodelay(true);
            if let Ok(server) = UnixStream::connect(&upstream).await {
                let answers = Frames::of_server();
                state.relay(Link { client, server, answers, waiting: 0 }).await;
            }
            state.count(|counts| counts.open -= 1);
        });
    }
}

impl State {
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    pub(crate) fn counted(&self) -> Counts {
        *self.counts.borrow()
    }

    pub(crate) async fn until(&self, holds: impl Fn(&Counts) -> bool) -> bool {
        let mut counts = self.counts.subscribe();
        tokio::select! {
            found = counts.wait_for(|counts| holds(counts)) => found.is_ok(),
            () = tokio::time::sleep(PATIENCE) => false,
        }
    }

    fn rewrites(&self) -> &'static [Rewrite] {
        if self.is_sabotaged.load(Ordering::Relaxed) { self.rewrites } else { &[] }
    }

    /// Waits as long as the network takes.
    async fn travel(&self) {
        let mut weather = self.weather.subscribe();
        let latency =
            weather.wait_for(|it| !it.is_frozen).await.map_or(Duration::ZERO, |it| it.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    async fn relay(&self, mut link: Link) {
        let mut cuts = self.cuts.subscribe();
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut asked = Requests::default();
        let mut is_pending = false;
        loop {
            tokio::select! {
                got = link.client.read(&mut up) => {
                    let Ok(got @ 1..) = got else {
                        return self.count(|counts| counts.unanswered += u64::from(is_pending));
                    };
                    self.travel().await;
                    let requests = asked.push(&up[..got], self.rewrites());
                    self.rewritten.fetch_add(std::mem::take(&mut asked.applied), Ordering::Relaxed);
                    let is_batch = requests.iter().any(|request| request.is_batch);
                    let trick = if is_batch { lock(&self.trick).take() } else { None };
                    if let Some(trick) = trick {
                        let mut batch = requests.into_iter().flat_map(|it| it.bytes).collect::<Vec<_>>();
                        batch.extend(asked.take_rest());
                        return self.trick_with(trick, link.client, link.server, batch).await;
                    }
                    is_pending |= is_batch;
                    self.count(|counts| counts.sent += u64::from(is_batch));
                    for request in requests {
                        if !self.pass_on(&mut link, request).await { return }
                    }
                }
                got = link.server.read(&mut down) => {
                    let Ok(got @ 1..) = got else { return };
                    self.travel().await;
                    let said = link.answered(&down[..got]);
                    if is_full(&said) {
                        self.count(|counts| counts.full += 1);
                    }
                    if link.client.write_all(&said).await.is_err() { return }
                    if is_pending && is_end(&said) {
                        is_pending = false;
                        self.count(|counts| counts.answered += 1);
                    }
                }
                _ = cuts.changed() => return,
            }
        }
    }

    /// Passes a request on, unless something is to happen to it; returns whether the connection lives.
    async fn pass_on(&self, link: &mut Link, request: Request) -> bool {
        let no = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let hit = {
            let mut nth = lock(&self.nth);
            nth.take_if(|(at, _)| *at == no).map(|(_, what)| what)
        };
        match hit {
            Some(what) => self.happen(what, link, request).await,
            None => link.send(&request.bytes).await,
        }
    }
}

impl Link {
    /// Sends a request to the server; returns whether it could.
    pub(crate) async fn send(&mut self, request: &[u8]) -> bool {
        self.waiting += 1;
        self.server.write_all(request).await.is_ok()
    }

    /// Returns the whole messages of what the server said.
    fn answered(&mut self, said: &[u8]) -> Vec<u8> {
        let messages = self.answers.push(said);
        let ready = messages.iter().filter(|message| is_ready(message)).count();
        self.waiting = self.waiting.saturating_sub(u32::try_from(ready).unwrap_or(u32::MAX));
        messages.concat()
    }

    /// Waits until the server has answered everything, and returns that.
    pub(crate) async fn finish(&mut self) -> Vec<u8> {
        let (mut all, mut said) = (Vec::new(), vec![0; 1 << 16]);
        while self.waiting > 0 {
            tokio::select! {
                got = self.server.read(&mut said) => {
                    let Ok(got @ 1..) = got else { break };
                    all.extend(self.answered(&said[..got]));
                }
                () = tokio::time::sleep(PATIENCE) => break,
            }
        }
        all
    }
}
