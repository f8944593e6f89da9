//! The opening of connections, with settings that are looked up anew for each.
//!
//! Promises a server that accepts writes wherever several are named, the order in which they are
//! named, a time limit for each of them from name look-up to login, and no password in any text. A
//! password that was refused is not tried again at once, so that no account gets locked; a new one is.
//!
//! Not here: retries and pools.

use std::{
    fmt,
    future::poll_fn,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_postgres::{CancelToken, Client, Config, Connection};

use super::{
    connect_error::ConnectError,
    environment::Environment,
    guards::Release,
    resolve::{Asked, Resolved, Server, printable},
    settings::Wanted,
    tls::SslMode,
};

/// The task that moves a connection's messages; it ends with the connection, or with the error that
/// broke it.
pub(crate) type Driver = JoinHandle<Result<(), tokio_postgres::Error>>;

/// A connection, what moves its messages, and what is at its other end.
pub(super) type Opened = (Client, Driver, Release);

/// How long a login that was refused is not tried again with the same passwords.
const REFUSED: Duration = Duration::from_secs(10);

/// Where to connect to and how; `Debug` shows no password.
#[derive(Clone)]
pub struct Connect {
    asked: Asked,
    /// The name of the program on the server, if it is not the one in the settings.
    name: Option<String>,
    /// A setting for the session, as `name=value`.
    setting: Option<String>,
    /// The settings as they were at first.
    first: Resolved,
    refused: Arc<Mutex<Option<Refused>>>,
}

/// The last login that a server refused.
struct Refused {
    passwords: Vec<Option<String>>,
    at: Instant,
    error: ConnectError,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("target", &self.first.target)
            .field("sslmode", &self.first.sslmode)
            .field("warnings", &self.first.warnings)
            .finish_non_exhaustive()
    }
}

impl Connect {
    /// Resolves the settings; without `url`, `DATABASE_URL` counts, and without that the `PG*`
    /// variables alone. Reads files, opens no connection.
    ///
    /// Each connection is opened with the settings as the files have them then.
    pub fn resolve(url: Option<&str>, environment: &Environment) -> Result<Self, ConnectError> {
        Self::to(Wanted::Writes, url, environment)
    }

    /// The same for a server that is only looked at, such as a standby.
    pub(crate) fn to_standby(url: &str, environment: &Environment) -> Result<Self, ConnectError> {
        Self::to(Wanted::Looks, Some(url), environment)
    }

    fn to(
        wanted: Wanted,
        url: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, ConnectError> {
        let asked = Asked { url: url.map(str::to_owned), environment: environment.clone(), wanted };
        let first = asked.resolve().map_err(|error| ConnectError::bad_settings(&error))?;
        Ok(Self { asked, name: None, setting: None, first, refused: Arc::default() })
    }

    /// Names the program on the server: printable ASCII, other characters become `?`, cut to the
    /// 63 bytes that the server keeps. Replaces a name in the URL.
    #[must_use]
    pub fn application_name(mut self, name: &str) -> Self {
        self.name = Some(printable(name));
        self
    }

    /// Gives the session a setting with the login; neither name nor value may need quotes.
    #[must_use]
    pub(crate) fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.setting = Some(format!("{name}={value}"));
        self
    }

