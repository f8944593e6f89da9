//! From libpq's texts to typed settings: modes, time limits, and the driver's configuration.
//!
//! Promises that a value which is out of range or misspelt is refused with the keyword, where it
//! came from and what is allowed, and shown only if it cannot be a piece of a password.
//!
//! Not here: where the texts come from (`connect`), the list of servers (`endpoint`), what TLS does
//! with its part (`tls`).

use super::{
    conninfo::{Conninfo, ConninfoError, Source},
    endpoint::Endpoint,
    environment::Environment,
    keywords,
    service::ServiceError,
    tls::{SslMode, TlsError, TlsSettings},
};
use std::time::Duration;
use tokio_postgres::config::{
    ChannelBinding, Config, SslMode as DriverMode, SslNegotiation, TargetSessionAttrs,
};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The connection string cannot be read.
    #[error("{origin} {fault}")]
    Conninfo {
        /// Where the string came from.
        origin: Source,
        /// What is wrong with it.
        fault: ConninfoError,
    },
    /// The service cannot be looked up.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The TLS connector cannot be built.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A value is not one of those allowed.
    #[error("{origin} sets {keyword}{shown} but it must be {allowed}")]
    Value {
        /// Where the value came from.
        origin: Source,
        /// The keyword.
        keyword: &'static str,
        /// The value with `=`, or nothing.
        shown: String,
        /// What is allowed.
        allowed: String,
    },
    /// The setting asks for something that is not available.
    #[error("{origin} sets {keyword} to what is not available here; leave it out")]
    Unsupported {
        /// Where the value came from.
        origin: Source,
        /// The keyword.
        keyword: &'static str,
    },
    /// Settings contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
}

// A value that fits no list may be a piece of a password that split a URL wrongly.
pub(super) fn wrong(conninfo: &Conninfo, keyword: &'static str, allowed: String) -> SettingsError {
    let value = conninfo.get(keyword).unwrap_or_default();
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let shown = value.len() <= 40 && value.bytes().all(harmless);
    let shown = if shown { format!("={value}") } else { String::new() };
    SettingsError::Value { origin: conninfo.source(keyword), keyword, shown, allowed }
}

fn choose<T: Copy>(
    conninfo: &Conninfo,
    keyword: &'static str,
    choices: &[(&str, T)],
) -> Result<Option<T>, SettingsError> {
    let Some(value) = conninfo.get(keyword) else { return Ok(None) };
    if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == value) {
        return Ok(Some(*chosen));
    }
    let names = || choices.iter().map(|(name, _)| *name);
    let near = keywords::nearest_of(value, names());
    let meant = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    let allowed = format!("one of {}{meant}", names().collect::<Vec<_>>().join(", "));
    Err(wrong(conninfo, keyword, allowed))
}

fn number(conninfo: &Conninfo, keyword: &'static str) -> Result<Option<u32>, SettingsError> {
    let Some(value) = conninfo.get(keyword) else { return Ok(None) };
    // As in libpq, a negative limit is no limit, which zero says too.
    let parsed = value.trim().parse::<i32>().map(|number| u32::try_from(number).unwrap_or(0));
    parsed.map(Some).map_err(|_| wrong(conninfo, keyword, "a whole number".to_owned()))
}

/// Reads all that TLS needs to know.
pub(crate) fn tls(
    conninfo: &Conninfo,
    environment: &Environment,
) -> Result<TlsSettings, SettingsError> {
    let modes = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let mode = choose(conninfo, "sslmode", &modes)?;
    let root = conninfo.get("sslrootcert").map(str::to_owned);
    let trusts_system = root.as_deref() == Some("system");
    // As in libpq: anybody can get a certificate from a public CA, so the name must be compared.
    if trusts_system && mode.is_some_and(|mode| mode != SslMode::VerifyFull) {
        return Err(SettingsError::Conflict("sslrootcert=system needs sslmode=verify-full"));
    }
    let default = if trusts_system { SslMode::VerifyFull } else { SslMode::Prefer };
    Ok(TlsSettings {
        mode: mode.unwrap_or(default),
        root,
        certificate: conninfo.get("sslcert").map(Into::into),
        key: conninfo.get("sslkey").map(Into::into),
        defaults: environment.below_home(".postgresql"),
        sends_name: number(conninfo, "sslsni")? != Some(0),
        binds_channel: channel_binding(conninfo)? == ChannelBinding::Require,
    })
}

fn channel_binding(conninfo: &Conninfo) -> Result<ChannelBinding, SettingsError> {
    let choices = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    Ok(choose(conninfo, "channel_binding", &choices)?.unwrap_or(ChannelBinding::Prefer))
}

