//! Where the server's programs are.
//!
//! Distributions keep `initdb` and `postgres` in directories of their own, often off the PATH.
//! The first place that holds all programs wins: what the user names, the PATH, what
//! `pg_config` says, then the known places, the newest version first.
//!
//! Deliberately not here: how programs get there (`install`), and whether they run.

use std::cmp::Reverse;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SandboxError;
use super::install;

/// Names the directory of the programs, and then no other place counts.
const VARIABLE: &str = "PIECEMEAL_PG_BIN";

/// What a sandbox runs, itself or by `pg_ctl`.
const NEEDED: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// Known places: a parent directory, how a child's name begins before its version, and what
/// follows below it.
const PLACES: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/lib", "postgresql", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The programs of one `PostgreSQL` server installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    bin: PathBuf,
}

impl Programs {
    /// Finds an installation, or returns nothing if there is none; installs nothing.
    pub fn find() -> Option<Self> {
        if let Some(named) = named() {
            return Self::at(&named);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let known = PLACES.iter().flat_map(|(parent, stem, below)| versions(parent, stem, below));
        // Lazily, since asking pg_config runs a program.
        env::split_paths(&path)
            .find_map(|dir| Self::at(&dir))
            .or_else(|| Self::at(&configured()?))
            .or_else(|| known.into_iter().find_map(|dir| Self::at(&dir)))
    }

    /// Finds an installation, or makes one with the system's package manager.
    ///
    /// `say` is told each command before it runs, and why. A password may be asked for on the
    /// terminal, if there is one.
    pub fn find_or_install(say: &mut dyn FnMut(&str)) -> Result<Self, SandboxError> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        if let Some(named) = named() {
            return Err(SandboxError::NotThere(named));
        }
        install::install(say)
    }

    /// Returns the directory of the programs.
    pub fn bin_dir(&self) -> &Path {
        &self.bin
    }

    /// Returns the path of one program by its name, whether it exists or not.
    pub fn path_of(&self, program: &str) -> PathBuf {
        self.bin.join(program)
    }

    /// Links are followed where that leads to all programs: next to `initdb` itself are
    /// `psql` and the others, next to a link to it there may be nothing else.
    fn at(dir: &Path) -> Option<Self> {
        let real = fs::canonicalize(dir.join("initdb")).ok();
        let real = real.as_deref().and_then(Path::parent);
        let bin = real.filter(|dir| holds_all(dir)).or(Some(dir).filter(|dir| holds_all(dir)))?;
        Some(Self { bin: bin.to_owned() })
    }
}

fn named() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|named| !named.is_empty()).map(PathBuf::from)
}

fn holds_all(dir: &Path) -> bool {
    dir.is_absolute() && NEEDED.iter().all(|program| dir.join(program).is_file())
}

fn configured() -> Option<PathBuf> {
    let asked = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
    Some(PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim_end()))
}

/// Lists `parent/stem*/below`, the highest major version first.
fn versions(parent: &str, stem: &str, below: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let major = major(entry.file_name().to_str()?.strip_prefix(stem)?)?;
            Some((major, entry.path().join(below)))
        })
        .collect();
    found.sort_by_key(|(major, _)| Reverse(*major));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// Reads the leading number of a version such as `17` or `9.6`.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn fill(dir: &Path, programs: &[&str]) {
        fs::create_dir_all(dir).unwrap();
        for program in programs {
            fs::write(dir.join(program), "").unwrap();
        }
    }

    #[test]
    fn the_highest_version_comes_first_and_other_names_are_skipped() {
        let root = tempfile::tempdir().unwrap();
        for name in ["v9.6", "v17", "v8", "vlatest", "18"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let found = versions(root.path().to_str().unwrap(), "v", "bin");
        let expected = ["v17/bin", "v9.6/bin", "v8/bin"].map(|name| root.path().join(name));
        assert_eq!(found.iter().map(|p| major_of(p)).collect::<Vec<_>>(), [17, 9, 8]);
        assert_eq!(found, expected);
    }

    fn major_of(bin: &Path) -> u32 {
        let name = bin.parent().unwrap().file_name().unwrap().to_str().unwrap();
        major(name.trim_start_matches('v')).unwrap()
    }

    #[test]
    fn a_place_without_one_of_the_programs_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        for missing in NEEDED {
            let rest: Vec<&str> = NEEDED.into_iter().filter(|name| *name != missing).collect();
            let dir = root.path().join(missing);
            fill(&dir, &rest);
            assert_eq!(Programs::at(&dir), None, "{missing}");
        }
    }

    #[test]
    fn links_lead_to_the_directory_that_holds_the_rest() {
        let root = fs::canonicalize(tempfile::tempdir().unwrap().keep()).unwrap();
        let (real, linked) = (root.join("real"), root.join("linked"));
        fill(&real, &NEEDED);
        fs::create_dir(&linked).unwrap();
        symlink(real.join("initdb"), linked.join("initdb")).unwrap();
        assert_eq!(Programs::at(&linked).unwrap().bin_dir(), real);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_wrapper_for_initdb_alone_leaves_the_programs_beside_it() {
        let root = fs::canonicalize(tempfile::tempdir().unwrap().keep()).unwrap();
        let (real, linked) = (root.join("real"), root.join("linked"));
        fill(&real, &["initdb"]);
        fill(&linked, &["postgres", "pg_ctl"]);
        symlink(real.join("initdb"), linked.join("initdb")).unwrap();
        assert_eq!(Programs::at(&linked).unwrap().bin_dir(), linked);
        fs::remove_dir_all(root).unwrap();
    }
}