    /// Returns the name of the program on the server.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().or_else(|| self.first.config.get_application_name())
    }

    /// Returns database, servers and user, for messages.
    pub fn describe(&self) -> &str {
        &self.first.target
    }

    /// Returns what the user should be told although it is no error, such as an ignored password
    /// file.
    pub fn warnings(&self) -> &[String] {
        &self.first.warnings
    }

    /// Returns how much TLS verifies; of no meaning for a Unix socket.
    pub fn sslmode(&self) -> SslMode {
        self.first.sslmode
    }

    /// Returns how long an answer may be overdue before the connection counts as dead, `None`
    /// without limit: `tcp_user_timeout`.
    pub fn patience(&self) -> Option<Duration> {
        self.first.config.get_tcp_user_timeout().copied()
    }

    /// Whether one of the servers is to be reached on `port`.
    pub(crate) fn has_port(&self, port: i64) -> bool {
        self.first.servers.iter().any(|server| i64::from(server.endpoint.port) == port)
    }

    /// Opens one connection and starts the task that moves its messages; the server's notices are
    /// dropped.
    pub async fn open(&self) -> Result<(Client, Driver), ConnectError> {
        self.enter().await.map(|(client, driver, _)| (client, driver))
    }

    /// The same, with the release of the server.
    pub(super) async fn enter(&self) -> Result<Opened, ConnectError> {
        let mut now = self.asked.resolve().map_err(|error| ConnectError::bad_settings(&error))?;
        if let Some(name) = &self.name {
            now.config.application_name(name);
        }
        if let Some(setting) = &self.setting {
            let others = now.config.get_options().unwrap_or_default();
            now.config.options(format!("{others} -c {setting}"));
        }
        if let Some(error) = self.refused_just_now(&now) {
            return Err(error);
        }
        let mut failures = Vec::new();
        for server in in_turn(now.servers.clone(), now.is_balanced) {
            match reach(&now, &server).await {
                Ok(opened) => return Ok(opened),
                Err(error) => failures.push((server.endpoint.to_string(), error)),
            }
        }
        let error = ConnectError::of_servers(&now.target, failures, &now.warnings);
        if error.is_login() {
            let refused = Refused { passwords: passwords(&now), at: Instant::now(), error };
            let error = refused.error.clone();
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
            return Err(error);
        }
        Err(error)
    }

    fn refused_just_now(&self, now: &Resolved) -> Option<ConnectError> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refused.as_ref()?;
        let is_same = refused.at.elapsed() < REFUSED && refused.passwords == passwords(now);
        is_same.then(|| refused.error.clone())
    }

    /// Asks the server to end the statement behind `token`, for no longer than a connection takes.
    pub(crate) async fn cancel(&self, token: &CancelToken) -> Result<(), ConnectError> {
        let now = self.asked.resolve().map_err(|error| ConnectError::bad_settings(&error))?;
        let done = within(limit(&now.config), token.cancel_query(now.tls)).await;
        done.map_err(|silent| silent.in_words(&now.target))?
            .map_err(|error| ConnectError::refused(&now.target, &error))
    }
}

fn passwords(now: &Resolved) -> Vec<Option<String>> {
    now.servers.iter().map(|server| server.password.clone()).collect()
}

fn limit(config: &Config) -> Option<Duration> {
    config.get_connect_timeout().copied()
}

fn in_turn<T>(mut them: Vec<T>, is_balanced: bool) -> Vec<T> {
    if is_balanced {
        fastrand::shuffle(&mut them);
    }
    them
}

/// Tries the addresses of a server, one after the other, until one lets us in or refuses us.
async fn reach(now: &Resolved, server: &Server) -> Result<Opened, ConnectError> {
    let mut failure = None;
    for address in in_turn(addresses(now, server).await?, now.is_balanced) {
        match attempt(now, server, address).await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.is_refusal() => return Err(error),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| ConnectError::no_address(&now.target)))
}

/// Looks a name up; a socket has no address.
async fn addresses(now: &Resolved, server: &Server) -> Result<Vec<Option<IpAddr>>, ConnectError> {
    let endpoint = &server.endpoint;
    if endpoint.is_socket() || endpoint.address.is_some() {
        return Ok(vec![endpoint.address]);
    }
    let name = (endpoint.host.as_str(), endpoint.port);
    let found = within(limit(&now.config), tokio::net::lookup_host(name)).await;
    let found = found.map_err(|silent| silent.in_words(&now.target))?;
    let found = found.map_err(|error| ConnectError::unknown_host(&now.target, &error))?;
    Ok(found.map(|address| Some(address.ip())).collect())
}

/// Connects to one address and logs in.
async fn attempt(
    now: &Resolved,
    server: &Server,
    address: Option<IpAddr>,
) -> Result<Opened, ConnectError> {
    let mut config = now.config.clone();
    config.host(&server.endpoint.host).port(server.endpoint.port);
    if let Some(address) = address {
        config.hostaddr(address);
    }
    if let Some(password) = &server.password {
        config.password(password);
    }
    let attempt = Box::pin(config.connect(now.tls.clone()));
    let connected = within(limit(&now.config), attempt).await;
    let connected = connected.map_err(|silent| silent.in_words(&now.target))?;
    let (client, connection) =
        connected.map_err(|error| ConnectError::refused(&now.target, &error))?;
    let release = Release::of(connection.parameter("server_version"));
    Ok((client, tokio::spawn(drive(connection)), release))
}

/// Nothing came within this time.
struct Silent(Duration);

impl Silent {
    fn in_words(&self, target: &str) -> ConnectError {
        ConnectError::timed_out(target, self.0)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "before the login there is no transaction that could be lost"
)]
async fn within<F: Future>(limit: Option<Duration>, attempt: F) -> Result<F::Output, Silent> {
    let Some(limit) = limit else { return Ok(attempt.await) };
    // The driver's own limit ends with the TCP handshake; a server that then says nothing would
    // hold us for ever.
    tokio::time::timeout(limit, attempt).await.map_err(|_| Silent(limit))
}

async fn drive<S, T>(mut connection: Connection<S, T>) -> Result<(), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        message?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
