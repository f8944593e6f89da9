//! A wire between the program and the server that can be cut on one side only.
//!
//! The program sees its connections close; the server sees nothing, and goes on with what it has
//! been sent. No signal to either process does that.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Forwards connections to a server's TCP port.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    clients: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Listens on a free port.
    pub(crate) fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let clients = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&clients);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", server)).expect("the server");
                let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                forward(copy(&client), copy(&server));
                forward(server, copy(&client));
                known.lock().expect("nobody panics here").push(client);
            }
        });
        Proxy { port, clients }
    }

    /// Closes every connection towards the program, and none towards the server.
    pub(crate) fn cut(&self) {
        for client in self.clients.lock().expect("nobody panics here").drain(..) {
            // It may have gone by itself.
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // The other end stays open: that is the point.
        let _ = io::copy(&mut from, &mut to);
        thread::park();
    });
}
