//! The table of libpq's connection keywords: their `PG*` variables and what piecemeal makes of them.
//!
//! Promises that each keyword that libpq 18 knows is honoured, ignored because it changes nothing
//! here, or refused by name; never dropped silently when it would weaken the connection.

use std::fmt;

/// What piecemeal does with the value of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// The value takes effect.
    Honoured,
    /// The value changes nothing that matters here, so any value is fine.
    Ignored,
    /// Only these values (compared without case) mean what piecemeal does; none if empty.
    Only(&'static [&'static str]),
}

/// One keyword of a libpq connection string.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keyword {
    /// The name in connection strings and service files, in lower case.
    pub name: &'static str,
    /// The environment variable that sets it, if there is one.
    pub variable: Option<&'static str>,
    /// What piecemeal does with it.
    pub support: Support,
}

impl fmt::Debug for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Keyword {
    /// Tells whether the value must never be shown.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(
            self.name,
            "password"
                | "sslpassword"
                | "scram_client_key"
                | "scram_server_key"
                | "oauth_client_secret"
        )
    }

    /// Tells whether piecemeal can keep the promise that `value` makes; the empty value promises
    /// nothing.
    pub(crate) fn supports(&self, value: &str) -> bool {
        match self.support {
            Support::Honoured | Support::Ignored => true,
            Support::Only(values) => {
                value.is_empty() || values.iter().any(|v| v.eq_ignore_ascii_case(value))
            }
        }
    }
}

const fn honoured(name: &'static str, variable: &'static str) -> Keyword {
    Keyword { name, variable: Some(variable), support: Support::Honoured }
}

const fn ignored(name: &'static str, variable: Option<&'static str>) -> Keyword {
    Keyword { name, variable, support: Support::Ignored }
}

const fn plain(name: &'static str) -> Keyword {
    Keyword { name, variable: None, support: Support::Honoured }
}

const fn only(
    name: &'static str,
    variable: Option<&'static str>,
    values: &'static [&'static str],
) -> Keyword {
    Keyword { name, variable, support: Support::Only(values) }
}

/// Every keyword that libpq 18 knows.
pub(crate) const KEYWORDS: &[Keyword] = &[
    honoured("host", "PGHOST"),
    honoured("hostaddr", "PGHOSTADDR"),
    honoured("port", "PGPORT"),
    honoured("dbname", "PGDATABASE"),
    honoured("user", "PGUSER"),
    honoured("password", "PGPASSWORD"),
    honoured("passfile", "PGPASSFILE"),
    honoured("service", "PGSERVICE"),
    honoured("servicefile", "PGSERVICEFILE"),
    honoured("options", "PGOPTIONS"),
    honoured("application_name", "PGAPPNAME"),
    honoured("connect_timeout", "PGCONNECT_TIMEOUT"),
    honoured("target_session_attrs", "PGTARGETSESSIONATTRS"),
    honoured("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    honoured("channel_binding", "PGCHANNELBINDING"),
    honoured("sslmode", "PGSSLMODE"),
    honoured("sslnegotiation", "PGSSLNEGOTIATION"),
    honoured("sslrootcert", "PGSSLROOTCERT"),
    honoured("sslcert", "PGSSLCERT"),
    honoured("sslkey", "PGSSLKEY"),
    honoured("sslsni", "PGSSLSNI"),
    plain("keepalives"),
    plain("keepalives_idle"),
    plain("keepalives_interval"),
    plain("keepalives_count"),
    plain("tcp_user_timeout"),
    ignored("fallback_application_name", None),
    ignored("client_encoding", Some("PGCLIENTENCODING")),
    ignored("authtype", None),
    ignored("sslcompression", Some("PGSSLCOMPRESSION")),
    ignored("krbsrvname", Some("PGKRBSRVNAME")),
    ignored("gsslib", Some("PGGSSLIB")),
    ignored("gssdelegation", Some("PGGSSDELEGATION")),
    ignored("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    only("min_protocol_version", Some("PGMINPROTOCOLVERSION"), &["3.0"]),
    only("gssencmode", Some("PGGSSENCMODE"), &["disable", "prefer"]),
    only("sslcertmode", Some("PGSSLCERTMODE"), &["allow"]),
    // rustls speaks TLS 1.2 and 1.3 only, so these bounds are already kept.
    only(
        "ssl_min_protocol_version",
        Some("PGSSLMINPROTOCOLVERSION"),
        &["TLSv1", "TLSv1.1", "TLSv1.2"],
    ),
    only("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), &["TLSv1.3"]),
    only("replication", None, &["false", "off", "no", "0"]),
    only("require_auth", Some("PGREQUIREAUTH"), &[]),
    only("requirepeer", Some("PGREQUIREPEER"), &[]),
    only("sslpassword", None, &[]),
    only("sslcrl", Some("PGSSLCRL"), &[]),
    only("sslcrldir", Some("PGSSLCRLDIR"), &[]),
    only("sslkeylogfile", None, &[]),
    only("scram_client_key", None, &[]),
    only("scram_server_key", None, &[]),
    only("oauth_issuer", None, &[]),
    only("oauth_client_id", None, &[]),
    only("oauth_client_secret", None, &[]),
    only("oauth_scope", None, &[]),
];

/// Finds a keyword by its exact name.
pub(crate) fn find(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}

/// Finds the keyword that a misspelt name most likely means, at most two or three edits away.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    nearest_of(name, KEYWORDS.iter().map(|keyword| keyword.name))
}

/// Finds the candidate most like `given`, if one is at most a third of its length away.
pub(crate) fn nearest_of<'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&given, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_keyword_finds_its_neighbour() {
        assert_eq!(nearest("sslmod"), Some("sslmode"));
        assert_eq!(nearest("hots"), Some("host"));
        assert_eq!(nearest("PASSWORD"), Some("password"));
        assert_eq!(nearest("frobnicate"), None);
    }

    #[test]
    fn names_and_variables_are_unique() {
        let mut names: Vec<_> = KEYWORDS.iter().map(|k| k.name).collect();
        let mut variables: Vec<_> = KEYWORDS.iter().filter_map(|k| k.variable).collect();
        let (all_names, all_variables) = (names.len(), variables.len());
        names.sort_unstable();
        names.dedup();
        variables.sort_unstable();
        variables.dedup();
        assert_eq!((names.len(), variables.len()), (all_names, all_variables));
    }

    #[test]
    fn a_setting_that_would_strengthen_the_connection_is_not_ignored() {
        let supports = |name, value| find(name).is_some_and(|k| k.supports(value));
        assert!(!supports("gssencmode", "require"));
        assert!(supports("gssencmode", "PREFER"));
        assert!(!supports("require_auth", "scram-sha-256"));
        assert!(supports("require_auth", ""));
        assert!(!supports("ssl_min_protocol_version", "TLSv1.3"));
        assert!(!supports("sslcrl", "/etc/crl.pem"));
    }
}
