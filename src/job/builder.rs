//! A job written in Rust instead of in a file.
//!
//! The builder writes the text of a job file and has it read, so that both are checked by the same rules and every
//! later problem has a text to point into.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::entry::{Entry, GateBuilder, HoldBuilder, WindowBuilder};
use super::model::{Job, Order, Vacuum};
use super::problem::Problems;
use super::source::Source;
use super::units::{Rate, show_duration};

/// Collects the parts of a job; nothing is checked before [`Builder::build`].
#[derive(Clone)]
pub struct Builder {
    name: String,
    table: Vec<String>,
    set: Vec<String>,
    batch: Vec<String>,
    pace: Vec<String>,
    bad_rows: Vec<String>,
    verify: Vec<String>,
    sync: Option<SyncParts>,
    after: Vec<String>,
    expand: Vec<String>,
    contract: Vec<String>,
    /// Each window, each hold and each gate.
    entries: Vec<Entry>,
}

/// What `[sync]` says so far.
#[derive(Clone, Default)]
struct SyncParts {
    forward: Vec<String>,
    reverse: Vec<String>,
    filter: Vec<String>,
}

impl SyncParts {
    fn text(&self) -> String {
        let table = |name: &str, columns: &[String]| {
            (!columns.is_empty()).then(|| format!("{name} = {{ {} }}", columns.join(", ")))
        };
        let tables = [table("forward", &self.forward), table("reverse", &self.reverse)];
        let lines: Vec<String> =
            tables.into_iter().flatten().chain(self.filter.iter().cloned()).collect();
        format!("[sync]\n{}\n", lines.join("\n"))
    }
}

