//! `PgBouncer` in transaction mode.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use piecemeal::sandbox::Sandbox;

/// A pooler; it ends when it is dropped.
pub(crate) struct Pooler {
    pub(crate) socket: PathBuf,
    child: Child,
}

impl Pooler {
    /// Starts it in front of a server, with a socket of the same name in a directory of its own, for one user, with so many server connections at most, and with more of its
    /// settings.
    pub(crate) fn start(
        sandbox: &Sandbox,
        user: &str,
        size: u32,
        more: &str,
    ) -> Result<Pooler, Box<dyn Error + Send + Sync>> {
        let dir = sandbox.socket_dir().join("pooler");
        fs::create_dir(&dir)?;
        let file = dir.join("pgbouncer.ini");
        let text = format!(
            "[databases]\npostgres = host={server} port={port} dbname=postgres\n\
             [pgbouncer]\nlisten_port = {port}\nunix_socket_dir = {dir}\nauth_type = trust\n\
             auth_file = {dir}/users\npool_mode = transaction\ndefault_pool_size = {size}\n\
             server_login_retry = 1\nserver_reset_query =\nlogfile = {dir}/pgbouncer.log\n{more}\n",
            server = sandbox.socket_dir().display(),
            dir = dir.display(),
            port = sandbox.port(),
        );
        fs::write(&file, text)?;
        fs::write(dir.join("users"), format!("\"{user}\" \"\"\n"))?;
        let mut command = Command::new("pgbouncer");
        // As root it refuses to run without the name of another user; the server's has the socket.
        if let Some(user) = servant(sandbox) {
            Command::new("chown").args(["-R", &user]).arg(&dir).status()?;
            command.args(["-u", &user]);
        }
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("pgbouncer: {error}"))?;
        let pooler = Pooler { socket: dir.join(format!(".s.PGSQL.{}", sandbox.port())), child };
        let started = Instant::now();
        while !pooler.socket.exists() {
            if started.elapsed() > Duration::from_secs(10) {
                return Err(format!("pgbouncer did not start in {}", dir.display()).into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(pooler)
    }
}

/// Returns the user that the server runs as, if that is somebody else.
fn servant(sandbox: &Sandbox) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = fs::metadata(sandbox.socket_dir()).ok()?.uid();
    let ours = fs::metadata("/proc/self").ok()?.uid();
    let name = Command::new("id").args(["-un", &owner.to_string()]).output().ok()?.stdout;
    (owner != ours).then(|| String::from_utf8_lossy(&name).trim().to_owned())
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have gone with its server's directory.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
