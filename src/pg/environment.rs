//! What the process's surroundings say about connections: variables, home directory, user name.
//!
//! Promises that resolving a connection reads the environment through this value alone, so that a
//! test can give its own; `Debug` shows which variables are set, never their values.

use std::{collections::HashMap, fmt, path::PathBuf};

/// The surroundings that connection settings are looked up in.
#[derive(Clone, Default)]
pub struct Environment {
    /// Environment variables by name.
    pub variables: HashMap<String, String>,
    /// The home directory, where `.pgpass`, `.pg_service.conf` and `.postgresql` are.
    pub home: Option<PathBuf>,
    /// The name of the operating system's user, the default for the database's user.
    pub user: Option<String>,
    /// The directories to look for the server's Unix socket in, the first match wins.
    pub socket_directories: Vec<PathBuf>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.variables.keys().collect();
        names.sort_unstable();
        f.debug_struct("Environment")
            .field("variables", &names)
            .field("home", &self.home)
            .field("user", &self.user)
            .field("socket_directories", &self.socket_directories)
            .finish()
    }
}

impl Environment {
    /// Takes the surroundings of this process; only `DATABASE_URL` and `PG*` variables are kept,
    /// and one that is not UTF-8 counts as not set.
    pub fn of_process() -> Self {
        let variables: HashMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name == "DATABASE_URL" || name.starts_with("PG"))
            .collect();
        // As in libpq, the account of the effective user counts, not the variable USER.
        let account = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self {
            variables,
            home: home.or_else(|| account.as_ref().map(|account| account.dir.clone())),
            user: account.map(|account| account.name),
            socket_directories: vec!["/var/run/postgresql".into(), "/tmp".into()],
        }
    }

    /// Returns a variable; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the path of a file below the home directory, if that is known.
    pub fn below_home(&self, name: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(name))
    }

    /// Returns the first socket directory that holds the socket of a server on `port`.
    pub fn socket_directory(&self, port: u16) -> Option<&PathBuf> {
        let socket = format!(".s.PGSQL.{port}");
        self.socket_directories.iter().find(|directory| directory.join(&socket).exists())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_of_variables_only() {
        let mut environment = Environment::default();
        environment.variables.insert("PGPASSWORD".into(), "canary".into());
        let shown = format!("{environment:?}");
        assert!(shown.contains("PGPASSWORD") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn the_first_directory_with_the_socket_is_taken() {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let directories = [&one, &two].map(|d| d.path().to_path_buf());
        std::fs::write(two.path().join(".s.PGSQL.5433"), "").unwrap();
        let environment =
            Environment { socket_directories: directories.to_vec(), ..Environment::default() };
        assert_eq!(environment.socket_directory(5433), Some(&directories[1]));
        assert_eq!(environment.socket_directory(5432), None);
    }

    #[test]
    fn the_process_has_a_user_and_keeps_no_foreign_variables() {
        let environment = Environment::of_process();
        assert!(environment.user.is_some());
        assert!(!environment.variables.contains_key("PATH"));
    }
}
