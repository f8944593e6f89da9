//! The server's settings, as the text that is appended to `postgresql.conf`.
//!
//! Pure. The defaults suit a server whose data nobody will miss; the caller's settings come
//! later in the text, and the last one wins. The socket directory stays the sandbox's own.

use std::net::TcpListener;

use super::SandboxError;

/// Suits data that may be lost: a stopped server keeps it, a crashed machine may not.
const DEFAULTS: [(&str, &str); 6] = [
    ("listen_addresses", ""),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("autovacuum", "on"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
];

/// Settings that would move the server away from where the sandbox looks for it.
const FIXED: [&str; 3] = ["unix_socket_directories", "data_directory", "external_pid_file"];

/// The port in the socket's name when nobody asked for one; its directory makes it unique.
const SOCKET_PORT: u16 = 5432;

/// The port, and the text for `postgresql.conf`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The TCP port, and the number in the socket's name.
    pub(super) port: u16,
    /// One `name = 'value'` a line.
    pub(super) text: String,
}

impl Settings {
    /// Composes the text from the defaults and the caller's settings for a server whose socket
    /// is in `socket_dir`.
    pub(super) fn compose(asked: &[(&str, &str)], socket_dir: &str) -> Result<Self, SandboxError> {
        for (name, _) in asked {
            check_name(name)?;
        }
        let port = match (last(asked, "port"), last(asked, "listen_addresses")) {
            (Some(port), _) => parse_port(port)?,
            (None, Some(addresses)) if !addresses.is_empty() => free_port()?,
            (None, _) => SOCKET_PORT,
        };
        let port_text = port.to_string();
        let own = [("port", port_text.as_str()), ("unix_socket_directories", socket_dir)];
        let all = DEFAULTS.iter().chain(asked).chain(&own);
        let text = all.map(|(name, value)| line(name, value)).collect();
        Ok(Self { port, text })
    }
}

fn last<'a>(asked: &[(&str, &'a str)], wanted: &str) -> Option<&'a str> {
    asked.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
}

fn line(name: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('\'', "''").replace('\n', r"\n");
    format!("{name} = '{value}'\n")
}

fn check_name(name: &str) -> Result<(), SandboxError> {
    let refuse = |because| Err(SandboxError::Setting { name: name.to_owned(), because });
    if FIXED.iter().any(|fixed| name.eq_ignore_ascii_case(fixed)) {
        return refuse("the sandbox chooses where its files are");
    }
    let spelled = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.is_empty() || !name.chars().all(spelled) {
        return refuse("a name has only letters, digits, _ and .");
    }
    Ok(())
}

fn parse_port(port: &str) -> Result<u16, SandboxError> {
    port.parse().ok().filter(|port| *port > 0).ok_or_else(|| SandboxError::Setting {
        name: "port".to_owned(),
        because: "a port is a number from 1 to 65535",
    })
}

/// Asks the system for a port that nobody listens on; the server takes it a moment later.
fn free_port() -> Result<u16, SandboxError> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(bound.map_err(SandboxError::io("find a free port"))?.port())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(asked: &[(&str, &str)]) -> String {
        Settings::compose(asked, "/tmp/x").unwrap().text
    }

    #[test]
    fn a_setting_of_the_caller_comes_after_the_default() {
        let text = text(&[("fsync", "on")]);
        assert!(text.find("fsync = 'off'") < text.find("fsync = 'on'"), "{text}");
    }

    #[test]
    fn only_the_socket_is_open_unless_addresses_are_asked_for() {
        let plain = Settings::compose(&[], "/tmp/x").unwrap();
        assert_eq!(plain.port, 5432);
        assert!(plain.text.contains("listen_addresses = ''\n"));
        assert!(plain.text.ends_with("port = '5432'\nunix_socket_directories = '/tmp/x'\n"));
    }

    #[test]
    fn a_server_on_tcp_gets_a_free_port_or_the_one_it_asks_for() {
        let free = Settings::compose(&[("listen_addresses", "127.0.0.1")], "/tmp/x").unwrap();
        TcpListener::bind(("127.0.0.1", free.port)).unwrap();
        assert!(free.text.contains(&format!("port = '{}'\n", free.port)));
        let fixed = [("listen_addresses", "127.0.0.1"), ("port", "6000")];
        assert_eq!(Settings::compose(&fixed, "/tmp/x").unwrap().port, 6000);
    }

    #[test]
    fn names_and_ports_that_cannot_work_are_refused() {
        let names = ["", "a b", "x'y", "fsync=on\nport", "Unix_Socket_Directories"];
        for name in names {
            assert!(Settings::compose(&[(name, "1")], "/tmp/x").is_err(), "{name:?}");
        }
        for port in ["0", "65536", "five", ""] {
            assert!(Settings::compose(&[("port", port)], "/tmp/x").is_err(), "{port:?}");
        }
    }

    proptest! {
        #[test]
        fn a_value_stays_inside_its_quotes(value in "[a'\\\\\n= ]{0,12}") {
            let line = line("x", &value);
            let inner = line.strip_prefix("x = '").unwrap().strip_suffix("'\n").unwrap();
            prop_assert!(!inner.contains('\n'));
            prop_assert_eq!(read_back(inner), value);
        }
    }

    /// Reads a quoted value as the server does.
    fn read_back(inner: &str) -> String {
        let mut value = String::new();
        let mut letters = inner.chars();
        while let Some(letter) = letters.next() {
            value.push(match letter {
                '\\' => match letters.next().unwrap() {
                    'n' => '\n',
                    other => other,
                },
                '\'' => letters.next().filter(|next| *next == '\'').unwrap(),
                other => other,
            });
        }
        value
    }
}
