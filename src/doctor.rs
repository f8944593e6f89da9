//! Is this the connection, the server and the role to run jobs with?
//!
//! Looks and changes nothing. Everything that a run would be refused for is found here by the same
//! checks, and said with what to do about it; the rest is what a person wants to know beforehand.

use std::fmt;

use crate::control::expands_next;
use crate::error::{Error, ErrorKind};
use crate::finding::{Finding, Severity};
use crate::job::Job;
use crate::ledger::runs::{self, Run};
use crate::ledger::schema::{self, Ledger};
use crate::pg::{Database, Fault, Guards, Lane, Session, is_direct};
use crate::plan::{Around, Outline, Plan, look_around};
use crate::run::count;
use crate::sync;
use crate::throttle::{State, Survey, Surveyed, survey};

/// The difference of two clocks, in seconds, that is worth a word.
const CLOCKS_APART: f64 = 1.0;

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be.
    Ok,
    /// A run works, and somebody should know of this.
    Warn,
    /// A run would be refused.
    Fail,
}

impl Health {
    /// Returns the word that people and JSON see.
    pub fn word(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// How good it is.
    pub health: Health,
    /// What was looked at, as in `clock`.
    pub about: String,
    /// What was seen, in one line.
    pub what: String,
    /// Why it matters, where it does.
    pub why: Option<String>,
    /// What to do, step by step.
    pub recipe: Vec<String>,
}

impl Sign {
    fn new(health: Health, about: impl Into<String>, what: impl Into<String>) -> Sign {
        Sign { health, about: about.into(), what: what.into(), why: None, recipe: Vec::new() }
    }

    fn ok(about: &str, what: impl Into<String>) -> Sign {
        Sign::new(Health::Ok, about, what)
    }

    fn because(mut self, why: impl Into<String>) -> Sign {
        self.why = Some(why.into());
        self
    }

    fn recipe(mut self, step: impl Into<String>) -> Sign {
        self.recipe.push(step.into());
        self
    }

    fn of_finding(about: &str, finding: &Finding) -> Sign {
        let health = match finding.severity {
            Severity::Refuse => Health::Fail,
            Severity::Warn | Severity::Note => Health::Warn,
        };
        Sign {
            why: Some(finding.why.clone()).filter(|why| !why.is_empty()),
            recipe: finding.recipe.clone(),
            ..Sign::new(health, about, finding.what.clone())
        }
    }

    fn of_signal(surveyed: &Surveyed) -> Sign {
        let state = &surveyed.state;
        let health = match state {
            State::On { .. } | State::Off { .. } => Health::Ok,
            State::Hidden { .. } => Health::Warn,
        };
        let what = format!("{}: {}", state.word(), state.why());
        let sign = Sign::new(health, surveyed.name.clone(), what);
        state.recipe().into_iter().fold(sign, Sign::recipe)
    }
}

/// Everything that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkup {
    /// One after the other, from the connection up.
    pub signs: Vec<Sign>,
}

impl Checkup {
    /// Whether nothing would refuse a run.
    pub fn is_fit(&self) -> bool {
        self.signs.iter().all(|sign| sign.health != Health::Fail)
    }

    /// Takes what stands against something, or a good sign if nothing does.
    fn take(&mut self, about: &str, findings: &[Finding], good: impl FnOnce() -> Sign) {
        if findings.is_empty() {
            self.signs.push(good());
        }
        self.signs.extend(findings.iter().map(|finding| Sign::of_finding(about, finding)));
    }

    /// Takes what is known of the signals, in their order.
    pub fn take_signals(&mut self, survey: &Survey) {
        self.signs.extend(survey.0.iter().map(Sign::of_signal));
    }
}

