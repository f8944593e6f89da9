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

/// Forwards connections to a server's TCP port.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    wires: Arc<Mutex<Vec<Wire>>>,
    is_down: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

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
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if refuses.load(Ordering::SeqCst) {
                    count.fetch_add(1, Ordering::SeqCst);
                } else {
                    let wire = Wire::to(server, client);
                    known.lock().expect("nobody panics here").push(wire);
                }
            }
        });
        Proxy { port, wires, is_down, refused }
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

impl Wire {
    fn to(server: u16, client: TcpStream) -> Wire {
        let server = TcpStream::connect(("127.0.0.1", server)).expect("the server");
        let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let is_frozen = Arc::new(AtomicBool::new(false));
        forward(copy(&client), copy(&server), Arc::clone(&is_frozen));
        forward(server, copy(&client), Arc::clone(&is_frozen));
        Wire { client, is_frozen }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, is_frozen: Arc<AtomicBool>) {
    thread::spawn(move || {
        // The other end stays open: that is the point.
        let _ = copy(&mut from, &mut to, &is_frozen);
        thread::park();
    });
}

fn copy(from: &mut TcpStream, to: &mut TcpStream, is_frozen: &AtomicBool) -> io::Result<()> {
    let mut bytes = [0; 16_384];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            _ if is_frozen.load(Ordering::SeqCst) => {}
            read => to.write_all(&bytes[..read])?,
        }
    }
}
