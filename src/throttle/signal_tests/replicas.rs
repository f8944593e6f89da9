//! A real standby: late, paused, gone, hidden.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};
use tokio::sync::watch;
use tokio_postgres::Client;

use super::gate::{holds, is_go, until};
use super::{Reader, Scene, connect, hold};
use crate::job::{Hold, Limit, Signal, Url};
use crate::pg::{Connect, Database, Environment};
use crate::run::HoldChange;
use crate::sandbox::Programs;
use crate::throttle::reading::Verdict;
use crate::throttle::{Changes, Gate, survey};

/// A standby in the directory of its primary, which it must not outlive.
struct Standby {
    programs: Programs,
    data: PathBuf,
    url: String,
}

impl Standby {
    /// Copies the primary and starts the copy under a name.
    fn of(scene: &Scene, name: &str) -> Standby {
        let programs = Programs::find().unwrap();
        let dir = scene.sandbox.socket_dir();
        let data = dir.join("standby");
        let place = dir.to_string_lossy();
        let from = format!("host={place} user=postgres application_name={name}");
        let standby = Standby {
            url: scene.sandbox.url("postgres").replacen(":5432/", ":5433/", 1),
            programs,
            data: data.clone(),
        };
        let data = data.to_string_lossy();
        standby.run("pg_basebackup", &["-d", &from, "-D", &data, "-R", "-c", "fast", "--no-sync"]);
        standby.start();
        standby
    }

    /// Runs a program as the user that runs servers here.
    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.path_of(program));
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if Uid::effective().is_root() {
            let user = User::from_name("postgres").unwrap().unwrap();
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        assert!(command.status().unwrap().success(), "{program} {arguments:?}");
    }

    fn start(&self) {
        let data = self.data.to_string_lossy();
        let log = self.data.with_extension("log");
        let log = log.to_string_lossy();
        self.run("pg_ctl", &["start", "-D", &data, "-l", &log, "-o", "-p 5433", "-s", "-w"]);
    }

    fn kill(&self) {
        self.run(
            "pg_ctl",
            &["stop", "-D", &self.data.to_string_lossy(), "-m", "immediate", "-s", "-w"],
        );
    }

    async fn exec(&self, sql: &str) {
        let client = connect(&self.url).await;
        for sql in sql.split(";;") {
            client.batch_execute(sql).await.unwrap();
        }
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() {
            self.kill();
        }
    }
}

/// Writes all the time, so that there is something to replay, until it is dropped.
struct Traffic(tokio::task::JoinHandle<()>);