/// Looks at everything that a run needs, and at a job if one is given.
///
/// # Errors
/// When the database could not be asked.
pub async fn examine(database: &Database, job: Option<&Job>) -> Result<Checkup, Error> {
    let asked = |fault: Fault| Error::of_fault("the database could not be examined", &fault);
    let mut session = database.session(Lane::Work).await.map_err(asked)?;
    let mut checkup = Checkup::default();
    let is_direct = is_direct(&mut session, database).await.map_err(asked)?;
    let wire = wire(&mut session).await.map_err(asked)?;
    checkup.signs.push(connection(database, is_direct, &wire));
    checkup.signs.push(route(is_direct));
    let around = look_around(&mut session).await.map_err(asked)?;
    let ledger = schema::look(&mut session).await.map_err(asked)?;
    let apart = clocks(&mut session).await.map_err(asked)?;
    let left = left(&mut session, &ledger).await.map_err(asked)?;
    of_server(&mut checkup, &around, &ledger);
    checkup.signs.push(clock(apart));
    checkup.take("old rows", &around.of_holders, || {
        Sign::ok("old rows", "no old transaction, slot or standby keeps them alive")
    });
    checkup.signs.extend(left);
    let mut plan = None;
    if let Some(job) = job {
        let last = last_run(&mut session, job, &ledger).await.map_err(asked)?;
        drop(session);
        plan = of_job(&mut checkup, job, &around, look_at(job, last.as_ref(), database).await)?;
    }
    checkup.take_signals(&survey(database, plan.as_ref()).await?);
    Ok(checkup)
}

fn of_server(checkup: &mut Checkup, around: &Around, ledger: &Ledger) {
    checkup.take("server", &around.of_server, || {
        Sign::ok("server", format!("PostgreSQL {}, and it can be written", around.version))
    });
    checkup.take("role", &around.of_role, || {
        Sign::ok("role", format!("{}, with no more power than it was given", around.role))
    });
    checkup.take("ledger", &around.of_ledger, || match ledger {
        Ledger::Newer(version) => Sign::new(
            Health::Fail,
            "ledger",
            format!("a newer release has installed version {version}"),
        )
        .because(format!("this one knows version {}", schema::VERSION))
        .recipe("use the release that installed it, or a newer one"),
        Ledger::Older(version) => Sign::new(
            Health::Fail,
            "ledger",
            format!("an older release has installed version {version}"),
        )
        .because(format!("this one works with version {}", schema::VERSION))
        .recipe("piecemeal init, as its owner, upgrades it"),
        Ledger::Missing => {
            Sign::ok("ledger", "not installed yet; the first run creates it, and this role may")
        }
        Ledger::Installed | Ledger::Unlogged | Ledger::Denied(_) => Sign::ok(
            "ledger",
            format!("installed, version {}, and this role may use it", schema::VERSION),
        ),
    });
}

/// How bytes travel from the server's client to the server.
struct Wire {
    /// As in `TLSv1.3`.
    tls: Option<String>,
    /// Whether they leave the machine.
    is_remote: bool,
}

const WIRE: &str = "\
SELECT CASE WHEN s.ssl THEN s.version END AS tls,
       coalesce(NOT (inet_client_addr() <<= '127.0.0.0/8'::inet OR inet_client_addr() = '::1'::inet), false) AS is_remote
FROM pg_catalog.pg_stat_ssl s WHERE s.pid = pg_backend_pid()";

async fn wire(session: &mut Session) -> Result<Wire, Fault> {
    let rows = session.transact(&Guards::reading(), WIRE, &[]).await?;
    let row = rows.first();
    Ok(Wire {
        tls: row.and_then(|row| row.get("tls")),
        is_remote: row.is_some_and(|row| row.get("is_remote")),
    })
}

fn connection(database: &Database, is_direct: bool, wire: &Wire) -> Sign {
    let place = database.connect().describe();
    match &wire.tls {
        _ if !is_direct => Sign::ok("connection", place),
        Some(version) => Sign::ok("connection", format!("{place}, with {version}")),
        None if !wire.is_remote => Sign::ok("connection", format!("{place}, on this machine")),
        None => Sign::new(Health::Warn, "connection", format!("{place}, without TLS"))
            .because("what is sent and received can be read on the way")
            .recipe("sslmode=verify-full, in the URL or as PGSSLMODE"),
    }
}

