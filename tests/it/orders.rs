//! Races in which tools like this one have lost rows or done them twice: each in every order of its steps.
//!
//! A race is a table, a job, and actors with steps of their own: the program does a batch, another session
//! writes, the wire is cut. Every order is played that leaves each actor's own steps in their order. Before
//! the next step the program has ended, or waits for a lock or a lease that somebody holds; so hardly
//! anything is left to chance. In the end the program is let go, and no row may be wrong.

use std::time::{Duration, Instant};

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, port};
use crate::support::job::Toml;
use crate::support::oracle::status;
use crate::support::proxy::Proxy;
use crate::support::{until, until_or};

/// What an actor does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Something in a session of its own.
    Sql(&'static str),
    /// The program begins a batch, unless it is at one.
    Batch,
    /// So does another process, after the lease of the first has run out.
    Successor,
    /// Whoever runs it kills it.
    Kill,
    /// Its connections break, and the server does not notice.
    Cut,
    /// It stands still.
    Freeze,
    /// It goes on.
    Thaw,
}

use Step::{Batch, Cut, Freeze, Kill, Sql, Successor, Thaw};

/// Actors, by their steps, and what is so before any of them begins.
struct Race {
    table: &'static str,
    job: Toml,
    before: &'static [Step],
    actors: &'static [&'static [Step]],
    /// The condition on rows that are wrong in the end.
    wrong: &'static str,
}

/// As if an owner had not been heard of for long. A range whose batch is under way is locked.
const LEASES_ARE_OVER: &str = "\
UPDATE piecemeal.run SET lease_until = clock_timestamp() - interval '1 hour' WHERE lease_token IS NOT NULL;
UPDATE piecemeal.member SET lease_until = clock_timestamp() - interval '1 hour';
UPDATE piecemeal.range SET lease_until = clock_timestamp() - interval '1 hour'
WHERE ctid = ANY (ARRAY(SELECT ctid FROM piecemeal.range WHERE lease_token IS NOT NULL FOR UPDATE SKIP LOCKED))";

/// Sessions of a role that wait for somebody, but for those of a process that is gone.
const BLOCKED: &str = "\
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND usename = '$role' AND pg_blocking_pids(pid) <> '{}'
AND pid <> ALL ('$gone')";

/// Whether anybody waits for somebody.
const STUCK: &str = "\
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND pg_blocking_pids(pid) <> '{}'";

/// After this, a process that does not wait for a lock itself looks in vain for a range that is free.
const LOOKING: Duration = Duration::from_secs(1);

const SESSIONS: &str = "SELECT array_agg(pid) FROM pg_stat_activity WHERE usename = '$role'";

/// Returns every order of so many steps of each actor, as the actors whose turn it is.
fn orders(left: &[usize]) -> Vec<Vec<usize>> {
    if left.iter().all(|left| *left == 0) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for turn in (0..left.len()).filter(|turn| left[*turn] > 0) {
        let mut rest = left.to_vec();
        rest[turn] -= 1;
        all.extend(orders(&rest).into_iter().map(|order| [vec![turn], order].concat()));
    }
    all
}

#[test]
fn every_order_of_the_steps_is_there_once() {
    assert_eq!(orders(&[1, 1]), [[0, 1], [1, 0]]);
    let all = orders(&[2, 2, 1]);
    assert_eq!(all.len(), 30);
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), 30);
}

/// A process of the program, by the role that it is logged in as.
struct Process {
    cli: Cli,
    role: String,
    running: Option<Running>,
    /// Sessions of those that went before, which the server may still know.
    gone: String,
    is_frozen: bool,
}

impl Process {
    fn new(db: &Db, race: &Race, no: u32, wire: Option<&Proxy>) -> Process {
        let role = format!("process{no}_{}", db.name);
        let mut cli = Cli::new(db, "job", &race.job.text());
        cli.url = match wire {
            Some(wire) => {
                let port = wire.port;
                format!("postgres://{role}:secret@127.0.0.1:{port}/{}?sslmode=disable", db.name)
            }
            None => db.url.replacen("postgres@", &format!("{role}@"), 1),
        };
        Process { cli, role, running: None, gone: "{}".into(), is_frozen: false }
    }

