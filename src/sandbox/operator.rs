//! Who runs the server, and where its directory goes.
//!
//! The server programs refuse root, so root hands them to an ordinary user of the system;
//! anybody else runs them as themselves. A directory is chosen that this user can write in and
//! that leaves room for the socket's name.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use nix::unistd::{Uid, User};

use super::SandboxError;

/// The users that root may run a server as, the best one first.
const SERVANTS: [&str; 2] = ["postgres", "nobody"];

/// The shortest of the systems' limits for a socket's path (macOS), in bytes.
const SOCKET_PATH_LIMIT: usize = 103;

/// The user that runs the server programs.
#[derive(Debug)]
pub(super) enum Operator {
    /// The user of this process, who is not root.
    Myself,
    /// Another user, since this process is root.
    Servant(User),
}

impl Operator {
    /// Chooses the user for this process.
    pub(super) fn choose() -> Result<Self, SandboxError> {
        if !Uid::effective().is_root() {
            return Ok(Self::Myself);
        }
        let known = |name: &&str| User::from_name(name).ok().flatten();
        let found = SERVANTS.iter().find_map(known).map(Self::Servant);
        found.ok_or(SandboxError::NoPlace {
            because: "a server refuses to run as root, and there is no user postgres or nobody",
            hint: "run this as an ordinary user",
        })
    }

    /// Lets `command` run as this user.
    pub(super) fn commission(&self, command: &mut Command) {
        if let Self::Servant(user) = self {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
    }

    /// Returns `script` as a line for a shell of the present user that runs it as this one.
    pub(super) fn shell_line(&self, script: &str) -> String {
        match self {
            Self::Myself => script.to_owned(),
            Self::Servant(user) if cfg!(target_os = "linux") => {
                format!("su -s /bin/sh {} -c {}", user.name, quote(script))
            }
            Self::Servant(user) => format!("sudo -u {} sh -c {}", user.name, quote(script)),
        }
    }

    /// Returns a path for the server's directory, which does not exist yet.
    pub(super) fn fresh_dir(&self) -> Result<String, SandboxError> {
        let random: String = (0..6).map(|_| fastrand::alphanumeric()).collect();
        let name = format!("piecemeal-{}-{random}", process::id());
        let bases = [env::temp_dir(), PathBuf::from("/tmp")];
        let suits = |base: &&PathBuf| fits(&base.join(&name)) && self.can_write_in(base);
        let base = bases.iter().find(suits).ok_or(SandboxError::NoPlace {
            because: "the temp directory's path is too long or the server's user cannot write there",
            hint: "let TMPDIR name a directory with a short path that everybody can write in",
        })?;
        Ok(base.join(&name).to_string_lossy().into_owned())
    }

    /// Root's temp directory may be closed to the servant; one's own is taken as it is.
    fn can_write_in(&self, base: &Path) -> bool {
        let allows = |path: &Path, bits| fs::metadata(path).is_ok_and(|m| m.mode() & bits == bits);
        match self {
            Self::Myself => true,
            Self::Servant(_) => allows(base, 0o3) && base.ancestors().all(|path| allows(path, 0o1)),
        }
    }
}

/// A path that is not UTF-8 has no place in a URL; a comma would separate two directories.
fn fits(dir: &Path) -> bool {
    let socket = dir.join(".s.PGSQL.65535.lock");
    let plain = dir.to_str().is_some_and(|text| !text.contains([',', '"', '\n']));
    plain && dir.is_absolute() && socket.as_os_str().len() <= SOCKET_PATH_LIMIT
}

/// Returns `text` as one word of a shell.
pub(super) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_directory_without_room_for_the_socket_does_not_fit() {
        assert!(fits(Path::new("/tmp/piecemeal-1-abcdef")));
        assert!(!fits(&Path::new("/tmp").join("x".repeat(90))));
        assert!(!fits(Path::new("tmp/relative")));
        assert!(!fits(Path::new("/tmp/a,b")));
    }

    #[test]
    fn two_directories_never_share_a_path() {
        let fresh = || Operator::Myself.fresh_dir().unwrap();
        assert_ne!(fresh(), fresh());
    }

    #[test]
    fn a_line_for_oneself_needs_no_other_user() {
        assert_eq!(Operator::Myself.shell_line("pg_ctl stop"), "pg_ctl stop");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_quoted_word_reaches_a_shell_unchanged(word in "[a'\"$\\\\ *;/]{0,8}") {
            let script = format!("printf %s {}", quote(&word));
            let said = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
            prop_assert_eq!(String::from_utf8(said).unwrap(), word);
        }
    }
}