/// Its `Debug` shows no part, because a hold may name a standby with its password (R28).
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(name: String, table: &str) -> Self {
        let table = vec![format!("name = {}", quoted(table))];
        let (set, batch, pace) = (Vec::new(), Vec::new(), Vec::new());
        let (bad_rows, verify, entries) = (Vec::new(), Vec::new(), Vec::new());
        let (after, expand, contract) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            name,
            table,
            set,
            batch,
            pace,
            bad_rows,
            verify,
            sync: None,
            after,
            expand,
            contract,
            entries,
        }
    }

    /// Sets a column, named literally, from an SQL expression over the row.
    #[must_use]
    pub fn set(mut self, column: impl AsRef<str>, expression: impl AsRef<str>) -> Self {
        self.set.push(assignment(column, expression));
        self
    }

    /// Says which rows are still to do, by an SQL condition.
    #[must_use]
    pub fn filter(mut self, condition: impl AsRef<str>) -> Self {
        self.table.push(format!("where = {}", quoted(condition.as_ref())));
        self
    }

    /// Names the columns of the unique key to walk by, instead of the primary key.
    #[must_use]
    pub fn key(mut self, columns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.table.push(format!("key = {}", list(columns)));
        self
    }

    /// Says in which order the rows are walked.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.table.push(format!("order = {}", quoted(order.as_str())));
        self
    }

    /// Names the schemas to search after the table's own, for the SQL of the job.
    #[must_use]
    pub fn search_path(mut self, schemas: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.table.push(format!("search_path = {}", list(schemas)));
        self
    }

    /// Fixes the number of rows of a batch, 1 to 1,000,000; excludes [`Builder::target`].
    #[must_use]
    pub fn rows(mut self, rows: u32) -> Self {
        self.batch.push(format!("rows = {rows}"));
        self
    }

    /// Sets the time that a batch aims at, 1 ms to 10 s and at most what it gives way after.
    #[must_use]
    pub fn target(mut self, target: Duration) -> Self {
        self.batch.push(format!("target = {}", quoted(&show_duration(target))));
        self
    }

    /// Sets the longest that others wait on a batch, 1 ms to 60 s.
    #[must_use]
    pub fn give_way(mut self, give_way: Duration) -> Self {
        self.batch.push(format!("give_way = {}", quoted(&show_duration(give_way))));
        self
    }

    /// Fixes in how many passes a chunk is updated: 1, or a power of two up to 64.
    #[must_use]
    pub fn stripes(mut self, stripes: u32) -> Self {
        self.batch.push(format!("stripes = {stripes}"));
        self
    }

    /// Limits the speed.
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.pace.push(format!("rate = {}", quoted(&rate.to_string())));
        self
    }

    /// Sets the ranges that each process walks side by side, 1 to 64.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.pace.push(format!("workers = {workers}"));
        self
    }

    /// Sets a pace of its own for a stretch of the week; the first window that contains now applies.
    #[must_use]
    pub fn window(mut self, window: WindowBuilder) -> Self {
        self.entries.push(window.0);
        self
    }

    /// Slows the run down, and then holds it, by a signal of the database.
    #[must_use]
    pub fn hold(mut self, hold: HoldBuilder) -> Self {
        self.entries.push(hold.0);
        self
    }

    /// Says when the table is vacuumed beside the walk.
    #[must_use]
    pub fn vacuum(mut self, vacuum: Vacuum) -> Self {
        self.pace.push(format!("vacuum = {}", quoted(&vacuum.to_string())));
        self
    }

    /// Stops the run, resumable, when a hold lasts longer, 1 s to 30 days.
    #[must_use]
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.pace.push(format!("max_hold = {}", quoted(&show_duration(max_hold))));
        self
    }

    /// Records rows that the server refuses instead of stopping at the first, up to so many.
    #[must_use]
    pub fn quarantine(mut self, max: u32) -> Self {
        self.bad_rows.push(format!("policy = \"quarantine\"\nmax = {max}"));
        self
    }

    /// Says what must be true of every row in the end, by an SQL condition.
    #[must_use]
    pub fn expect(mut self, condition: impl AsRef<str>) -> Self {
        self.verify.push(format!("expect = {}", quoted(condition.as_ref())));
        self
    }

    /// Keeps rows in step by a trigger that sets the new columns as the job does.
    #[must_use]
    pub fn sync(mut self) -> Self {
        self.sync.get_or_insert_default();
        self
    }

    /// Says what the trigger sets a new column to, instead of what the job does.
    #[must_use]
    pub fn sync_forward(mut self, column: impl AsRef<str>, expression: impl AsRef<str>) -> Self {
        let assignment = assignment(column, expression);
        self.sync.get_or_insert_default().forward.push(assignment);
        self
    }

    /// Says what the trigger sets an old column to when a new one was written.
    #[must_use]
    pub fn sync_reverse(mut self, column: impl AsRef<str>, expression: impl AsRef<str>) -> Self {
        let assignment = assignment(column, expression);
        self.sync.get_or_insert_default().reverse.push(assignment);
        self
    }

    /// Says which rows the trigger keeps in step, by an SQL condition.
    #[must_use]
    pub fn sync_filter(mut self, condition: impl AsRef<str>) -> Self {
        let line = format!("where = {}", quoted(condition.as_ref()));
        self.sync.get_or_insert_default().filter.push(line);
        self
    }

    /// Names the jobs that must be done before this one.
    #[must_use]
    pub fn after(mut self, jobs: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.after.push(format!("after = {}", list(jobs)));
        self
    }

    /// Runs statements before any row is changed, each in a transaction of its own.
    #[must_use]
    pub fn expand(mut self, up: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.expand.push(format!("up = {}", list(up)));
        self
    }

    /// Says how [`Builder::expand`] is undone.
    #[must_use]
    pub fn expand_down(mut self, down: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.expand.push(format!("down = {}", list(down)));
        self
    }

    /// Takes the old shape away when every row is done and somebody says so.
    #[must_use]
    pub fn contract(mut self, up: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.contract.push(format!("up = {}", list(up)));
        self
    }

    /// Says how [`Builder::contract`] is undone.
    #[must_use]
    pub fn contract_down(mut self, down: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.contract.push(format!("down = {}", list(down)));
        self
    }

    /// Lets contract wait for something.
    #[must_use]
    pub fn gate(mut self, gate: GateBuilder) -> Self {
        self.entries.push(gate.0);
        self
    }

    /// Checks all parts by the rules of the job file, and reports everything that is wrong.
    pub fn build(self) -> Result<Job, Problems> {
        let sections = [
            ("table", &self.table),
            ("set", &self.set),
            ("batch", &self.batch),
            ("pace", &self.pace),
            ("bad_rows", &self.bad_rows),
            ("verify", &self.verify),
            ("expand", &self.expand),
            ("contract", &self.contract),
        ];
        let entries = self.entries.iter().map(Entry::text);
        let sections = sections
            .into_iter()
            .filter(|(_, lines)| !lines.is_empty())
            .map(|(name, lines)| format!("[{name}]\n{}\n", lines.join("\n")))
            .chain(self.sync.iter().map(SyncParts::text));
        let text: Vec<String> = self.after.iter().cloned().chain(sections).chain(entries).collect();
        Job::parse(&self.name, Source { path: None, text: text.join("\n") })
    }
}

