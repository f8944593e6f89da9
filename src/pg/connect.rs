//! A connection's settings, resolved once from URL, service file, environment and password file,
//! and the opening of connections with them.
//!
//! Promises libpq's precedence (URL, service file, `PG*` variables, password file, defaults), a
//! read-write server unless the user says otherwise, and no password in any text.
//!
//! Not here: retries and pools. A resolved value holds the password it found; resolve again to
//! notice a rotated one.

use super::{
    connect_error::ConnectError,
    conninfo::{Conninfo, Source},
    endpoint::{self, Endpoint},
    environment::Environment,
    keywords::KEYWORDS,
    passfile::{Account, Passfile},
    service,
    settings::{self, SettingsError},
    tls::{self, SslMode},
};
use std::{fmt, future::poll_fn, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_postgres::{Client, Config, Connection};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The task that moves a connection's messages; it ends with the connection, or with the error that
/// broke it.
pub(crate) type Driver = JoinHandle<Result<(), tokio_postgres::Error>>;

/// Resolved settings, enough to open any number of connections; `Debug` shows no password.
#[derive(Clone)]
pub struct Connect {
    config: Config,
    tls: MakeRustlsConnect,
    sslmode: SslMode,
    target: String,
    warnings: Vec<String>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("target", &self.target)
            .field("sslmode", &self.sslmode)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl Connect {
    /// Resolves the settings; without `url`, `DATABASE_URL` counts, and without that the `PG*`
    /// variables alone. Reads files, opens no connection.
    pub fn resolve(url: Option<&str>, environment: &Environment) -> Result<Self, ConnectError> {
        resolve(url, environment).map_err(|error| ConnectError::bad_settings(&error))
    }

    /// Names the program on the server: printable ASCII, other characters become `?`, cut to the
    /// 63 bytes that the server keeps. Replaces a name in the URL.
    #[must_use]
    pub fn application_name(mut self, name: &str) -> Self {
        self.config.application_name(printable(name));
        self
    }

    /// Returns database, servers and user, for messages.
    pub fn describe(&self) -> &str {
        &self.target
    }

    /// Returns what the user should be told although it is no error, such as an ignored password
    /// file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns how much TLS verifies; of no meaning for a Unix socket.
    pub fn sslmode(&self) -> SslMode {
        self.sslmode
    }

    /// Returns the driver's configuration, which goes with `tls`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the TLS connector, needed for connections and for cancelling queries.
    pub fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Returns the longest time that opening may take, `None` without limit: `connect_timeout` for
    /// each server, and once more for the login.
    pub fn deadline(&self) -> Option<Duration> {
        let servers = self.config.get_ports().len().max(1);
        let turns = u32::try_from(servers).unwrap_or(u32::MAX).saturating_add(1);
        self.config.get_connect_timeout().map(|limit| limit.saturating_mul(turns))
    }

    /// Opens one connection and starts the task that moves its messages; the server's notices are
    /// dropped.
    pub async fn open(&self) -> Result<(Client, Driver), ConnectError> {
        let attempt = Box::pin(self.config.connect(self.tls()));
        let connected = match self.deadline() {
            Some(limit) => within(limit, attempt)
                .await
                .ok_or_else(|| ConnectError::timed_out(&self.target, limit))?,
            None => attempt.await,
        };
        let (client, connection) = connected.map_err(|error| self.explain(&error))?;
        Ok((client, tokio::spawn(drive(connection))))
    }

    /// Explains why the driver could not connect with these settings.
    pub fn explain(&self, error: &tokio_postgres::Error) -> ConnectError {
        ConnectError::refused(&self.target, error)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "before the login there is no transaction that could be lost"
)]
async fn within<F: Future>(limit: Duration, attempt: F) -> Option<F::Output> {
    // The driver's own limit ends with the TCP handshake; a server that then says nothing would
    // hold us for ever.
    tokio::time::timeout(limit, attempt).await.ok()
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

fn resolve(url: Option<&str>, environment: &Environment) -> Result<Connect, SettingsError> {
    let conninfo = gather(url, environment)?;
    if let Some((keyword, origin)) = conninfo.unsupported() {
        return Err(SettingsError::Unsupported { origin, keyword: keyword.name });
    }
    let endpoints = endpoint::endpoints(&conninfo, environment)?;
    let tls_settings = settings::tls(&conninfo, environment)?;
    let mut config = settings::driver_config(&conninfo, &endpoints, tls_settings.mode)?;
    let user = conninfo
        .get("user")
        .or(environment.user.as_deref())
        .ok_or(SettingsError::Conflict("no user is named and the system's user has no name"))?;
    let dbname = conninfo.get("dbname").unwrap_or(user);
    config.user(user).dbname(dbname);
    if let Some(name) = conninfo.get("application_name") {
        config.application_name(printable(name));
    }
    let (password, warning) = password(&conninfo, environment, (&endpoints, dbname, user))?;
    if let Some(password) = password {
        config.password(password);
    }
    Ok(Connect {
        config,
        tls: tls::connector(&tls_settings)?,
        sslmode: tls_settings.mode,
        target: describe(&endpoints, dbname, user),
        warnings: warning.into_iter().collect(),
    })
}

/// Merges URL, service file and environment, the strongest first.
fn gather(url: Option<&str>, environment: &Environment) -> Result<Conninfo, SettingsError> {
    let given = match url {
        Some(url) => Some((url, Source::Url)),
        None => environment.variable("DATABASE_URL").map(|u| (u, Source::Variable("DATABASE_URL"))),
    };
    let mut conninfo = match given {
        Some((text, origin)) => Conninfo::parse(text, origin)
            .map_err(|fault| SettingsError::Conninfo { origin, fault })?,
        None => Conninfo::default(),
    };
    let variables = of_variables(environment);
    let either = |keyword| conninfo.get(keyword).or(variables.get(keyword));
    if let Some(name) = either("service") {
        let section = service::look_up(name, either("servicefile"), environment)?;
        conninfo.fill(section);
    }
    conninfo.fill(variables);
    Ok(conninfo)
}

fn of_variables(environment: &Environment) -> Conninfo {
    let mut conninfo = Conninfo::default();
    for keyword in KEYWORDS {
        let set = keyword.variable.and_then(|name| Some((name, environment.variable(name)?)));
        if let Some((name, value)) = set {
            conninfo.set(keyword, value.to_owned(), Source::Variable(name));
        }
    }
    conninfo
}

type FoundPassword = (Option<String>, Option<String>);

/// Returns the password and a warning about the password file.
fn password(
    conninfo: &Conninfo,
    environment: &Environment,
    (endpoints, dbname, user): (&[Endpoint], &str, &str),
) -> Result<FoundPassword, SettingsError> {
    if let Some(password) = conninfo.get("password") {
        return Ok((Some(password.to_owned()), None));
    }
    let named = conninfo.get("passfile").map(PathBuf::from);
    let is_named = named.is_some();
    let Some(path) = named.or_else(|| environment.below_home(".pgpass")) else {
        return Ok((None, None));
    };
    let (passfile, warning) = Passfile::read(&path, is_named);
    let mut found: Vec<&str> = endpoints
        .iter()
        .filter_map(|Endpoint { host, port, .. }| {
            passfile.password_for(Account { host, port: *port, dbname, user })
        })
        .collect();
    found.dedup();
    match found.as_slice() {
        [] => Ok((None, warning)),
        [one] => Ok((Some((*one).to_owned()), warning)),
        // The driver tries all hosts with one password.
        _ => Err(SettingsError::Conflict(
            "the password file has different passwords for the hosts, but one must fit all",
        )),
    }
}

fn describe(endpoints: &[Endpoint], dbname: &str, user: &str) -> String {
    let places: Vec<_> = endpoints
        .iter()
        .map(|endpoint| match endpoint {
            socket if socket.is_socket() => format!("{}/.s.PGSQL.{}", socket.host, socket.port),
            Endpoint { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint { host, port, .. } => format!("{host}:{port}"),
        })
        .collect();
    format!("database {dbname:?} on {} as user {user:?}", places.join(", "))
}

fn printable(name: &str) -> String {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    name.chars().map(printable).take(63).collect()
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
