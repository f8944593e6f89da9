//! Where it happens: a server of its own, the network in front of it, a table and a job.

use std::net::TcpListener;
use std::path::PathBuf;

use fastrand::Rng;
use piecemeal::sandbox::{Programs, Sandbox};
use tokio_postgres::{Client, NoTls};

use crate::Outcome;
use crate::case::{Case, Work};
use crate::pooler::Pooler;
use crate::program::{JOB, Program};
use crate::proxy::Proxy;

/// Rows of one insert while the table is filled.
const PORTION: i64 = 10_000;

/// The password of the program's role, which must not be found anywhere.
pub(crate) const SECRET: &str = "canary-7f3a91";

/// Connections that the server takes, so that they can be used up.
const CONNECTIONS: &str = "48";

/// The program's role, which may do what its job needs and no more; and a schema that nobody should
/// look into, whose `+` adds too much.
const ROLE: &str = "\
CREATE ROLE walker LOGIN; GRANT CREATE ON DATABASE postgres TO walker; GRANT pg_monitor TO walker;
CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO walker;
CREATE FUNCTION evil.add(int, int) RETURNS int LANGUAGE sql AS
    'SELECT $1 OPERATOR(pg_catalog.+) $2 OPERATOR(pg_catalog.+) 1';
CREATE OPERATOR evil.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.add)";

/// What is snapshot before anything runs: rows that nobody may touch keep their `xmin`.
const BEFORE: &str = "\
GRANT SELECT, UPDATE ON torture TO walker;
CREATE TABLE torture_before AS SELECT tag, xmin::text AS xid FROM torture; ANALYZE torture";

/// Everything that a run of the test needs.
pub(crate) struct Scene {
    pub(crate) case: Case,
    pub(crate) sandbox: Sandbox,
    pub(crate) proxy: Proxy,
    pub(crate) program: Program,
    pooler: Option<Pooler>,
    files: tempfile::TempDir,
}

impl Scene {
    /// Starts the server and fills the table.
    pub(crate) async fn set(case: Case, rng: &mut Rng) -> Outcome<Scene> {
        let programs = Programs::find_or_install(&mut |_| ())?;
        let port = free_port()?;
        let settings = [("port", port.to_string()), ("max_connections", CONNECTIONS.to_owned())];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        let sandbox = tokio::task::block_in_place(|| Sandbox::start(&programs, &settings))?;
        let files = tempfile::tempdir()?;
        let pooler = if case.is_pooled { Some(Pooler::start(&sandbox).await?) } else { None };
        let socket = sandbox.socket_dir().join(format!(".s.PGSQL.{port}"));
        let upstream = pooler.as_ref().map_or(socket, |pooler| pooler.socket.clone());
        // Behind a pooler the port is not the server's: that is how the program knows.
        let port = if case.is_pooled { free_port()? } else { port };
        let proxy = Proxy::listen(port, upstream, case.rewrites).await?;
        let program = Program {
            url: format!("postgres://walker:{SECRET}@127.0.0.1:{port}/postgres?sslmode=disable"),
            jobs: files.path().to_owned(),
            log: files.path().join("program.log"),
        };
        let scene = Scene { case, sandbox, proxy, program, pooler, files };
        scene.write_job(rng)?;
        scene.fill(rng).await?;
        Ok(scene)
    }

    /// Returns the rows of the table, as it was filled.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.case.rows)
    }

    fn write_job(&self, rng: &mut Rng) -> Outcome<()> {
        let work = self.case.work;
        let stripes = match work {
            Work::Plain => rng.choice(["\"auto\"", "1", "4", "8"]).unwrap_or("1"),
            Work::Half | Work::Few | Work::Physical => "1",
            Work::Indexed => "4",
        };
        let filter = work.filter().map(|it| format!("where = \"{it}\"\n")).unwrap_or_default();
        let order = if work == Work::Physical { "order = \"physical\"\n" } else { "" };
        let text = format!(
            "[table]\nname = \"public.torture\"\n{filter}{order}\n[set]\nn = \"n + 1\"\n\n\
             [batch]\nmin = 10\nmax = {max}\nstripes = {stripes}\n",
            max = self.case.largest_batch(),
        );
        Ok(std::fs::write(self.files.path().join(format!("{JOB}.toml")), text)?)
    }

    async fn fill(&self, rng: &mut Rng) -> Outcome<()> {
        let client = self.connect().await?;
        client.batch_execute(ROLE).await?;
        client.batch_execute(&self.case.shape.tables(self.case.work)).await?;
        let insert = self.case.shape.insert();
        let mut first = 0;
        while first < self.rows() {
            let tags: Vec<i64> = (first..self.rows().min(first + PORTION)).collect();
            first += PORTION;
            let keys = tags.iter().map(|tag| self.case.shape.make(rng, *tag, self.rows()));
            let (a, b): (Vec<_>, Vec<_>) = keys.unzip();
            let made = client.execute(&insert, &[&a, &b, &tags, &false]).await?;
            if made != u64::try_from(tags.len())? {
                return Err("two rows of the table have the same key".into());
            }
        }
        Ok(client.batch_execute(BEFORE).await?)
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
        drop(self.pooler);
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
pub(crate) fn free_port() -> Outcome<u16> {
    (0..100)
        .map(|_| fastrand::u16(15_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| "no free port".into())
}
