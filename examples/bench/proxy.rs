//! A network with a latency: everything arrives later, in both directions, and nothing is slower.
//!
//! It listens on a socket in a directory of this user, so nobody else can connect. Threads and not
//! tasks: they sleep more exactly, and what is measured keeps its own. They end with the process.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ground::Failure;

/// What is read at once.
const PIECE: usize = 64 * 1024;

/// The client's side of the network.
pub(crate) struct Proxy {
    folder: TempDir,
}

impl Proxy {
    /// Opens it in front of the server's socket, with this time for a round trip.
    pub(crate) fn open(server: PathBuf, port: u16, round_trip: Duration) -> Result<Proxy, Failure> {
        let folder = tempfile::tempdir()?;
        let listener = UnixListener::bind(socket(folder.path(), port))?;
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is not there closes the connection.
                let _ = connect(client, &server, round_trip / 2);
            }
        });
        Ok(Proxy { folder })
    }

    /// Returns the directory of its socket.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Returns the path of a server's socket.
pub(crate) fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

fn connect(client: UnixStream, server: &Path, delay: Duration) -> std::io::Result<()> {
    let server = UnixStream::connect(server)?;
    pass_on(client.try_clone()?, server.try_clone()?, delay);
    pass_on(server, client, delay);
    Ok(())
}

/// One thread reads and one writes, so that what waits holds up nothing behind it.
fn pass_on(mut from: UnixStream, mut to: UnixStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            if sender.send((Instant::now() + delay, piece[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The other side may have closed it already.
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_its_time_and_many_at_once_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket(folder.path(), 1)).unwrap();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut word = [0; 4];
                while client.read_exact(&mut word).is_ok() {
                    client.write_all(&word).unwrap();
                }
            }
        });
        let delay = Duration::from_millis(40);
        let proxy = Proxy::open(socket(folder.path(), 1), 1, delay).unwrap();
        let mut client = UnixStream::connect(socket(proxy.folder(), 1)).unwrap();
        let started = Instant::now();
        let mut word = [0; 4];
        for _ in 0..20 {
            client.write_all(b"ping").unwrap();
        }
        client.read_exact(&mut word).unwrap();
        assert!(&word == b"ping" && started.elapsed() >= delay);
        for _ in 1..20 {
            client.read_exact(&mut word).unwrap();
        }
        assert!(started.elapsed() < delay * 20, "{:?}", started.elapsed());
    }
}
