//! The URL form of a connection string: `postgresql://user:password@host:port,host:port/dbname?k=v`.
//!
//! Promises libpq's reading of it, with one difference: a URL whose parts hold a bare `@` or `#`
//! where libpq would take a piece of the password for a host or database name is refused, so that
//! such a piece is never sent to a name server or shown.

use super::{
    conninfo::{Conninfo, ConninfoError, Source},
    keywords,
};
use percent_encoding::percent_decode_str;

/// Parses what follows `postgresql://`.
pub(super) fn parse(rest: &str, source: Source) -> Result<Conninfo, ConninfoError> {
    let mut conninfo = Conninfo::default();
    let (userinfo, rest) = split_userinfo(rest);
    let (netloc, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, query),
        None => (tail, ""),
    };
    if netloc.contains(['@', '#']) || path.contains('@') {
        return Err(ConninfoError::UrlPassword("has a bare @ or # that splits it wrongly"));
    }
    let (hosts, ports) = split_hosts(netloc)?;
    let dbname = path.strip_prefix('/').unwrap_or(path);
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let parts = [("user", user), ("password", password), ("host", &hosts), ("port", &ports)];
    for (name, raw) in parts.into_iter().chain([("dbname", dbname)]) {
        put(&mut conninfo, (name, raw), source)?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        put_parameter(&mut conninfo, pair, source).map_err(|error| hide(error, query))?;
    }
    Ok(conninfo)
}

// A bare @ in the query may be the true end of the password, and the keyword a piece of it.
fn hide(error: ConninfoError, query: &str) -> ConninfoError {
    if query.contains('@') && matches!(error, ConninfoError::UnknownKeyword { .. }) {
        return ConninfoError::UrlPassword("has an unknown keyword");
    }
    error
}

// libpq looks for the first @ before any slash, so that `?` and `#` may stand in a password.
fn split_userinfo(rest: &str) -> (&str, &str) {
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let Some((userinfo, _)) = authority.split_once('@') else { return ("", rest) };
    let user = userinfo.split(':').next().unwrap_or_default();
    if user.contains('?') {
        return ("", rest);
    }
    (userinfo, &rest[userinfo.len() + 1..])
}

/// Splits `host:port,[v6]:port` into the lists of libpq's `host` and `port`; the ports may be
/// empty, and the port list is empty if all are.
fn split_hosts(netloc: &str) -> Result<(String, String), ConninfoError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for one in netloc.split(',') {
        let (host, port) = split_port(one)?;
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ConninfoError::UrlPassword("has a port that is not a number"));
        }
        hosts.push(host);
        ports.push(port);
    }
    let all_default = ports.iter().all(|port| port.is_empty());
    Ok((hosts.join(","), if all_default { String::new() } else { ports.join(",") }))
}

fn split_port(one: &str) -> Result<(&str, &str), ConninfoError> {
    let Some(bracketed) = one.strip_prefix('[') else {
        return Ok(one.split_once(':').unwrap_or((one, "")));
    };
    match bracketed.split_once(']') {
        Some(("", _)) | None => Err(ConninfoError::Url("has an empty or open [IPv6 address]")),
        Some((host, "")) => Ok((host, "")),
        Some((host, port)) => port
            .strip_prefix(':')
            .map(|port| (host, port))
            .ok_or(ConninfoError::Url("has text between an [IPv6 address] and its port")),
    }
}

fn put_parameter(conninfo: &mut Conninfo, pair: &str, source: Source) -> Result<(), ConninfoError> {
    let (name, value) = pair
        .split_once('=')
        .ok_or(ConninfoError::UrlPassword("has a parameter behind the ? without ="))?;
    match (decode(name)?.as_str(), value) {
        // Other drivers write it so, and libpq takes it for their sake.
        ("ssl", "true") => put(conninfo, ("sslmode", "require"), source),
        (name, value) => put(conninfo, (name, value), source),
    }
}

fn put(
    conninfo: &mut Conninfo,
    (name, raw): (&str, &str),
    source: Source,
) -> Result<(), ConninfoError> {
    let keyword = keywords::find(name).ok_or_else(|| ConninfoError::UnknownKeyword {
        name: Some(name.to_owned()),
        near: keywords::nearest(name),
    })?;
    if !raw.is_empty() {
        conninfo.set(keyword, decode(raw)?, source);
    }
    Ok(())
}

