//! `pg_service.conf`: named sets of connection settings.
//!
//! Promises libpq's look-up: the named file or `~/.pg_service.conf` first, then the system's file,
//! and the first file with a section of that name counts. Errors name file and line, never a value.

use super::{
    conninfo::{Conninfo, Source},
    environment::Environment,
    keywords,
};
use std::path::{Path, PathBuf};

/// Why a service cannot be looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServiceError {
    /// No file has a section of that name.
    #[error("there is no service {name:?} because no section [{name}] is in {}", list(files))]
    NotFound {
        /// The service.
        name: String,
        /// The files that were looked at.
        files: Vec<PathBuf>,
    },
    /// A file that the user named cannot be read.
    #[error("the service file {} cannot be read because {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: String,
    },
    /// A line of the section is wrong.
    #[error("line {line} of the service file {} {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

fn list(files: &[PathBuf]) -> String {
    match files {
        [] => "any service file, for none exists".to_owned(),
        files => {
            files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" or ")
        }
    }
}

/// Looks a service up; `named` is the file that the user gave with `servicefile` or
/// `PGSERVICEFILE`, which must then exist.
pub(crate) fn look_up(
    name: &str,
    named: Option<&str>,
    environment: &Environment,
) -> Result<Conninfo, ServiceError> {
    let own = named.map(PathBuf::from).or_else(|| environment.below_home(".pg_service.conf"));
    let system = environment.variable("PGSYSCONFDIR").unwrap_or("/etc/postgresql-common");
    let mut files = Vec::new();
    for path in own.into_iter().chain([Path::new(system).join("pg_service.conf")]) {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let found = section(&text, name);
                let found = found.map_err(|(line, problem)| ServiceError::Line {
                    path: path.clone(),
                    line,
                    problem,
                })?;
                if let Some(conninfo) = found {
                    return Ok(conninfo);
                }
                files.push(path);
            }
            Err(cause) if named.is_some_and(|named| Path::new(named) == path) => {
                return Err(ServiceError::Unreadable { path, cause: cause.to_string() });
            }
            Err(_) => {}
        }
    }
    Err(ServiceError::NotFound { name: name.to_owned(), files })
}

/// Reads one section out of the text of a service file; `None` if the text has none of that name,
/// an error with the line (from 1) and the problem if a line in it is wrong.
pub(crate) fn section(text: &str, name: &str) -> Result<Option<Conninfo>, (usize, String)> {
    let mut conninfo = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if conninfo.is_some() {
                break;
            }
            conninfo = (header.strip_suffix(']') == Some(name)).then(Conninfo::default);
        } else if let Some(conninfo) = &mut conninfo {
            put(conninfo, line).map_err(|problem| (index + 1, problem))?;
        }
    }
    Ok(conninfo)
}

fn put(conninfo: &mut Conninfo, line: &str) -> Result<(), String> {
    if line.starts_with("ldap:") {
        return Err("asks for an LDAP look-up, which is not available".to_owned());
    }
    let (name, value) = line.split_once('=').ok_or("lacks an =")?;
    if matches!(name, "service" | "servicefile") {
        return Err("names another service, which libpq does not allow either".to_owned());
    }
    let keyword = keywords::find(name).ok_or_else(|| match keywords::nearest(name) {
        Some(near) => format!("has an unknown keyword; did you mean {near}?"),
        None => "has an unknown keyword".to_owned(),
    })?;
    // As in libpq, the first of two equal keywords wins.
    if conninfo.source(keyword.name) == Source::Default {
        conninfo.set(keyword, value.to_owned(), Source::Service);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[other]\nhost=o\nnonsense\n\n[app]\r\n  host=h1 \nhost=h2\n\
                        password=a b=c\n[app]\nport=9\n";

    #[test]
    fn only_the_named_section_is_read() {
        let app = section(FILE, "app").unwrap().unwrap();
        assert_eq!((app.get("host"), app.get("port")), (Some("h1"), None));
        assert_eq!(app.get("password"), Some("a b=c"));
        assert_eq!(app.source("host"), Source::Service);
        assert_eq!(section(FILE, "ap").unwrap(), None);
    }

    #[test]
    fn a_wrong_line_is_named_by_number_and_not_shown() {
        assert_eq!(section(FILE, "other").unwrap_err(), (4, "lacks an =".to_owned()));
        let (line, problem) = section("[a]\nport=1\nhots=canary", "a").unwrap_err();
        assert_eq!((line, problem.as_str()), (3, "has an unknown keyword; did you mean host?"));
        assert!(section("[a]\nservice=b", "a").is_err());
        assert!(section("[a]\nldap://x=y", "a").is_err());
    }

    #[test]
    fn the_own_file_comes_before_the_system_file() {
        let [home, system] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        std::fs::write(home.path().join(".pg_service.conf"), "[a]\nport=1\n").unwrap();
        std::fs::write(system.path().join("pg_service.conf"), "[a]\nport=2\n[b]\nport=3").unwrap();
        let mut environment =
            Environment { home: Some(home.path().into()), ..Environment::default() };
        let directory = system.path().display().to_string();
        environment.variables.insert("PGSYSCONFDIR".into(), directory);
        let port =
            |name| look_up(name, None, &environment).map(|c| c.get("port").map(String::from));
        assert_eq!(port("a"), Ok(Some("1".to_owned())));
        assert_eq!(port("b"), Ok(Some("3".to_owned())));
        let error = port("c").unwrap_err().to_string();
        assert!(error.starts_with("there is no service \"c\" because"), "{error}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = look_up("a", Some("/nonexistent/file"), &Environment::default()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/file cannot be read"), "{error}");
    }
}
