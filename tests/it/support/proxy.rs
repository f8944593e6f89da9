//! A wire between the program and the server that can be cut, or swallow what is sent, or be long.
//!
//! When it is cut, the program sees its connections close; the server sees nothing, and goes on with
//! what it has been sent. When it is frozen, neither sees anything: what is sent is taken, and never
//! arrives. No signal to either process does that.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::db::Db;

/// Forwards connections to a server's TCP port.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    host: &'static str,
    wires: Arc<Mutex<Vec<Wire>>>,
    is_down: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    seen: Seen,
}

/// How the message begins in which the server names the process of a connection.
const KEY_DATA: [u8; 5] = [b'K', 0, 0, 0, 12];

/// What all wires carry, and how.
#[derive(Clone, Default)]
struct Seen {
    /// How much later everything arrives.
    delay: Duration,
    /// The last bytes that a wire is to carry, in either direction.
    last: Arc<Mutex<Option<Vec<u8>>>>,
    /// The most COMMITs that were under way together since that was asked.
    together: Arc<AtomicUsize>,
    /// Whether processes of the server get other names.
    renames: bool,
}

struct Wire {
    client: TcpStream,
    is_frozen: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on a free port, as a pooler does.
    pub(crate) fn to(server: u16) -> Proxy {
        Proxy::listen("127.0.0.1", 0, server, Seen::default())
    }

    /// Listens on the server's own port of another address, as a network does, and lets everything
    /// arrive so much later.
    pub(crate) fn far(server: u16, delay: Duration) -> Proxy {
        Proxy::listen("127.0.0.2", server, server, Seen { delay, ..Seen::default() })
    }

    /// Listens there, too, and names processes of its own, as a pooler does on another host.
    pub(crate) fn posing(server: u16) -> Proxy {
        Proxy::listen("127.0.0.3", server, server, Seen { renames: true, ..Seen::default() })
    }

    fn listen(host: &'static str, port: u16, server: u16, seen: Seen) -> Proxy {
        let listener = TcpListener::bind((host, port)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (wires, is_down) = (Arc::<Mutex<Vec<Wire>>>::default(), Arc::<AtomicBool>::default());
        let refused = Arc::<AtomicUsize>::default();
        let (known, refuses) = (Arc::clone(&wires), Arc::clone(&is_down));
        let count = Arc::clone(&refused);
        let sees = seen.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if refuses.load(Ordering::SeqCst) {
                    count.fetch_add(1, Ordering::SeqCst);
                } else {
                    let wire = Wire::to(server, client, &sees);
                    known.lock().expect("nobody panics here").push(wire);
                }
            }
        });
        Proxy { port, host, wires, is_down, refused, seen }
    }

    /// Returns the URL of a database through it, for a role of its own, whose answers may be overdue for a second.
    pub(crate) fn url(&self, db: &Db) -> String {
        let role = format!("through_{}", db.name);
        db.exec(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'x'"));
        let (host, port, name) = (self.host, self.port, &db.name);
        format!("postgres://{role}:x@{host}:{port}/{name}?sslmode=disable&tcp_user_timeout=1000")
    }

    /// Returns the most transactions whose COMMITs were sent together since this was last asked.
    pub(crate) fn together(&self) -> usize {
        self.seen.together.swap(0, Ordering::SeqCst)
    }

    /// Closes every connection towards the program, and none towards the server.
    pub(crate) fn cut(&self) {
        for wire in self.wires.lock().expect("nobody panics here").drain(..) {
            // It may have gone by itself.
            let _ = wire.client.shutdown(Shutdown::Both);
        }
    }

    /// Swallows what is sent from now on over the connections that there are, in both directions.
    pub(crate) fn freeze(&self) {
        for wire in self.wires.lock().expect("nobody panics here").iter() {
            wire.is_frozen.store(true, Ordering::SeqCst);
        }
    }

    /// Freezes the first wire on which these bytes come, before they arrive.
    pub(crate) fn freeze_before(&self, bytes: &[u8]) {
        *self.seen.last.lock().expect("nobody panics here") = Some(bytes.to_vec());
    }

    /// Whether it has come to that.
    pub(crate) fn has_frozen(&self) -> bool {
        self.seen.last.lock().expect("nobody panics here").is_none()
    }

    /// Cuts every connection, and closes new ones at once.
    pub(crate) fn down(&self) {
        self.is_down.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Returns how many connections were closed at once so far.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// Forwards new connections again.
    pub(crate) fn up(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }
}

/// Returns a message of the protocol: its letter, and a text.
pub(crate) fn message(letter: char, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len() + 5).expect("a short text").to_be_bytes();
    [&[letter as u8], &length[..], text.as_bytes(), &[0]].concat()
}

impl Wire {
    fn to(server: u16, client: TcpStream, seen: &Seen) -> Wire {
        let server = TcpStream::connect(("127.0.0.1", server)).expect("the server");
        let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let is_frozen = Arc::new(AtomicBool::new(false));
        forward(copy(&client), copy(&server), Arc::clone(&is_frozen), seen.clone());
        forward(server, copy(&client), Arc::clone(&is_frozen), seen.clone());
        Wire { client, is_frozen }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, is_frozen: Arc<AtomicBool>, seen: Seen) {
    thread::spawn(move || {
        // The other end stays open: that is the point.
        let _ = copy(&mut from, &mut to, &is_frozen, &seen);
        thread::park();
    });
}

fn copy(
    from: &mut TcpStream,
    to: &mut TcpStream,
    is_frozen: &AtomicBool,
    seen: &Seen,
) -> io::Result<()> {
    let mut bytes = vec![0; 65_536];
    loop {
        let read = from.read(&mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        thread::sleep(seen.delay);
        seen.rename(&mut bytes[..read]);
        if seen.is_last(&bytes[..read]) {
            is_frozen.store(true, Ordering::SeqCst);
        }
        if !is_frozen.load(Ordering::SeqCst) {
            to.write_all(&bytes[..read])?;
            seen.note(&bytes[..read]);
        }
    }
}

impl Seen {
    /// Gives the process another name where one is told with the login.
    fn rename(&self, bytes: &mut [u8]) {
        let told = bytes.windows(KEY_DATA.len()).position(|window| window == KEY_DATA);
        let name = told.and_then(|at| bytes.get_mut(at + KEY_DATA.len()));
        if let Some(name) = name.filter(|_| self.renames) {
            *name ^= 0x40;
        }
    }

    fn is_last(&self, bytes: &[u8]) -> bool {
        let mut last = self.last.lock().expect("nobody panics here");
        last.take_if(|last| count(bytes, last) > 0).is_some()
    }

    fn note(&self, bytes: &[u8]) {
        self.together.fetch_max(count(bytes, &message('Q', "COMMIT")), Ordering::SeqCst);
    }
}

/// Returns how often a part is in a piece.
fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}
