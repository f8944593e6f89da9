//! A small file system that the table lies on, so that it can be full.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _, copy, repeat};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::Outcome;

/// It goes when the test ends, however that may be: then the pipe closes.
const SCRIPT: &str = r#"
mkdir "$1" && mount -t tmpfs -o size=64m,mode=700,uid=$2,gid=$3 piecemeal-torture "$1" && echo mounted &&
read -r word
[ "$word" = keep ] || { umount -l "$1"; rmdir "$1"; }"#;

/// A mounted file system; it is gone when this is dropped.
pub(crate) struct Disk {
    pub(crate) dir: PathBuf,
    keeper: Child,
}

impl Disk {
    /// Mounts one beside the server's directory, and for its user.
    pub(crate) fn beside(server: &Path) -> Outcome<Disk> {
        let owner = std::fs::metadata(server)?;
        let dir = server.with_extension("disk");
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "disk"])
            .arg(&dir)
            .args([owner.uid().to_string(), owner.gid().to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
        let disk = Disk { dir, keeper };
        if line == "mounted\n" { Ok(disk) } else { Err("no file system could be mounted".into()) }
    }

    /// Whether this machine and user can mount one.
    pub(crate) fn is_possible() -> bool {
        static IS_POSSIBLE: OnceLock<bool> = OnceLock::new();
        *IS_POSSIBLE.get_or_init(|| {
            let dir = tempfile::tempdir();
            dir.is_ok_and(|dir| Disk::beside(dir.path()).is_ok())
        })
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) -> Outcome<()> {
        let mut filler = File::create(self.filler())?;
        match copy(&mut repeat(0), &mut filler) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            filled => Err(format!("the file system was not filled: {filled:?}").into()),
        }
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> Outcome<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    /// Leaves it mounted; returns the command that takes it away.
    pub(crate) fn keep(mut self) -> Outcome<String> {
        if let Some(pipe) = &mut self.keeper.stdin {
            pipe.write_all(b"keep\n")?;
        }
        Ok(format!("umount {0} && rmdir {0}", self.dir.display()))
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.keeper.stdin = None;
        // A failed wait means that it is gone already.
        let _ = self.keeper.wait();
    }
}