    fn is_at_work(&mut self) -> bool {
        self.running.as_mut().is_some_and(Running::is_alive)
    }

    fn begin(&mut self, db: &Db) {
        if !self.is_at_work() {
            let sessions = SESSIONS.replace("$role", &self.role);
            self.gone = db.text(&sessions).replace('∅', "{}");
            self.running = Some(self.cli.start(&["run", "job", "-y", "--limit", "3"]));
        }
    }

    fn signal(&mut self, name: &str) {
        if self.is_at_work()
            && let Some(running) = &self.running
        {
            running.signal(name);
        }
    }

    /// Waits until it has ended, or waits for somebody.
    fn settle(&mut self, db: &Db, what: &str) {
        let blocked = BLOCKED.replace("$role", &self.role).replace("$gone", &self.gone);
        let started = Instant::now();
        let mut is_settled = || {
            let is_waiting = |it: &Running| it.stderr().contains("waiting: ");
            let is_idle = self.is_frozen || !self.is_at_work();
            is_idle
                || self.running.as_ref().is_some_and(is_waiting)
                || db.is(&blocked)
                || (started.elapsed() > LOOKING && db.is(STUCK))
        };
        until_or(|| is_settled().then_some(()), || format!("the end of a step: {what}"));
    }
}

/// One order of a race.
struct Play<'a> {
    db: &'a Db,
    wire: Proxy,
    processes: [Process; 2],
    sessions: Vec<Db>,
    what: String,
}

impl Play<'_> {
    fn step(&mut self, actor: usize, step: Step) {
        let [first, second] = &mut self.processes;
        match step {
            Sql(sql) => self.sessions[actor].exec(sql),
            Batch => first.begin(self.db),
            Successor => {
                self.db.exec(LEASES_ARE_OVER);
                second.begin(self.db);
            }
            Kill => {
                first.signal("KILL");
                until("the end of a process", || (!first.is_at_work()).then_some(()));
            }
            Cut => self.wire.cut(),
            Freeze => {
                first.signal("STOP");
                first.is_frozen = first.is_at_work();
            }
            Thaw => {
                first.signal("CONT");
                first.is_frozen = false;
            }
        }
        for process in &mut self.processes {
            process.settle(self.db, &self.what);
        }
    }

    /// Lets everything come to its end, and looks at the rows.
    fn end(mut self, wrong: &str) {
        self.db.exec(LEASES_ARE_OVER);
        for process in &mut self.processes {
            if let Some(running) = process.running.take() {
                let code = running.wait().code;
                assert!([0, 4, 7, -1].contains(&code), "exit {code}: {}", self.what);
            }
        }
        let answer = self.processes[0].cli.call(&["run", "job", "-y"]);
        assert_eq!(answer.code, 0, "{}: {}", self.what, answer.stderr);
        assert_eq!(status(self.db), "succeeded", "{}", self.what);
        let rows = self.db.rows(&format!("SELECT * FROM t WHERE {wrong} ORDER BY 1"));
        assert_eq!(rows, Vec::<Vec<String>>::new(), "{}", self.what);
    }
}

fn play(db: &Db, race: &Race, order: &[usize]) {
    db.exec("DROP SCHEMA IF EXISTS piecemeal CASCADE; DROP TABLE IF EXISTS t, other, gone CASCADE");
    db.exec(race.table);
    let wire = Proxy::to(port());
    let is_wired = race.actors.concat().contains(&Cut);
    let first = Process::new(db, race, 1, is_wired.then_some(&wire));
    let processes = [first, Process::new(db, race, 2, None)];
    let mut turns: Vec<_> = race.actors.iter().map(|steps| steps.iter()).collect();
    let steps: Vec<_> =
        order.iter().filter_map(|actor| Some((*actor, *turns[*actor].next()?))).collect();
    let what = format!("{:?}, then {steps:?}", race.before);
    let sessions = race.actors.iter().map(|_| db.session()).collect();
    let mut play = Play { db, wire, processes, sessions, what };
    for step in race.before {
        play.step(0, *step);
    }
    for (actor, step) in steps {
        play.step(actor, step);
    }
    play.end(race.wrong);
}

