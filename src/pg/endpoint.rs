//! The servers that the settings name: host names, addresses, socket directories and ports.
//!
//! Promises at least one endpoint, each with a host name that TLS can use or a socket directory.

use super::{
    conninfo::Conninfo,
    environment::Environment,
    settings::{SettingsError, wrong},
};
use rustls::pki_types::ServerName;
use std::{fmt, net::IpAddr};

/// One place where the server may be; either a host name or a socket directory, or both a name and
/// the address that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host name or address for the certificate, or a directory that begins with a slash.
    pub host: String,
    /// The address to connect to instead of looking the name up.
    pub address: Option<IpAddr>,
    /// The TCP port, also a part of the socket's file name.
    pub port: u16,
}

impl Endpoint {
    /// Tells whether it is a Unix socket.
    pub(crate) fn is_socket(&self) -> bool {
        self.address.is_none() && self.host.starts_with('/')
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { host, port, .. } = self;
        match host {
            directory if self.is_socket() => write!(f, "{directory}/.s.PGSQL.{port}"),
            v6 if v6.contains(':') => write!(f, "[{v6}]:{port}"),
            name => write!(f, "{name}:{port}"),
        }
    }
}

/// Reads `host`, `hostaddr` and `port` into at least one endpoint.
pub(crate) fn endpoints(
    conninfo: &Conninfo,
    environment: &Environment,
) -> Result<Vec<Endpoint>, SettingsError> {
    let list = |keyword| conninfo.get(keyword).map(|text| text.split(',').collect::<Vec<_>>());
    let [hosts, addresses, ports] = ["host", "hostaddr", "port"].map(list);
    let count = hosts.as_ref().or(addresses.as_ref()).map_or(1, Vec::len);
    if addresses.as_ref().is_some_and(|addresses| addresses.len() != count) {
        return Err(SettingsError::Conflict("host and hostaddr must list equally many servers"));
    }
    if ports.as_ref().is_some_and(|ports| ports.len() != 1 && ports.len() != count) {
        return Err(SettingsError::Conflict("port must list one port, or one for each host"));
    }
    let nth = |list: &Option<Vec<&str>>, index: usize| {
        let list = list.as_deref().unwrap_or_default();
        list.get(index).map_or_else(String::new, |text| text.trim().to_owned())
    };
    let one_port = ports.as_ref().is_some_and(|ports| ports.len() == 1);
    (0..count)
        .map(|index| {
            let port = port(conninfo, &nth(&ports, if one_port { 0 } else { index }))?;
            let address = address(conninfo, &nth(&addresses, index))?;
            let host = host(conninfo, environment, (nth(&hosts, index), address, port))?;
            Ok(Endpoint { host, address, port })
        })
        .collect()
}

fn port(conninfo: &Conninfo, text: &str) -> Result<u16, SettingsError> {
    if text.is_empty() {
        return Ok(5432);
    }
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| wrong(conninfo, "port", "a number from 1 to 65535".to_owned()))
}

fn address(conninfo: &Conninfo, text: &str) -> Result<Option<IpAddr>, SettingsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let allowed = || "an IPv4 or IPv6 address".to_owned();
    text.parse().map(Some).map_err(|_| wrong(conninfo, "hostaddr", allowed()))
}

// The TLS connector needs a server name in every mode, so an address stands in for a missing one.
fn host(
    conninfo: &Conninfo,
    environment: &Environment,
    (text, address, port): (String, Option<IpAddr>, u16),
) -> Result<String, SettingsError> {
    let is_path = text.starts_with('/');
    match address {
        Some(address) if text.is_empty() || is_path => return Ok(address.to_string()),
        None if is_path => return Ok(text),
        None if text.is_empty() => {
            let directory = environment.socket_directory(port);
            return Ok(directory.map_or("localhost".to_owned(), |d| d.display().to_string()));
        }
        Some(_) | None => {}
    }
    if ServerName::try_from(text.as_str()).is_err() {
        let allowed = "a host name, an address, or a directory that begins with a slash";
        return Err(wrong(conninfo, "host", allowed.to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::conninfo::Source;

    fn found(text: &str) -> Result<Vec<(String, Option<String>, u16)>, String> {
        let conninfo = Conninfo::parse(text, Source::Url).unwrap();
        let endpoints = endpoints(&conninfo, &Environment::default());
        let plain = |e: Endpoint| (e.host, e.address.map(|a| a.to_string()), e.port);
        endpoints.map(|e| e.into_iter().map(plain).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn hosts_and_ports_are_paired() {
        let host = |h: &str, port| (h.to_owned(), None, port);
        assert_eq!(found("host=a,b port=1,").unwrap(), [host("a", 1), host("b", 5432)]);
        assert_eq!(found("host=a,/run port=7").unwrap(), [host("a", 7), host("/run", 7)]);
        assert_eq!(found("port=7").unwrap(), [host("localhost", 7)]);
        assert_eq!(found("host=::1").unwrap(), [host("::1", 5432)]);
        assert!(found("host=a,b port=1,2,3").is_err());
    }

    #[test]
    fn an_address_alone_is_its_own_server_name() {
        let v4 = ("10.0.0.1".to_owned(), Some("10.0.0.1".to_owned()), 5432);
        assert_eq!(found("hostaddr=10.0.0.1").unwrap(), std::slice::from_ref(&v4));
        assert_eq!(found("hostaddr=10.0.0.1 host=/run").unwrap(), std::slice::from_ref(&v4));
        let named = ("db".to_owned(), v4.1.clone(), 5432);
        assert_eq!(found("hostaddr=10.0.0.1 host=db").unwrap(), [named]);
        let looked_up = ("b".to_owned(), None, 5432);
        assert_eq!(found("host=10.0.0.1,b hostaddr=10.0.0.1,").unwrap(), [v4, looked_up]);
        assert!(found("host=a,b hostaddr=10.0.0.1").unwrap_err().contains("equally many"));
    }

    #[test]
    fn wrong_hosts_ports_and_addresses_are_refused() {
        for text in ["port=0", "port=65536", "port=x", "host='a b'", "host=@x", "hostaddr=db"] {
            assert!(found(text).unwrap_err().starts_with("the connection URL sets"), "{text}");
        }
        assert!(!found("host=x@canary").unwrap_err().contains("canary"));
    }
}