impl Traffic {
    fn on(client: Client) -> Traffic {
        let write = async move {
            let sql = "INSERT INTO t SELECT max(id) + 1 FROM t";
            while client.batch_execute(sql).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        Traffic(tokio::spawn(write))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const STREAMS: &str =
    "SELECT bool_or(state = 'streaming' AND replay_lsn IS NOT NULL) FROM pg_stat_replication";

#[tokio::test]
async fn a_standby_that_is_late_paused_gone_or_hidden_is_never_fine() {
    let scene = Scene::set(&[]).await;
    let standby = Standby::of(&scene, "berlin");
    scene.until(STREAMS).await;
    let _traffic = Traffic::on(scene.other().await);
    let (change, changes) = watch::channel(Changes::new());
    let guarded = scene.guarded(&hold(Signal::ReplicaLag, "4s"));
    let gate = Gate::open(vec![guarded], scene.database("app"), changes).await;
    let mut view = gate.view();
    until(&mut view, |verdict| *verdict == Verdict::Go(1.0, None)).await;

    // What is read there may not ask for a commit.
    let there = standby.url.replacen("postgres@", "app@", 1);
    let there = Connect::resolve(Some(&there), &Environment::default()).unwrap();
    let all = survey(&Database::new(there).unwrap(), None).await.unwrap().to_string();
    assert!(all.contains("commit-latency      off     nothing commits in recovery\n"), "{all}");

    // Late: it slows down, and says by what.
    standby
        .exec("ALTER SYSTEM SET recovery_min_apply_delay = '3s';; SELECT pg_reload_conf()")
        .await;
    let slow =
        until(&mut view, |verdict| matches!(verdict, Verdict::Go(share, Some(_)) if *share < 0.9))
            .await;
    let Verdict::Go(_, Some(cause)) = slow else { panic!("{slow:?}") };
    assert!(
        cause.text.starts_with("replica-lag ") && cause.text.ends_with("s of 4s"),
        "{}",
        cause.text
    );

    // Paused: it is held, for as long as it takes.
    standby.exec("SELECT pg_wal_replay_pause()").await;
    let started = Instant::now();
    until(&mut view, |verdict| holds(verdict, "s > 4s")).await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    until(&mut view, |verdict| holds(verdict, "replica-lag 7")).await;

    // Resumed.
    standby
        .exec("ALTER SYSTEM RESET recovery_min_apply_delay;; SELECT pg_reload_conf();; SELECT pg_wal_replay_resume()")
        .await;
    until(&mut view, is_go).await;

    // Gone: held within three seconds, and it is named.
    standby.kill();
    let started = Instant::now();
    until(&mut view, |verdict| {
        holds(verdict, "standby \"berlin\" at this machine was there and is gone")
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    // Whoever knows better may go on.
    change.send_replace(Changes::from([("replica-lag".to_owned(), HoldChange::Off)]));
    assert!(is_go(&view.verdict(Instant::now())));
    change.send_replace(Changes::new());
    until(&mut view, |verdict| holds(verdict, "is gone")).await;
    standby.start();
    until(&mut view, is_go).await;

    // Hidden: held within three seconds, with the grant.
    scene.exec("REVOKE pg_read_all_stats FROM app").await;
    let started = Instant::now();
    until(&mut view, |verdict| holds(verdict, "GRANT pg_read_all_stats TO app;")).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    scene.exec("GRANT pg_read_all_stats TO app").await;
    until(&mut view, is_go).await;
    gate.close().await;
}

#[tokio::test]
async fn bytes_count_and_who_is_no_standby_does_not() {
    let scene = Scene::set(&[("wal_level", "logical")]).await;
    let mut lag = scene.reader(Signal::ReplicaLag, "1 MB");
    assert!(lag.value().await < 1.0);
    let standby = Standby::of(&scene, "berlin");
    scene.until(STREAMS).await;
    standby.exec("SELECT pg_wal_replay_pause()").await;
    scene.exec("SELECT pg_logical_emit_message(false, 'x', repeat('x', 3000000))").await;
    let reading = lag.until(|read| read.as_ref().is_ok_and(|it| it.value > 3e6)).await.unwrap();
    assert!(reading.to_string().ends_with("B > 1 MB"), "{reading}");
    standby.exec("SELECT pg_wal_replay_resume()").await;
    lag.until_value(|value| value < 1e6).await;
    // A subscriber of a logical slot replays too, and comes and goes.
    scene
        .exec(
            "CREATE PUBLICATION p FOR TABLE t;; CREATE DATABASE elsewhere;;
            SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
        )
        .await;
    let subscriber = connect(&scene.sandbox.url("elsewhere")).await;
    let place = scene.sandbox.socket_dir().to_string_lossy().into_owned();
    let subscribe = format!(
        "CREATE SUBSCRIPTION s CONNECTION 'host={place} user=postgres dbname=postgres' PUBLICATION p
        WITH (create_slot = false, slot_name = 's', copy_data = false)"
    );
    subscriber.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY, n int)").await.unwrap();
    subscriber.batch_execute(&subscribe).await.unwrap();
    let all = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn IS NOT NULL";
    scene.until(&format!("({all}) = 2")).await;
    assert!(lag.read().await.is_ok());
    subscriber.batch_execute("ALTER SUBSCRIPTION s DISABLE").await.unwrap();
    scene.until(&format!("({all}) = 1")).await;
    assert!(lag.read().await.is_ok());
}

fn at(url: &str) -> Hold {
    let limit = Limit::Time(Duration::from_secs(2));
    Hold { url: Some(Url(url.to_owned())), above: limit, ..hold(Signal::ReplicaLag, "2s") }
}

#[tokio::test]
async fn a_standby_is_asked_itself_where_its_url_is_known() {
    let scene = Scene::set(&[]).await;
    let standby = Standby::of(&scene, "berlin");
    let _traffic = Traffic::on(scene.other().await);
    // This role is shown nothing by the primary.
    let database = scene.database("blind");
    let mut lag = Reader { throttler: scene.guarded(&at(&standby.url)).throttler, database };
    lag.until_value(|value| value < 1.0).await;
    standby.exec("SELECT pg_wal_replay_pause()").await;
    lag.until(|read| read.as_ref().is_ok_and(|it| it.value > it.limit)).await.unwrap();
    standby.exec("SELECT pg_wal_replay_resume()").await;
    lag.until_value(|value| value < 1.0).await;
    standby.kill();
    let blind = lag.blind().await;
    assert!(blind.why.starts_with("the standby at `url`: "), "{blind}");
    standby.start();
    lag.until_value(|value| value < 1.0).await;
    standby.exec("SELECT pg_promote()").await;
    let blind = lag.blind().await;
    assert_eq!(blind.why, "the server at `url` is no standby: it is not in recovery");
}

#[tokio::test]
async fn a_password_in_the_url_is_never_shown() {
    let scene = Scene::set(&[]).await;
    for url in [
        "postgres://app:CANARY@127.0.0.1:1/x",
        "postgres://app:CANARY@127.0.0.1:notaport/x",
        "postgres://app:CANARY@nowhere.invalid/x?connect_timeout=1",
        "postgres://app:CAN%ARY@127.0.0.1/x",
        "postgres://app@127.0.0.1:1/x?password=CANARY&nonsense=1",
        "host=127.0.0.1 port=1 password=CANARY user=app",
        "host=127.0.0.1 password='CANARY",
        "CANARY",
    ] {
        let guarded = scene.guarded(&at(url));
        let mut lag = Reader { throttler: guarded.throttler, database: scene.database("app") };
        let blind = lag.blind().await;
        assert!(!format!("{blind:?}").contains("CAN"), "{url}: {blind}");
        assert!(!format!("{:?}", at(url)).contains("CAN"), "{url}");
    }
}
