//! Where it happens: a server of its own, the network in front of it, a table and a job.

use std::net::TcpListener;
use std::path::PathBuf;

use fastrand::Rng;
use piecemeal::sandbox::{Programs, Sandbox};
use tokio_postgres::{Client, NoTls};

use crate::Outcome;
use crate::faults::Menu;
use crate::program::Program;
use crate::proxy::Proxy;
use crate::shape::Shape;

/// Rows of one insert while the table is filled.
const PORTION: i64 = 10_000;

/// Everything that a run of the test needs.
pub(crate) struct Scene {
    pub(crate) shape: Shape,
    pub(crate) rows: i64,
    pub(crate) sandbox: Sandbox,
    pub(crate) proxy: Proxy,
    pub(crate) program: Program,
    files: tempfile::TempDir,
}

impl Scene {
    /// Starts the server and fills the table.
    pub(crate) async fn set(shape: Shape, menu: &Menu, rng: &mut Rng) -> Outcome<Scene> {
        let programs = Programs::find_or_install(&mut |_| ())?;
        let port = free_port()?;
        let text = port.to_string();
        let sandbox =
            tokio::task::block_in_place(|| Sandbox::start(&programs, &[("port", &text)]))?;
        let socket = sandbox.socket_dir().join(format!(".s.PGSQL.{port}"));
        let proxy = Proxy::listen(port, socket).await?;
        let files = tempfile::tempdir()?;
        let program = Program {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"),
            jobs: files.path().to_owned(),
            log: files.path().join("program.log"),
        };
        let rows = i64::from(menu.rows);
        let scene = Scene { shape, rows, sandbox, proxy, program, files };
        scene.write_job(menu.largest_batch(), rng)?;
        scene.fill(rng).await?;
        Ok(scene)
    }

    fn write_job(&self, max: u32, rng: &mut Rng) -> Outcome<()> {
        let stripes = rng.choice(["\"auto\"", "1", "4", "8"]).unwrap_or("1");
        let text = format!(
            "[table]\nname = \"public.torture\"\n\n[set]\nn = \"n + 1\"\n\n\
             [batch]\nmin = 10\nmax = {max}\nstripes = {stripes}\n"
        );
        Ok(std::fs::write(self.files.path().join("torture.toml"), text)?)
    }

    async fn fill(&self, rng: &mut Rng) -> Outcome<()> {
        let client = self.connect().await?;
        client.batch_execute(&self.shape.tables()).await?;
        let insert = self.shape.insert();
        let mut first = 0;
        while first < self.rows {
            let tags: Vec<i64> = (first..self.rows.min(first + PORTION)).collect();
            first += PORTION;
            let keys = tags.iter().map(|tag| self.shape.make(rng, *tag, self.rows));
            let (a, b): (Vec<_>, Vec<_>) = keys.unzip();
            let made = client.execute(&insert, &[&a, &b, &tags, &false]).await?;
            if made != u64::try_from(tags.len())? {
                return Err("two rows of the table have the same key".into());
            }
        }
        Ok(())
    }

    /// Connects to the server past the network that has a will of its own.
    pub(crate) async fn connect(&self) -> Outcome<Client> {
        connect(&self.url()).await
    }

    /// Returns where [`Scene::connect`] connects to.
    pub(crate) fn url(&self) -> String {
        self.sandbox.url("postgres") + "?application_name=harness"
    }

    /// Leaves everything for people to look at, and says where it is.
    pub(crate) fn keep(self) -> Outcome<String> {
        let words = self.program.last_words();
        let files: PathBuf = self.files.keep();
        // After a failure in the middle of an outage the server is not there.
        let _ = self.sandbox.start_again();
        let kept = self.sandbox.keep()?;
        Ok(format!(
            "files: {}\nserver: {}\nstop it: {}\nthe program's last words:\n{words}",
            files.display(),
            kept.url,
            kept.stop,
        ))
    }
}

/// Opens a connection of the harness.
pub(crate) async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Finds a port below those that the system gives to connections, so that nobody takes it while the
/// server is down.
fn free_port() -> Outcome<u16> {
    (0..100)
        .map(|_| fastrand::u16(15_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| "no free port".into())
}