/// Undoes percent-encoding; unlike the crate, refuses an escape that is not one.
fn decode(raw: &str) -> Result<String, ConninfoError> {
    let well_formed = raw.split('%').skip(1).all(|escape| {
        let digits = escape.as_bytes().get(..2);
        digits.is_some_and(|d| d != b"00" && d.iter().all(u8::is_ascii_hexdigit))
    });
    if !well_formed {
        return Err(ConninfoError::Url(
            "has a % that two hexadecimal digits do not follow (write \
             a percent sign as %25)",
        ));
    }
    let decoded = percent_decode_str(raw).decode_utf8();
    decoded.map(Into::into).map_err(|_| ConninfoError::Url("has % escapes that are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    fn parsed(url: &str) -> Result<Conninfo, ConninfoError> {
        Conninfo::parse(url, Source::Url)
    }

    fn values<const N: usize>(url: &str, keywords: [&str; N]) -> [String; N] {
        let conninfo = parsed(url).unwrap();
        keywords.map(|keyword| conninfo.get(keyword).unwrap_or("-").to_owned())
    }

    #[test]
    fn every_part_of_a_url_is_read() {
        let url = "postgresql://bob:s%40fe@db.example:6432/app%20x?sslmode=verify-full\
                   &options=-c%20a%3Db&application_name=t+x";
        let read = values(url, ["user", "password", "host", "port", "dbname"]);
        assert_eq!(read, ["bob", "s@fe", "db.example", "6432", "app x"]);
        let read = values(url, ["sslmode", "options", "application_name"]);
        assert_eq!(read, ["verify-full", "-c a=b", "t+x"]);
    }

    #[test]
    fn the_parts_may_all_be_absent() {
        let read = |url| values(url, ["user", "host", "port", "dbname"]);
        assert_eq!(read("postgres://"), ["-", "-", "-", "-"]);
        assert_eq!(read("postgres:///app"), ["-", "-", "-", "app"]);
        assert_eq!(read("postgres://bob@"), ["bob", "-", "-", "-"]);
        assert_eq!(read("postgres://?user=me@srv"), ["me@srv", "-", "-", "-"]);
        assert_eq!(read("postgres://h?port=1"), ["-", "h", "1", "-"]);
    }

    #[test]
    fn several_hosts_keep_their_ports_in_order() {
        let read = |url| values(url, ["host", "port"]);
        assert_eq!(read("postgres://a:1,b,[::1]:3/x"), ["a,b,::1", "1,,3"]);
        assert_eq!(read("postgres://a,b/x"), ["a,b", "-"]);
        assert_eq!(read("postgres://[2001:db8::1]"), ["2001:db8::1", "-"]);
    }

    #[test]
    fn a_socket_directory_may_be_escaped_or_a_parameter() {
        let read = |url| values(url, ["host", "dbname"]);
        assert_eq!(read("postgres://%2Frun%2Fpg/app"), ["/run/pg", "app"]);
        assert_eq!(read("postgres:///app?host=/run/pg"), ["/run/pg", "app"]);
    }

    #[test]
    fn ssl_true_means_sslmode_require() {
        assert_eq!(values("postgres://h/d?ssl=true", ["sslmode"]), ["require"]);
        let error = parsed("postgres://h/d?ssl=maybe").unwrap_err().to_string();
        assert_eq!(error, "has an unknown keyword \"ssl\"");
    }

    #[test]
    fn a_password_may_hold_what_libpq_lets_it_hold() {
        assert_eq!(values("postgres://u:a#b?c:d@h/d", ["password", "host"]), ["a#b?c:d", "h"]);
    }

    #[test]
    fn a_password_that_breaks_the_url_gets_a_hint_and_is_not_shown() {
        for url in [
            "postgres://u:can/ary@h/d",
            "postgres://u:1/canary@h/d",
            "postgres://u:canary@canary@h/d",
            "postgres://u:x@canary#y/z@h/d",
            "postgres://u:p@x/canary?y@h/d",
            "postgres://u:1/2?canary=x@h/d",
            "postgres://u:p@h/2?x=y&canary@h/d",
            "postgres://h:canary/d",
        ] {
            let error = parsed(url).unwrap_err().to_string();
            assert!(error.contains("percent-encode"), "{url}: {error}");
            assert!(!error.contains("can"), "{error}");
        }
    }

    #[test]
    fn malformed_escapes_and_addresses_are_refused() {
        for url in ["postgres://u:%zz@h", "postgres://u:%4@h", "postgres://%00", "postgres://h/%ff"]
        {
            assert!(parsed(url).unwrap_err().to_string().contains('%'), "{url}");
        }
        for url in ["postgres://[::1/d", "postgres://[]/d", "postgres://[::1]x/d"] {
            assert!(parsed(url).unwrap_err().to_string().contains("IPv6"), "{url}");
        }
    }

    proptest! {
        #[test]
        fn a_percent_encoded_part_reads_back(password in "[^\0]+", dbname in "[^\0]+") {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let url = format!("postgres://u:{}@h:1/{}", encode(&password), encode(&dbname));
            prop_assert_eq!(values(&url, ["password", "dbname"]), [password, dbname]);
        }

        #[test]
        fn no_url_at_all_panics(rest in "[a-z:/@?#&=%,\\[\\]0-9é]*") {
            let _ = parsed(&format!("postgres://{rest}"));
        }

        #[test]
        fn a_bare_password_is_read_as_a_whole_or_refused(
            password in "canary[a-z:/@?#&=,0-9]*yranac"
        ) {
            let url = format!("postgres://u:{password}@h/d");
            match parsed(&url) {
                Ok(read) => prop_assert_eq!(read.get("password"), Some(password.as_str())),
                Err(error) => prop_assert!(!error.to_string().contains("canary")),
            }
        }
    }
}