fn route(is_direct: bool) -> Sign {
    if is_direct {
        return Sign::ok("route", "direct: the server itself answers");
    }
    Sign::new(Health::Warn, "route", "through a pooler, or a forwarded port")
        .because(
            "after a crash the run goes on only when its lease is over, up to 15 s later, and the \
             table is not vacuumed beside the walk",
        )
        .recipe("a run needs few connections: let it connect to the server itself")
}

/// Returns how many seconds the server's clock is ahead of ours, and by how much that may be wrong.
async fn clocks(session: &mut Session) -> Result<(f64, f64), Fault> {
    let sql = "SELECT extract(epoch FROM clock_timestamp())::float8";
    let before = jiff::Timestamp::now();
    let rows = session.transact(&Guards::reading(), sql, &[]).await?;
    let way = (jiff::Timestamp::now().duration_since(before)).as_secs_f64() / 2.0;
    let server: f64 = rows.first().map_or(0.0, |row| row.get(0));
    Ok((server - before.as_duration().as_secs_f64() - way, way))
}

fn clock((apart, error): (f64, f64)) -> Sign {
    if apart.abs() <= CLOCKS_APART + error {
        return Sign::ok("clock", "the server's and this machine's agree to a second");
    }
    let side = if apart > 0.0 { "ahead of" } else { "behind" };
    let what = format!("the server's is {:.1} s {side} this machine's", apart.abs());
    Sign::new(Health::Warn, "clock", what)
        .because("leases, windows and `--for` go by the server's clock, whatever it is here")
        .recipe("correct the one that is wrong; no run is harmed by it")
}

/// What can be said of a job now.
enum Looked {
    /// Everything.
    Plan(Box<Plan>),
    /// What can be known before the statements of `[expand]` have been run.
    Outline(Box<Outline>),
}

/// Sync triggers of jobs that have no run here. Nothing else tells of them.
async fn left(session: &mut Session, ledger: &Ledger) -> Result<Vec<Sign>, Fault> {
    let mut signs = Vec::new();
    for (job, table) in sync::made(session).await? {
        let is_known = match ledger {
            Ledger::Installed => runs::newest(session, &job).await?.is_some(),
            Ledger::Missing => false,
            // Nobody can say.
            Ledger::Older(_) | Ledger::Newer(_) | Ledger::Unlogged | Ledger::Denied(_) => true,
        };
        if !is_known {
            let what =
                format!("a sync trigger of `{job}` is on {table}, and `{job}` has no run here");
            let sign = Sign::new(Health::Warn, "sync", what)
                .because("it computes columns in every write, for nobody")
                .recipe(format!("piecemeal forget {job}"));
            signs.push(sign);
        }
    }
    Ok(signs)
}

async fn last_run(session: &mut Session, job: &Job, ledger: &Ledger) -> Result<Option<Run>, Fault> {
    if *ledger == Ledger::Installed { runs::newest(session, &job.name).await } else { Ok(None) }
}

async fn look_at(job: &Job, last: Option<&Run>, database: &Database) -> Result<Looked, Error> {
    match Plan::build(job, database).await {
        Ok(plan) if job.has_work() => Ok(Looked::Plan(Box::new(plan))),
        Err(error) if !expands_next(job, last) => Err(error),
        Ok(_) | Err(_) => Ok(Looked::Outline(Box::new(Outline::build(job, database).await?))),
    }
}

