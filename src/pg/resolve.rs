//! From URL, service file, environment and password file to the settings of one connection.
//!
//! Promises libpq's precedence (URL, service file, `PG*` variables, password file, defaults), a
//! password for each server, and no password in any text. All files are read anew each time, so that
//! a password or certificate that was changed is found.
//!
//! Not here: connections.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    conninfo::{Conninfo, Source},
    endpoint::{self, Endpoint},
    environment::Environment,
    keywords::KEYWORDS,
    passfile::{Account, Passfile},
    service,
    settings::{self, SettingsError, Wanted},
    tls::{self, SslMode},
};

/// What a connection is asked for with; enough to resolve its settings again.
#[derive(Clone)]
pub(super) struct Asked {
    /// The connection string; without it `DATABASE_URL` counts, and without that the variables.
    pub url: Option<String>,
    /// Where everything else is looked up.
    pub environment: Environment,
    /// Which kind of server it is for.
    pub wanted: Wanted,
}

/// A place to connect to, and the password there.
#[derive(Clone)]
pub(super) struct Server {
    pub endpoint: Endpoint,
    pub password: Option<String>,
}

/// The settings as they are now.
#[derive(Clone)]
pub(super) struct Resolved {
    /// All but servers and passwords.
    pub config: Config,
    pub tls: MakeRustlsConnect,
    pub sslmode: SslMode,
    /// In the order in which they are tried.
    pub servers: Vec<Server>,
    /// Whether servers and their addresses are tried in an order of chance.
    pub is_balanced: bool,
    /// Database, servers and user, for messages.
    pub target: String,
    /// What is no error, and should be said all the same.
    pub warnings: Vec<String>,
}

impl Asked {
    /// Resolves the settings: reads files, opens no connection.
    pub(super) fn resolve(&self) -> Result<Resolved, SettingsError> {
        let environment = &self.environment;
        let conninfo = gather(self.url.as_deref(), environment)?;
        if let Some((keyword, origin)) = conninfo.unsupported() {
            return Err(SettingsError::Unsupported { origin, keyword: keyword.name });
        }
        let endpoints = endpoint::endpoints(&conninfo, environment)?;
        let tls_settings = settings::tls(&conninfo, environment)?;
        let mut config =
            settings::driver_config(&conninfo, &endpoints, (tls_settings.mode, self.wanted))?;
        let user = conninfo
            .get("user")
            .or(environment.user.as_deref())
            .ok_or(SettingsError::Conflict("no user is named and the system's user has no name"))?;
        let dbname = conninfo.get("dbname").unwrap_or(user);
        config.user(user).dbname(dbname);
        if let Some(name) = conninfo.get("application_name") {
            config.application_name(printable(name));
        }
        let target = describe(&endpoints, dbname, user);
        let (servers, warning) = with_passwords(&conninfo, environment, endpoints, (dbname, user));
        Ok(Resolved {
            config,
            tls: tls::connector(&tls_settings)?,
            sslmode: tls_settings.mode,
            servers,
            is_balanced: settings::is_balanced(&conninfo)?,
            target,
            warnings: warning.into_iter().collect(),
        })
    }
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

/// Adds the password of each server, and returns a warning about the password file.
fn with_passwords(
    conninfo: &Conninfo,
    environment: &Environment,
    endpoints: Vec<Endpoint>,
    (dbname, user): (&str, &str),
) -> (Vec<Server>, Option<String>) {
    let given = conninfo.get("password");
    let (passfile, warning) = match given {
        Some(_) => (Passfile::default(), None),
        None => passfile(conninfo, environment),
    };
    let servers = endpoints.into_iter().map(|endpoint| {
        let account = Account { host: &endpoint.host, port: endpoint.port, dbname, user };
        let password = given.or_else(|| passfile.password_for(account)).map(str::to_owned);
        Server { endpoint, password }
    });
    (servers.collect(), warning)
}

fn passfile(conninfo: &Conninfo, environment: &Environment) -> (Passfile, Option<String>) {
    let named = conninfo.get("passfile").map(PathBuf::from);
    let is_named = named.is_some();
    let path = named.or_else(|| environment.below_home(".pgpass"));
    path.map_or_else(Default::default, |path| Passfile::read(&path, is_named))
}

fn describe(endpoints: &[Endpoint], dbname: &str, user: &str) -> String {
    let places: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    format!("database {dbname:?} on {} as user {user:?}", places.join(", "))
}

/// What the server keeps of the name of a program.
pub(super) fn printable(name: &str) -> String {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    name.chars().map(printable).take(63).collect()
}
