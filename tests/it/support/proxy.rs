//! A wire between the program and the server that can be cut, or swallow what is sent.
//!
//! When it is cut, the program sees its connections close; the server sees nothing, and goes on with
//! what it has been sent. When it is frozen, neither sees anything: what is sent is taken, and never
//! arrives. No signal to either process does that.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::db::Db;

/// Forwards connections to a server's TCP port.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    wires: Arc<Mutex<Vec<Wire>>>,
    is_down: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    last: Last,
}

/// The last bytes that a wire is to carry, in either direction.
type Last = Arc<Mutex<Option<Vec<u8>>>>;

struct Wire {
    client: TcpStream,
    is_frozen: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on a free port.
    pub(crate) fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (wires, is_down) = (Arc::<Mutex<Vec<Wire>>>::default(), Arc::<AtomicBool>::default());
        let refused = Arc::<AtomicUsize>::default();
        let (known, refuses) = (Arc::clone(&wires), Arc::clone(&is_down));
        let count = Arc::clone(&refused);
        let last = Last::default();
        let until = Arc::clone(&last);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if refuses.load(Ordering::SeqCst) {
                    count.fetch_add(1, Ordering::SeqCst);
                } else {
                    let wire = Wire::to(server, client, &until);
                    known.lock().expect("nobody panics here").push(wire);
                }
            }
        });
        Proxy { port, wires, is_down, refused, last }
    }

    /// Returns the URL of a database through it, for a role of its own, whose answers may be overdue for a second.
    pub(crate) fn url(&self, db: &Db) -> String {
        let role = format!("through_{}", db.name);
        db.exec(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'x'"));
        let (port, name) = (self.port, &db.name);
        format!("postgres://{role}:x@127.0.0.1:{port}/{name}?sslmode=disable&tcp_user_timeout=1000")
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
        *self.last.lock().expect("nobody panics here") = Some(bytes.to_vec());
    }

    /// Whether it has come to that.
    pub(crate) fn has_frozen(&self) -> bool {
        self.last.lock().expect("nobody panics here").is_none()
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
    fn to(server: u16, client: TcpStream, last: &Last) -> Wire {
        let server = TcpStream::connect(("127.0.0.1", server)).expect("the server");
        let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let is_frozen = Arc::new(AtomicBool::new(false));
        forward(copy(&client), copy(&server), Arc::clone(&is_frozen), Arc::clone(last));
        forward(server, copy(&client), Arc::clone(&is_frozen), Arc::clone(last));
        Wire { client, is_frozen }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, is_frozen: Arc<AtomicBool>, last: Last) {
    thread::spawn(move || {
        // The other end stays open: that is the point.
        let _ = copy(&mut from, &mut to, &is_frozen, &last);
        thread::park();
    });
}

fn copy(
    from: &mut TcpStream,
    to: &mut TcpStream,
    is_frozen: &AtomicBool,
    last: &Last,
) -> io::Result<()> {
    let mut bytes = [0; 16_384];
    loop {
        let read = from.read(&mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        let mut last = last.lock().expect("nobody panics here");
        let is_it = |last: &Vec<u8>| bytes[..read].windows(last.len()).any(|part| part == last);
        if last.take_if(|last| is_it(last)).is_some() {
            is_frozen.store(true, Ordering::SeqCst);
        }
        drop(last);
        if !is_frozen.load(Ordering::SeqCst) {
            to.write_all(&bytes[..read])?;
        }
    }
}