fn of_job(
    checkup: &mut Checkup,
    job: &Job,
    around: &Around,
    looked: Result<Looked, Error>,
) -> Result<Option<Plan>, Error> {
    let (findings, plan) = match looked {
        Ok(Looked::Plan(plan)) => (plan.findings.clone(), Some(*plan)),
        Ok(Looked::Outline(outline)) => {
            let what = format!("`{}` can begin: the statements of [expand] come first", job.name);
            checkup.signs.push(Sign::ok("job", what));
            (outline.findings, None)
        }
        Err(error) if !error.findings().is_empty() => (error.findings().to_vec(), None),
        Err(error) if error.kind() == ErrorKind::Unreachable => return Err(error),
        Err(error) => (
            vec![Finding::refuse("plan", error.message()).because(error.reasons().join("; "))],
            None,
        ),
    };
    if let Some(plan) = &plan {
        let rows = plan.estimate.map_or("an unknown number of rows".into(), |rows| {
            format!("about {} rows", count(rows))
        });
        let what = format!("`{}` can run: {}, {rows}", job.name, plan.target.keyset.table);
        checkup.signs.push(Sign::ok("job", what));
    }
    // What is true without a job has been said.
    let said = [&around.of_server, &around.of_role, &around.of_ledger, &around.of_holders];
    let is_new = |finding: &&Finding| !said.iter().any(|said| said.contains(finding));
    checkup.signs.extend(findings.iter().filter(is_new).map(|it| Sign::of_finding("job", it)));
    Ok(plan)
}

impl fmt::Display for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.signs.iter().map(|sign| sign.about.chars().count()).max().unwrap_or(0);
        let indent = " ".repeat(4 + 2 + width + 2);
        for Sign { health, about, what, why, recipe } in &self.signs {
            writeln!(f, "{:<4}  {about:<width$}  {what}", health.word())?;
            if let Some(why) = why {
                writeln!(f, "{indent}because: {why}")?;
            }
            for (no, step) in recipe.iter().enumerate() {
                for (line_no, line) in step.lines().enumerate() {
                    let label = if no + line_no == 0 { "do: " } else { "    " };
                    writeln!(f, "{indent}{label}{line}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::{Limit, Signal};
    use crate::throttle::Origin;

    #[test]
    fn a_signal_that_cannot_be_read_is_a_warning_with_what_would_let_it_be() {
        let surveyed =
            |state| Surveyed { signal: Signal::ReplicaLag, name: "replica-lag".into(), state };
        let mut checkup = Checkup::default();
        checkup.take_signals(&Survey(vec![
            surveyed(State::On {
                limit: Limit::Time(Duration::from_secs(10)),
                is_at_url: false,
                floor: None,
                origin: Origin::Default,
            }),
            surveyed(State::Off { why: "no standby".into() }),
            surveyed(State::Hidden {
                why: "it is dark".into(),
                recipe: Some("GRANT pg_monitor TO app;".into()),
                origin: Origin::Job,
            }),
        ]));
        assert!(checkup.is_fit());
        assert_eq!(
            checkup.to_string(),
            "ok    replica-lag  on: above 10s, by default\n\
             ok    replica-lag  off: no standby\n\
             warn  replica-lag  hidden: it is dark, so it holds the run\n                   do: GRANT pg_monitor TO app;\n"
        );
    }

    #[test]
    fn clocks_that_agree_within_what_can_be_measured_are_well() {
        assert_eq!(clock((0.9, 0.0)).health, Health::Ok);
        assert_eq!(clock((-1.4, 0.5)).health, Health::Ok);
        let behind = clock((-90.0, 0.5));
        assert_eq!(behind.health, Health::Warn);
        assert_eq!(behind.what, "the server's is 90.0 s behind this machine's");
    }

    #[test]
    fn one_failure_is_enough_to_be_unfit() {
        let mut checkup = Checkup::default();
        checkup.take("server", &[Finding::warn("x", "odd")], || Sign::ok("server", "well"));
        assert!(checkup.is_fit());
        checkup.take("server", &[Finding::refuse("x", "bad")], || Sign::ok("server", "well"));
        assert!(!checkup.is_fit() && checkup.signs.len() == 2);
    }
}
