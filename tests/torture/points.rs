//! Every request of a small run, one after the other: an error, a cut or a death, before it or after it.
//!
//! Nothing is left to chance but what runs beside the walk; and whatever happens, starting the program
//! again until it says that it is done must give the same table and the same books.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use piecemeal::sandbox::{Programs, Sandbox};
use tokio_postgres::Client;

use crate::args::Args;
use crate::nth::Nth;
use crate::program::{JOB, LEFT, OWNED, Program, REFUSED, UNEXPECTED, UNREACHABLE, Worker};
use crate::proxy::Proxy;
use crate::scene::{connect, free_port};
use crate::{Outcome, say};

/// Times that the program is started until it must be done.
const STARTS: u32 = 10;
/// How long one of them may take.
const LONG: Duration = Duration::from_mins(1);

/// Jobs, each of which makes batches of another form.
const JOBS: [(&str, &str); 4] = [
    (
        "by key",
        "[table]\nname = \"public.torture\"\n[set]\nn = \"n + 1\"\n[batch]\nrows = 10\nstripes = 1\n",
    ),
    (
        "in passes",
        "[table]\nname = \"public.torture\"\n[set]\nn = \"n + 1\"\n[batch]\nrows = 10\nstripes = 2\n",
    ),
    (
        "physical",
        "[table]\nname = \"public.torture\"\nwhere = \"n = 0\"\norder = \"physical\"\n[set]\nn = \"n + 1\"\n[batch]\nrows = 10\n",
    ),
    (
        "where",
        "[table]\nname = \"public.torture\"\nwhere = \"n = 0\"\n[set]\nn = \"n + 1\"\n[batch]\nrows = 10\nstripes = 1\n",
    ),
];