/// Plays a race in every order.
fn in_all_orders(race: &Race) {
    let db = Db::new();
    for no in 1..=2 {
        db.exec(&format!("CREATE ROLE process{no}_{} SUPERUSER LOGIN PASSWORD 'secret'", db.name));
    }
    let steps: Vec<_> = race.actors.iter().map(|steps| steps.len()).collect();
    for order in orders(&steps) {
        play(&db, race, &order);
    }
    until("sessions that end", || {
        db.try_exec(&format!("REASSIGN OWNED BY process1_{0}, process2_{0} TO postgres", db.name))
            .ok()
    });
    db.exec(&format!("DROP ROLE process1_{0}, process2_{0}", db.name));
}

/// Nine rows, of which a batch takes three.
const NINE: &str = "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT generate_series(1, 9)";

/// Waits for a lock for as long as somebody has it.
fn patient(job: Toml) -> Toml {
    job.rows(3).batch("give_way = \"20s\"")
}

/// Does what is left to do, so that what came behind the walk is swept.
fn sweeping() -> Toml {
    patient(Toml::increment().filter("n = 0"))
}

#[test]
fn a_row_whose_key_moves_behind_the_cursor_is_done_once() {
    in_all_orders(&Race {
        table: NINE,
        job: sweeping(),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[Sql("BEGIN; UPDATE t SET id = -id WHERE id = 8"), Sql("COMMIT")],
        ],
        wrong: "n <> 1",
    });
}

#[test]
fn a_row_whose_key_moves_ahead_of_the_cursor_is_done_once() {
    in_all_orders(&Race {
        table: NINE,
        job: sweeping(),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[Sql("BEGIN; UPDATE t SET id = id + 100 WHERE id = 2"), Sql("COMMIT")],
        ],
        wrong: "n <> 1",
    });
}

#[test]
fn a_row_that_is_locked_out_of_order_takes_no_other_with_it() {
    in_all_orders(&Race {
        table: NINE,
        job: sweeping(),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[
                // What is locked in the order of the key comes back as 1, 999, 3.
                Sql("BEGIN; UPDATE t SET id = 999 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 7"),
                Sql("COMMIT"),
            ],
        ],
        wrong: "n <> 1",
    });
}

#[test]
fn a_row_that_somebody_takes_out_of_where_is_left_alone() {
    in_all_orders(&Race {
        table: "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, state text NOT NULL DEFAULT 'old', was int);
                INSERT INTO t SELECT generate_series(1, 9)",
        job: patient(Toml::increment().filter("state = 'old' AND n = 0")),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[
                Sql("BEGIN; UPDATE t SET state = 'closed', was = n WHERE id = 2"),
                Sql("COMMIT"),
            ],
        ],
        wrong: "CASE state WHEN 'closed' THEN n <> was ELSE n <> 1 END",
    });
}

#[test]
fn a_row_that_is_locked_is_not_skipped() {
    in_all_orders(&Race {
        table: NINE,
        job: Toml::increment().rows(3),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[Sql("BEGIN; SELECT FROM t WHERE id = 2 FOR UPDATE"), Sql("COMMIT")],
        ],
        wrong: "n <> 1",
    });
}

#[test]
fn a_row_that_is_born_behind_the_cursor_and_committed_late_is_swept() {
    in_all_orders(&Race {
        table: NINE,
        job: sweeping(),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[Sql("BEGIN; INSERT INTO t VALUES (-1), (0), (99)"), Sql("COMMIT")],
        ],
        wrong: "n <> 1",
    });
}