fn assignment(column: impl AsRef<str>, expression: impl AsRef<str>) -> String {
    format!("{} = {}", quoted(column.as_ref()), quoted(expression.as_ref()))
}

pub(super) fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| quoted(name.as_ref())).collect();
    format!("[{}]", names.join(", "))
}

/// Writes any text as a TOML string on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{
        BadRows, Gate, Hold, Limit, Policy, Signal, Size, Window, WindowRate, Work,
    };
    use super::*;

    #[test]
    fn every_part_reaches_the_job() {
        let job = Job::builder("posts-loc", "public.posts")
            .set("loc", "point(lng, lat)")
            .filter("loc IS NULL")
            .key(["tenant", "id"])
            .order(Order::Physical)
            .search_path(["extensions"])
            .target(Duration::from_millis(50))
            .give_way(Duration::from_secs(1))
            .rate("20k rows/s".parse().unwrap())
            .quarantine(7)
            .expect("loc IS NOT NULL")
            .build()
            .unwrap();
        assert_eq!(job.table.name.to_string(), "public.posts");
        assert_eq!(job.table.key.unwrap(), ["tenant", "id"]);
        assert_eq!(job.table.order, Order::Physical);
        assert_eq!(job.table.filter.unwrap().text, "loc IS NULL");
        assert_eq!(job.table.search_path, ["extensions"]);
        assert_eq!(job.batch.give_way, Duration::from_secs(1));
        assert!(matches!(job.batch.size, Size::Target { target, .. } if target.as_millis() == 50));
        assert_eq!(job.pace.rate.unwrap().rows_per_second(), 20_000);
        assert_eq!(job.bad_rows, BadRows { policy: Policy::Quarantine, max: 7 });
        assert_eq!(job.verify.expect.unwrap().text, "loc IS NOT NULL");
    }

    #[test]
    fn sync_reaches_the_job() {
        let job = Job::builder("posts-loc", "posts").set("loc", "point(lng, lat)");
        let plain = job.clone().sync().build().unwrap().sync.unwrap();
        assert_eq!(plain.forward[0].expression.text, "point(lng, lat)");
        assert!(plain.reverse.is_empty() && plain.filter.is_none());
        let sync = job
            .sync_forward("loc", "point(lng + 0, lat)")
            .sync_reverse("l\"at", "loc[1]")
            .sync_reverse("lng", "loc[0]")
            .sync_filter("kind = 'geo'");
        let sync = sync.build().unwrap().sync.unwrap();
        assert_eq!(sync.forward[0].expression.text, "point(lng + 0, lat)");
        assert_eq!(sync.reverse[0].column, "l\"at");
        assert_eq!(sync.filter.unwrap().text, "kind = 'geo'");
    }

    #[test]
    fn windows_and_holds_reach_the_job() {
        let job = Job::builder("posts-loc", "public.posts")
            .window(
                Window::builder("Mon-Fri 08:00-20:00")
                    .zone("Europe/Berlin")
                    .rate(WindowRate::Pause),
            )
            .set("loc", "point(lng, lat)")
            .hold(Hold::builder(Signal::ReplicaLag).above("5s").url("host=standby password=secret"))
            .window(Window::builder("daily").target(Duration::from_millis(5)))
            .hold(
                Hold::builder(Signal::Query).sql("SELECT \"n\" FROM load").above("40").name("load"),
            )
            .hold(Hold::builder(Signal::Autovacuum).floor("100 rows/s".parse().unwrap()))
            .vacuum(Vacuum::Every(25))
            .max_hold(Duration::from_hours(2));
        assert!(!format!("{job:?}").contains("secret"));
        let job = job.build().unwrap();
        assert!(!format!("{job:?}").contains("secret"));
        let windows: Vec<String> = job.pace.windows.iter().map(ToString::to_string).collect();
        assert_eq!(windows, ["window Mon-Fri 08:00-20:00: pause", "window daily: target 5ms"]);
        assert_eq!(job.pace.windows[0].zone.iana_name(), Some("Europe/Berlin"));
        assert_eq!(
            (job.pace.vacuum, job.pace.max_hold),
            (Vacuum::Every(25), Duration::from_hours(2))
        );
        let names: Vec<&str> = job.holds.iter().map(|hold| hold.name.as_str()).collect();
        assert_eq!(names, ["replica-lag", "load", "autovacuum"]);
        assert_eq!(job.holds[0].url.as_ref().unwrap().0, "host=standby password=secret");
        assert_eq!(job.holds[1].sql.as_ref().unwrap().text, "SELECT \"n\" FROM load");
        assert_eq!(job.holds[1].above, Limit::Number(40.0));
        assert_eq!(job.holds[2].floor.unwrap().rows_per_second(), 100);
        let wrong = Job::builder("x", "t").set("n", "1").window(Window::builder("Mo")).build();
        assert_eq!(wrong.unwrap_err().iter().count(), 2);
    }

    #[test]
    fn statements_and_gates_reach_the_job() {
        let job = Job::builder("posts-loc", "public.posts")
            .set("loc", "point(lng, lat)")
            .filter("loc IS NULL")
            .after(["posts-add-geo"])
            .expand(["ALTER TABLE posts ADD COLUMN loc point"])
            .expand_down(["ALTER TABLE posts DROP COLUMN loc"])
            .contract(["ALTER TABLE posts DROP COLUMN lat"])
            .contract_down([""; 0])
            .gate(Gate::by_query("SELECT true"))
            .gate(Gate::by_word("deploy API 42"))
            .build()
            .unwrap();
        assert_eq!(job.shape.after, ["posts-add-geo"]);
        assert_eq!(job.shape.all().count(), 3);
        assert_eq!(job.shape.contract.down, Some(Vec::new()));
        assert_eq!(job.shape.gates[1].message.as_deref(), Some("deploy API 42"));
    }

    #[test]
    fn it_is_checked_like_a_file_and_all_problems_come_at_once() {
        let job = Job::builder("-x", "a.b.c").set("n", "1;").key(["n", "n"]).rows(0).build();
        let problems = job.unwrap_err();
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(
            codes,
            ["job-name", "name", "contradiction", "contradiction", "expression", "out-of-range"]
        );
    }

    #[test]
    fn a_column_set_twice_is_refused() {
        let job = Job::builder("x", "t").set("n", "1").set("n", "2").build();
        assert!(job.unwrap_err().to_string().contains("for the second time"));
    }

    proptest! {
        #[test]
        fn any_text_reaches_the_job_unchanged(text in "'[^']{0,30}'", column in "[^\0]{1,15}") {
            prop_assume!(!text.contains('\0'));
            let job = Job::builder("x", "t").set(&column, &text).build().unwrap();
            let Work::Set(set) = job.work;
            prop_assert_eq!(&set[0].column, &column);
            prop_assert_eq!(&set[0].expression.text, &text);
        }
    }
}
