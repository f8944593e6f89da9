//! Where it happens: a server of its own, the network in front of it, a table and a job.

use std::net::TcpListener;
use std::path::PathBuf;

use fastrand::Rng;
use piecemeal::sandbox::{Programs, Sandbox};
use tokio_postgres::{Client, NoTls};

use crate::Outcome;
use crate::case::Case;
use crate::disk::Disk;
use crate::pooler::Pooler;
use crate::program::{JOB, Program};
use crate::proxy::Proxy;
use crate::server::{self, Server};
use crate::work::Work;

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
CREATE TABLE torture_before AS SELECT tag, xmin::text AS xid FROM torture; ANALYZE torture";

/// Everything that a run of the test needs.
pub(crate) struct Scene {
    pub(crate) case: Case,
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) program: Program,
    pooler: Option<Pooler>,
    pub(crate) disk: Option<Disk>,
    files: tempfile::TempDir,
}

impl Scene {
    /// Starts the server and fills the table.
    pub(crate) async fn set(case: Case, rng: &mut Rng) -> Outcome<Scene> {
        let programs = Programs::find_or_install(&mut |_| ())?;
        let port = free_port()?.to_string();
        let settings = [("port", &*port), ("max_connections", CONNECTIONS)];
        let settings: Vec<_> = settings.into_iter().chain(server::SETTINGS).collect();
        let sandbox = tokio::task::block_in_place(|| Sandbox::start(&programs, &settings))?;
        let standby = if case.has_standby() { Some(free_port()?) } else { None };
        let server = Server::new(sandbox, standby, programs)?;
        let disk =
            case.has_disk().then(|| Disk::beside(server.sandbox.socket_dir())).transpose()?;
        let files = tempfile::tempdir()?;
        // Fewer server connections than the program has of its own, and never the same for long.
        let pooled = || Pooler::start(&server.sandbox, "walker", 2, "server_lifetime = 3");
        let pooler = case.is_pooled.then(|| tokio::task::block_in_place(pooled)).transpose()?;
        let ways = match &pooler {
            Some(pooler) => vec![(free_port()?, pooler.socket.clone())],
            None => server.ways(),
        };
        let hosts: Vec<_> = ways.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        let proxy = Proxy::listen(ways, case.rewrites).await?;
        let program = Program {
            url: format!(
                "postgres://walker:{SECRET}@{}/postgres?sslmode=disable&target_session_attrs=read-write",
                hosts.join(",")
            ),
            jobs: files.path().to_owned(),
            log: files.path().join("program.log"),
        };
        let scene = Scene { case, server, proxy, program, pooler, disk, files };
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
            Work::Plain | Work::Partitioned | Work::Growing => {
                rng.choice(["\"auto\"", "1", "4", "8"]).unwrap_or("1")
            }
            Work::Half | Work::Few | Work::Physical | Work::Synced | Work::Quarantined => "1",
            Work::Indexed => "4",
        };
        let text = format!(
            "{job}[batch]\nmin = 10\nmax = {max}\nstripes = {stripes}\n",
            job = work.job(self.case.shape.columns_of_key()),
            max = self.case.largest_batch(),
        );
        Ok(std::fs::write(self.files.path().join(format!("{JOB}.toml")), text)?)
    }

    async fn fill(&self, rng: &mut Rng) -> Outcome<()> {
        let client = self.connect().await?;
        client.batch_execute(ROLE).await?;
        if let Some(disk) = &self.disk {
            let sql = format!("CREATE TABLESPACE small LOCATION '{}'", disk.dir.display());
            client.batch_execute(&sql).await?;
            client.batch_execute("SET default_tablespace = small").await?;
        }
        client.batch_execute(&self.case.shape.tables(self.case.work)).await?;
        let insert = self.case.shape.insert("torture", self.case.work);
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
        client.batch_execute(self.case.work.grants()).await?;
        Ok(client.batch_execute(BEFORE).await?)
    }

    /// Connects to the server past the network that has a will of its own.
    pub(crate) async fn connect(&self) -> Outcome<Client> {
        connect(&self.url()).await
    }

    /// Returns where [`Scene::connect`] connects to.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Leaves everything for people to look at, and says where it is.
    pub(crate) fn keep(self) -> Outcome<String> {
        let words = self.program.last_words();
        let files: PathBuf = self.files.keep();
        drop(self.pooler);
        let server = self.server.keep()?;
        let disk = self.disk.map(Disk::keep).transpose()?;
        let then = disk.map(|it| format!("\nand then: {it}")).unwrap_or_default();
        Ok(format!(
            "files: {}\n{server}{then}\nthe program's last words:\n{words}",
            files.display()
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