const AFRESH: &str = "\
DROP SCHEMA IF EXISTS piecemeal CASCADE; DROP TABLE IF EXISTS torture;
CREATE TABLE torture (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO torture SELECT i * 3 FROM generate_series(1, 40) i; ANALYZE torture";

const BOOKS: &str = "\
SELECT r.status || ': ' || sum(g.changed) || ' changed, ' || sum(g.matched) || ' matched, '
       || CASE WHEN sum(g.batches) = sum(g.rev) THEN 'books in order' ELSE 'batches are not moves' END || ', '
       || (SELECT count(*) FROM torture WHERE n = 1) || ' of ' || (SELECT count(*) FROM torture)
       || ' rows once, ' || (SELECT count(*) FROM piecemeal.run) || ' run'
FROM piecemeal.run r JOIN piecemeal.range g ON g.run_id = r.id GROUP BY r.id";

const EXPECTED: &str =
    "succeeded: 40 changed, 40 matched, books in order, 40 of 40 rows once, 1 run";

/// A server, the way to it, and the program.
struct Lane {
    _sandbox: Sandbox,
    client: Client,
    proxy: Proxy,
    program: Program,
    files: tempfile::TempDir,
}

/// Goes over every `step`th case of all jobs.
pub(crate) async fn all(args: &Args, step: usize) -> Outcome<()> {
    let offset =
        usize::try_from(args.seed.unwrap_or_else(|| fastrand::u64(..))).unwrap_or(0) % step;
    let lanes = (0..args.at_once).map(|_| Lane::open());
    let lanes = futures_util::future::join_all(lanes).await;
    let lanes = lanes.into_iter().collect::<Outcome<Vec<_>>>()?;
    let mut failed = Vec::new();
    for (job, text) in JOBS {
        let requests = lanes.first().ok_or("no lane")?.count(text).await?;
        let points = (1..=requests).flat_map(|no| Nth::ALL.map(|what| (no, what)));
        let points: Vec<_> = points.skip(offset).step_by(step).collect();
        let (count, queue) = (points.len(), Mutex::new(points.into_iter()));
        let walks = lanes.iter().map(|lane| lane.walk(text, &queue));
        let walked = futures_util::future::join_all(walks).await;
        let wrong: Vec<_> = walked.into_iter().flatten().collect();
        say(&format!(
            "every request, {job}: {requests} requests, {count} cases, {} with another result",
            wrong.len()
        ));
        failed.extend(wrong.into_iter().map(|it| format!("{job}, {it}")));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

type Queue = Mutex<std::vec::IntoIter<(u64, Nth)>>;

impl Lane {
    /// The way has the port of the server: else the program would take it for a pooler.
    async fn open() -> Outcome<Lane> {
        let programs = Programs::find_or_install(&mut |_| ())?;
        let port = free_port()?;
        let text = port.to_string();
        let sandbox =
            tokio::task::block_in_place(|| Sandbox::start(&programs, &[("port", &text)]))?;
        let socket = sandbox.socket_dir().join(format!(".s.PGSQL.{port}"));
        let files = tempfile::tempdir()?;
        let program = Program {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"),
            jobs: files.path().to_owned(),
            log: files.path().join("program.log"),
        };
        let proxy = Proxy::listen(vec![(port, socket)], &[]).await?;
        let client = connect(&sandbox.url("postgres")).await?;
        Ok(Lane { client, proxy, program, files, _sandbox: sandbox })
    }

    async fn begin(&self, job: &str) -> Outcome<()> {
        std::fs::write(self.files.path().join(format!("{JOB}.toml")), job)?;
        let _ = std::fs::remove_file(&self.program.log);
        Ok(self.client.batch_execute(AFRESH).await?)
    }

    /// Returns the requests of a run to which nothing happens.
    async fn count(&self, job: &str) -> Outcome<u64> {
        self.begin(job).await?;
        self.proxy.arm(None);
        self.until_done(None).await?;
        self.judge().await?;
        Ok(self.proxy.requests())
    }

    /// Does cases until there are none; returns what went wrong.
    async fn walk(&self, job: &str, queue: &Queue) -> Vec<String> {
        let mut wrong = Vec::new();
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((no, what)) = next() {
            if let Err(error) = self.hit(job, no, what).await {
                let words = self.program.last_words();
                wrong.push(format!("request {no}, {what:?}: {error}\n{words}"));
            }
        }
        wrong
    }

    async fn hit(&self, job: &str, no: u64, what: Nth) -> Outcome<()> {
        self.begin(job).await?;
        self.proxy.arm(Some((no, what)));
        let done = self.until_done(what.is_kill().then_some(())).await;
        self.proxy.arm(None);
        done?;
        self.judge().await
    }

    /// Starts the program until it says that it is done; kills the first one when it is time.
    async fn until_done(&self, kill: Option<()>) -> Outcome<()> {
        for _ in 0..STARTS {
            let mut worker = self.program.work("run", 1)?;
            if kill.is_some() && self.until_hit_or_ended(&mut worker).await? {
                worker.kill().await?;
                self.proxy.arm(None);
                continue;
            }
            let ended = worker.end(LONG).await?;
            match ended.and_then(|status| status.code()) {
                Some(0) => return Ok(()),
                Some(LEFT | OWNED | UNREACHABLE) => {}
                // The server never answers a read so: it may end the preflight, before anything is begun.
                Some(UNEXPECTED | REFUSED) if self.is_untouched().await? => {}
                _ => return Err(format!("it ended with {ended:?}").into()),
            }
        }
        Err(format!("it is not done after {STARTS} starts").into())
    }

    async fn until_hit_or_ended(&self, worker: &mut Worker) -> Outcome<bool> {
        let is_hit = async { while !self.proxy.until(|now| now.is_nth).await {} };
        tokio::select! {
            () = is_hit => Ok(true),
            ended = worker.end(LONG) => ended.map(|_| self.proxy.counts().is_nth),
        }
    }

    async fn is_untouched(&self) -> Outcome<bool> {
        let sql = "SELECT to_regclass('piecemeal.run') IS NULL";
        if self.client.query_one(sql, &[]).await?.get(0) {
            return Ok(true);
        }
        let sql = "SELECT NOT EXISTS (SELECT FROM piecemeal.run)";
        Ok(self.client.query_one(sql, &[]).await?.get(0))
    }

    async fn judge(&self) -> Outcome<()> {
        let books: String = self.client.query_one(BOOKS, &[]).await?.get(0);
        if books == EXPECTED { Ok(()) } else { Err(books.into()) }
    }
}