/// What a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To be written to.
    Writes,
    /// To be looked at only, such as a standby.
    Looks,
}

/// Builds the driver's configuration, all but servers, user, database and password.
pub(crate) fn driver_config(
    conninfo: &Conninfo,
    endpoints: &[Endpoint],
    (mode, wanted): (SslMode, Wanted),
) -> Result<Config, SettingsError> {
    let mut config = Config::new();
    config.ssl_mode(driver_mode(endpoints, mode)?);
    config.channel_binding(channel_binding(conninfo)?);
    config.target_session_attrs(session_attrs(conninfo, endpoints.len(), wanted)?);
    let negotiation = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
    if let Some(negotiation) = choose(conninfo, "sslnegotiation", &negotiation)? {
        if negotiation == SslNegotiation::Direct && mode < SslMode::Require {
            return Err(SettingsError::Conflict("sslnegotiation=direct needs sslmode=require"));
        }
        config.ssl_negotiation(negotiation);
    }
    if let Some(options) = conninfo.get("options") {
        config.options(options);
    }
    set_time_limits(&mut config, conninfo)?;
    Ok(config)
}

// As in libpq, sslmode says nothing about a Unix socket, where the server never offers TLS.
fn driver_mode(endpoints: &[Endpoint], mode: SslMode) -> Result<DriverMode, SettingsError> {
    let sockets = endpoints.iter().filter(|endpoint| endpoint.is_socket()).count();
    match mode {
        _ if sockets == endpoints.len() => Ok(DriverMode::Disable),
        SslMode::Disable => Ok(DriverMode::Disable),
        SslMode::Allow | SslMode::Prefer => Ok(DriverMode::Prefer),
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull if sockets > 0 => {
            Err(SettingsError::Conflict(
                "Unix sockets and TCP hosts cannot be mixed when sslmode asks for TLS",
            ))
        }
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Ok(DriverMode::Require),
    }
}

/// Whether servers are tried in an order of chance.
pub(crate) fn is_balanced(conninfo: &Conninfo) -> Result<bool, SettingsError> {
    let choices = [("disable", false), ("random", true)];
    Ok(choose(conninfo, "load_balance_hosts", &choices)?.unwrap_or(false))
}

// A primary that is read-only is of no use either, so `primary` is the same as `read-write`. Among
// several servers the one that takes writes is looked for; a single one that does not is connected
// to all the same, so that preflight can say so at once instead of trying again and again.
fn session_attrs(
    conninfo: &Conninfo,
    servers: usize,
    wanted: Wanted,
) -> Result<TargetSessionAttrs, SettingsError> {
    const KEYWORD: &str = "target_session_attrs";
    let choices = [
        ("read-write", TargetSessionAttrs::ReadWrite),
        ("primary", TargetSessionAttrs::ReadWrite),
        ("any", TargetSessionAttrs::Any),
        ("read-only", TargetSessionAttrs::ReadOnly),
        ("standby", TargetSessionAttrs::ReadOnly),
        ("prefer-standby", TargetSessionAttrs::ReadOnly),
    ];
    let chosen = choose(conninfo, KEYWORD, &choices)?;
    let searched = match wanted {
        _ if servers == 1 => TargetSessionAttrs::Any,
        Wanted::Writes => TargetSessionAttrs::ReadWrite,
        Wanted::Looks => TargetSessionAttrs::ReadOnly,
    };
    match (wanted, chosen) {
        (Wanted::Writes, Some(TargetSessionAttrs::ReadOnly)) => {
            let allowed = "read-write, primary or any, because piecemeal writes to the server";
            Err(wrong(conninfo, KEYWORD, allowed.to_owned()))
        }
        // What a variable says is meant for the server that is written to.
        (Wanted::Looks, _) if matches!(conninfo.source(KEYWORD), Source::Variable(_)) => {
            Ok(searched)
        }
        (_, chosen) => Ok(chosen.unwrap_or(searched)),
    }
}