#[test]
fn no_row_falls_between_the_trigger_and_the_bound() {
    in_all_orders(&Race {
        table: "CREATE TABLE t (id int8 PRIMARY KEY, old int NOT NULL, new int);
                INSERT INTO t SELECT i, i FROM generate_series(1, 9) i",
        job: patient(Toml::on("t").set("new", "old * 2").with("[sync]")),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[
                Sql(
                    "BEGIN; INSERT INTO t (id, old) VALUES (-1, 7), (99, 7); UPDATE t SET old = 70 WHERE id IN (2, 8)",
                ),
                Sql("COMMIT"),
            ],
            &[Sql("INSERT INTO t (id, old) VALUES (-2, 8), (100, 8)")],
        ],
        wrong: "new IS DISTINCT FROM old * 2",
    });
}

/// Somebody has a row of the first batch, which the program has begun.
const BEGUN: &[Step] = &[Sql("BEGIN; SELECT FROM t WHERE id = 2 FOR UPDATE"), Batch];

#[test]
fn a_batch_that_goes_on_after_its_connection_broke_is_done_once() {
    in_all_orders(&Race {
        table: NINE,
        job: patient(Toml::increment()),
        before: BEGUN,
        actors: &[&[Sql("COMMIT")], &[Cut], &[Batch]],
        wrong: "n <> 1",
    });
}

#[test]
fn a_batch_that_outlives_its_process_is_done_once() {
    in_all_orders(&Race {
        table: NINE,
        job: patient(Toml::increment()),
        before: BEGUN,
        actors: &[&[Sql("COMMIT")], &[Kill, Batch], &[Successor]],
        wrong: "n <> 1",
    });
}

#[test]
fn a_process_that_stood_still_while_another_took_over_does_nothing_twice() {
    in_all_orders(&Race {
        table: NINE,
        job: patient(Toml::increment()),
        before: BEGUN,
        actors: &[&[Sql("COMMIT")], &[Freeze, Thaw], &[Successor]],
        wrong: "n <> 1",
    });
}

/// Two partitions, and a table that can become a third.
const PARTITIONS: &str = "\
CREATE TABLE t (id int8, part int, n int NOT NULL DEFAULT 0, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE t0 PARTITION OF t FOR VALUES IN (0); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
INSERT INTO t SELECT i, i % 2 FROM generate_series(1, 9) i;
CREATE TABLE other (LIKE t INCLUDING ALL); INSERT INTO other SELECT i, 2 FROM unnest('{-1,2,99}'::int[]) i";

#[test]
fn a_row_that_moves_to_another_partition_is_done_once() {
    in_all_orders(&Race {
        table: PARTITIONS,
        job: patient(Toml::increment().key(&["id"])),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[Sql("BEGIN; UPDATE t SET part = 1 - part WHERE id IN (2, 8)"), Sql("COMMIT")],
        ],
        wrong: "n <> 1",
    });
}

#[test]
fn the_rows_of_a_partition_that_comes_are_done_once() {
    in_all_orders(&Race {
        table: PARTITIONS,
        job: sweeping().key(&["id"]),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[Sql("BEGIN; ALTER TABLE t ATTACH PARTITION other FOR VALUES IN (2)"), Sql("COMMIT")],
        ],
        wrong: "n <> 1",
    });
}

#[test]
fn the_rows_of_a_partition_that_goes_take_no_other_with_them() {
    in_all_orders(&Race {
        table: PARTITIONS,
        job: sweeping().key(&["id"]),
        before: &[],
        actors: &[
            &[Batch, Batch],
            &[
                Sql("BEGIN; ALTER TABLE t DETACH PARTITION t1; ALTER TABLE t1 RENAME TO gone"),
                Sql("COMMIT"),
            ],
        ],
        wrong: "n <> 1 OR EXISTS (SELECT FROM gone WHERE n > 1)",
    });
}
