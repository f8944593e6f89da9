//! Whether the server itself answers, or a pooler in front of it.
//!
//! With the login the server names the process that serves the connection; a pooler has none of its own, and names
//! something else, by which it would know a request to cancel. The driver gives that name to nobody, but it stands in
//! such a request: one is written here, and not sent.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::CancelToken;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::fault::Fault;
use super::guards::Guards;
use super::pool::Database;
use super::session::Session;

/// What answers a statement.
const ANSWERS: &str = "\
SELECT pg_catalog.pg_backend_pid() AS process, pg_catalog.current_setting('port')::int8 AS port";

/// Whether the server itself answers: the process that does is the one that was named with the login, and its server
/// listens on the port that we connected to. By the port, a pooler is known that passes on the name of a process; a port
/// that is only forwarded looks like one, which costs time and nothing else.
pub(crate) async fn is_direct(session: &mut Session, database: &Database) -> Result<bool, Fault> {
    let rows = session.transact(&Guards::reading(), ANSWERS, &[]).await?;
    let (Some(row), Some(token)) = (rows.first(), session.cancel_token()) else { return Ok(false) };
    let is_its_port = database.connect().has_port(row.get("port"));
    Ok(is_its_port && named(&token).await == Some(row.get("process")))
}

/// Finds out whether it does, and lets connections to `database` make use of that from now on.
pub(crate) async fn find_out(session: &mut Session, database: &Database) -> Result<(), Fault> {
    database.set_direct(is_direct(session, database).await?);
    Ok(())
}

/// Returns the process that was named with the login.
async fn named(token: &CancelToken) -> Option<i32> {
    let mut request = Vec::new();
    token.cancel_query_raw(Draft(&mut request), Unsealed).await.ok()?;
    // A length and a code are before it.
    request.get(8..12)?.try_into().ok().map(i32::from_be_bytes)
}

/// A message that is written, and not sent.
struct Draft<'a>(&'a mut Vec<u8>);

/// What would be sent with TLS is written as it is.
struct Unsealed;

impl<'a> TlsConnect<Draft<'a>> for Unsealed {
    type Stream = Draft<'a>;
    type Error = io::Error;
    type Future = Ready<io::Result<Draft<'a>>>;

    fn connect(self, draft: Draft<'a>) -> Self::Future {
        // TLS was asked for.
        draft.0.clear();
        ready(Ok(draft))
    }
}

impl TlsStream for Draft<'_> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Draft<'_> {
    /// Whoever asks for TLS is told that there is.
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        answer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        answer.put_slice(b"S");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Draft<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