fn set_time_limits(config: &mut Config, conninfo: &Conninfo) -> Result<(), SettingsError> {
    let seconds = |keyword, default| {
        let given = number(conninfo, keyword)?.unwrap_or(default);
        Ok::<_, SettingsError>((given > 0).then(|| Duration::from_secs(given.into())))
    };
    if let Some(limit) = seconds("connect_timeout", 10)? {
        config.connect_timeout(limit);
    }
    config.keepalives(number(conninfo, "keepalives")? != Some(0));
    if let Some(idle) = seconds("keepalives_idle", 10)? {
        config.keepalives_idle(idle);
    }
    // The kernel looks at tcp_user_timeout only when it sends the next probe.
    if let Some(interval) = seconds("keepalives_interval", 5)? {
        config.keepalives_interval(interval);
    }
    if let Some(count) = number(conninfo, "keepalives_count")?.filter(|count| *count > 0) {
        config.keepalives_retries(count);
    }
    // libpq counts this one in milliseconds.
    let unacknowledged = number(conninfo, "tcp_user_timeout")?.unwrap_or(20_000);
    if unacknowledged > 0 {
        config.tcp_user_timeout(Duration::from_millis(unacknowledged.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::endpoint::endpoints;

    fn conninfo(text: &str) -> Conninfo {
        Conninfo::parse(text, Source::Url).unwrap()
    }

    fn config(text: &str) -> Result<Config, String> {
        let conninfo = conninfo(text);
        let environment = Environment::default();
        let endpoints = endpoints(&conninfo, &environment).map_err(|e| e.to_string())?;
        let tls = tls(&conninfo, &environment).map_err(|e| e.to_string())?;
        driver_config(&conninfo, &endpoints, (tls.mode, Wanted::Writes)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_guard_against_dead_networks_and_standbys() {
        let config = config("host=h,i").unwrap();
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(10)));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(20)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(10));
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(config.get_ssl_mode(), DriverMode::Prefer);
    }

    #[test]
    fn a_server_that_cannot_be_written_to_is_not_asked_for() {
        for attrs in ["read-only", "standby", "prefer-standby"] {
            let text = format!("host=a,b target_session_attrs={attrs}");
            let error = config(&text).unwrap_err();
            assert!(error.ends_with("because piecemeal writes to the server"), "{error}");
            let wanted = session_attrs(&conninfo(&text), 2, Wanted::Looks).unwrap();
            assert_eq!(wanted, TargetSessionAttrs::ReadOnly);
        }
        let chosen = |text| config(text).map(|config| config.get_target_session_attrs());
        assert_eq!(chosen("target_session_attrs=primary"), Ok(TargetSessionAttrs::ReadWrite));
        assert_eq!(chosen("host=a,b target_session_attrs=any"), Ok(TargetSessionAttrs::Any));
        assert!(chosen("target_session_attrs=master").unwrap_err().contains("one of read-write"));
    }

    #[test]
    fn what_a_variable_asks_of_the_server_is_not_asked_of_a_standby() {
        let keyword = keywords::find("target_session_attrs").unwrap();
        let mut conninfo = conninfo("host=standby");
        conninfo.set(keyword, "read-write".into(), Source::Variable("PGTARGETSESSIONATTRS"));
        let attrs = |wanted| session_attrs(&conninfo, 1, wanted).unwrap();
        assert_eq!(attrs(Wanted::Looks), TargetSessionAttrs::Any);
        assert_eq!(attrs(Wanted::Writes), TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn time_limits_have_libpqs_units_and_zeroes() {
        let config = config("connect_timeout=0 tcp_user_timeout=1500 keepalives=0").unwrap();
        assert_eq!(config.get_connect_timeout(), None);
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
        assert!(!config.get_keepalives());
        let config = self::config("connect_timeout=-1 tcp_user_timeout=0").unwrap();
        assert_eq!((config.get_connect_timeout(), config.get_tcp_user_timeout()), (None, None));
    }

    #[test]
    fn a_misspelt_mode_names_its_neighbour() {
        let error = config("sslmode=verfy-full").unwrap_err();
        assert!(error.starts_with("the connection URL sets sslmode=verfy-full but it must be one"));
        assert!(error.ends_with("did you mean verify-full?"), "{error}");
        assert!(!config("sslmode='can@ary'").unwrap_err().contains("ary"));
    }

    #[test]
    fn every_sslmode_becomes_one_of_the_drivers() {
        let mode = |text: &str| config(text).map(|c| c.get_ssl_mode());
        assert_eq!(mode("host=h sslmode=allow"), Ok(DriverMode::Prefer));
        assert_eq!(mode("host=h sslmode=disable"), Ok(DriverMode::Disable));
        assert_eq!(mode("host=h sslmode=verify-ca"), Ok(DriverMode::Require));
        assert_eq!(mode("host=/run sslmode=verify-full"), Ok(DriverMode::Disable));
        assert!(mode("host=h,/run sslmode=require").is_err());
        assert_eq!(mode("host=h,/run"), Ok(DriverMode::Prefer));
    }

    #[test]
    fn weak_modes_are_refused_where_libpq_refuses_them() {
        assert!(config("host=h sslrootcert=system sslmode=require").is_err());
        assert!(config("host=h sslnegotiation=direct").is_err());
        let conninfo = conninfo("host=h sslrootcert=system");
        assert_eq!(tls(&conninfo, &Environment::default()).unwrap().mode, SslMode::VerifyFull);
    }
}
