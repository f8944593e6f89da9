//! Which signals hold a run, which do not, and which cannot be observed, and why: for `plan`,
//! `doctor` and the engine.
//!
//! A default is judged by what the server says of this role. What the job names is read once: there
//! is no better way to know whether it can be. Nothing here changes anything.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::ask::{self, Role, role};
use super::build::Builder;
use super::reading::Blind;
use super::shared::Shared;
use crate::error::Error;
use crate::finding::Finding;
use crate::job::{Job, Limit, Rate, Signal, show_duration};
use crate::pg::{Database, Fault, Lane, Session, patiently};
use crate::plan::Plan;
use crate::run::HoldChange;

/// Who says that a signal holds the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The job.
    Job,
    /// Nobody; it is so without a line in the job.
    Default,
}

impl Origin {
    /// Returns the word that people and JSON see.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Job => "job",
            Origin::Default => "default",
        }
    }
}

/// What is the matter with a signal.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// It holds the run above its limit.
    On {
        /// The limit.
        limit: Limit,
        /// Whether it is of one standby that is asked itself, beside those that the primary shows.
        is_at_url: bool,
        /// What goes on through its hold; without one, nothing, or a share of the speed.
        floor: Option<Rate>,
        /// Who says so.
        origin: Origin,
    },
    /// It does not hold the run.
    Off {
        /// Why not.
        why: String,
    },
    /// It cannot be observed. If the job names it, it holds the run all the same.
    Hidden {
        /// Why not.
        why: String,
        /// What would let it be observed, if that is known.
        recipe: Option<String>,
        /// Who says that it should hold the run.
        origin: Origin,
    },
}

/// One signal.
#[derive(Debug, Clone, PartialEq)]
pub struct Surveyed {
    /// What is read.
    pub signal: Signal,
    /// How it is called.
    pub name: String,
    /// What is the matter with it.
    pub state: State,
}

/// Every signal: what the job names in its order, then the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey(pub Vec<Surveyed>);

/// Looks at every signal for a job, or without one at those that need none.
///
/// # Errors
/// When the server cannot be asked; what is missing or forbidden is no error.
pub async fn survey(database: &Database, plan: Option<&Plan>) -> Result<Survey, Error> {
    let looked = patiently(Fault::spoils_connection, || async {
        let mut session = database.session(Lane::Gate).await?;
        survey_in(&mut session, plan, database.connect().name()).await
    });
    looked.await.map_err(|fault| Error::of_fault("the signals could not be looked at", &fault))
}

const FACTS: &str = concat!(
    "SELECT pg_catalog.jsonb_build_object(",
    role!(),
    ", 'in_recovery', pg_catalog.pg_is_in_recovery(),
       'forbidden', (SELECT min(p.oid::regprocedure::text) FROM pg_catalog.pg_proc p
           WHERE (p.proname = 'pg_logical_emit_message' AND p.proargtypes[2] = 'text'::regtype
               OR p.oid = 'pg_catalog.pg_walfile_name(pg_lsn)'::regprocedure)
               AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')),
       'syncs', pg_catalog.current_setting('fsync') <> 'off',
       'standbys', (SELECT count(*) FROM pg_catalog.pg_stat_replication),
       'archives', pg_catalog.current_setting('archive_mode') <> 'off')"
);

/// What the defaults depend on.
#[derive(Debug, Deserialize)]
struct Facts {
    #[serde(flatten)]
    role: Role,
    in_recovery: bool,
    /// A function of those that a probe of commits calls, if the role may not.
    forbidden: Option<String>,
    /// Whether a commit waits for the disk.
    syncs: bool,
    standbys: u32,
    archives: bool,
}

/// Does [`survey`] in a session.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn survey_in(
    session: &mut Session,
    plan: Option<&Plan>,
    application_name: Option<&str>,
) -> Result<Survey, Fault> {
    let mut all = Vec::new();
    for hold in plan.map_or(&[][..], |plan| &plan.job.holds) {
        let Some(plan) = plan else { continue };
        let builder = Builder { plan, application_name, shared: Shared::default() };
        let mut guarded = builder.of_job(hold);
        let state = match guarded.throttler.read(session).await {
            Ok(reading) => State::On {
                // What is true or false is above no other limit, whatever the job says.
                limit: if reading.is_truth() { Limit::Never } else { hold.above },
                is_at_url: hold.url.is_some(),
                floor: hold.floor,
                origin: Origin::Job,
            },
            Err(blind) => hidden(blind, Origin::Job),
        };
        all.push(Surveyed { signal: hold.on, name: hold.name.clone(), state });
    }
    let rows = session.transact(&ask::guards(), FACTS, &[]).await?;
    let facts = rows.first().and_then(|row| row.try_get(0).ok());
    let facts: Option<Facts> = facts.and_then(|facts| serde_json::from_value(facts).ok());
    for signal in Signal::ALL.iter().copied() {
        if !plan.is_some_and(|plan| is_named(&plan.job, signal)) {
            let state = facts.as_ref().map_or_else(not_understood, |facts| facts.state(signal));
            all.push(Surveyed { signal, name: signal.word().to_owned(), state });
        }
    }
    Ok(Survey(all))
}

/// Whether the job says what its limit is instead of the default. A standby that is asked itself stands for
/// no other one.
pub(super) fn is_named(job: &Job, signal: Signal) -> bool {
    job.holds.iter().any(|hold| hold.on == signal && hold.url.is_none())
}

fn not_understood() -> State {
    hidden(Blind::new("the server's answer is not understood"), Origin::Default)
}

fn off(why: &str) -> State {
    State::Off { why: why.to_owned() }
}

fn hidden(Blind { why, recipe }: Blind, origin: Origin) -> State {
    State::Hidden { why, recipe, origin }
}

impl Facts {
    /// What is the matter with a signal that the job does not name.
    fn state(&self, signal: Signal) -> State {
        let Some(limit) = signal.default_limit() else { return off("until a job names it") };
        let floor = signal.default_floor();
        let on = || State::On { limit, is_at_url: false, floor, origin: Origin::Default };
        match (signal, self.role.sees_all) {
            (Signal::CommitLatency, _) if self.in_recovery => off("nothing commits in recovery"),
            (Signal::CommitLatency, _) if !self.syncs => off("fsync is off"),
            (Signal::CommitLatency, _) => self.forbidden.as_ref().map_or_else(on, |function| {
                hidden(self.role.may_not_call(function), Origin::Default)
            }),
            (Signal::ArchiveBacklog, _) if !self.archives => off("archive_mode is off"),
            (Signal::ReplicaLag, false) if self.standbys == 0 => off("no standby"),
            (Signal::ReplicaLag | Signal::Autovacuum, false) => {
                hidden(self.role.lacks_stats(), Origin::Default)
            }
            _ => on(),
        }
    }
}

impl State {
    /// Returns the word that people and JSON see.
    pub fn word(&self) -> &'static str {
        match self {
            State::On { .. } => "on",
            State::Off { .. } => "off",
            State::Hidden { .. } => "hidden",
        }
    }

    /// Says above what it holds the run, or why it does not.
    pub fn why(&self) -> String {
        let by = |origin: &Origin| if *origin == Origin::Job { "by the job" } else { "by default" };
        match self {
            State::On { limit, is_at_url, floor, origin } => {
                let when = if *limit == Limit::Never {
                    "while it is true".to_owned()
                } else {
                    format!("above {limit}")
                };
                let place = if *is_at_url { " at `url`" } else { "" };
                let floor = floor.map_or_else(String::new, |floor| format!("; {floor} go on"));
                format!("{when}{place}, {}{floor}", by(origin))
            }
            State::Off { why } => why.clone(),
            State::Hidden { why, origin: Origin::Job, .. } => format!("{why}, so it holds the run"),
            State::Hidden { why, origin: Origin::Default, .. } => why.clone(),
        }
    }

    /// Returns who says that it should hold the run, if somebody does.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            State::On { origin, .. } | State::Hidden { origin, .. } => Some(*origin),
            State::Off { .. } => None,
        }
    }

    /// Returns what would let it be observed, if it cannot be and that is known.
    pub fn recipe(&self) -> Option<&str> {
        match self {
            State::Hidden { recipe, .. } => recipe.as_deref(),
            State::On { .. } | State::Off { .. } => None,
        }
    }
}

impl Survey {
    /// Returns the limits of the signals that hold a run, as somebody would write them: of a signal that has
    /// several, and of standbys that are asked themselves, none.
    pub(crate) fn limits(&self) -> BTreeMap<String, HoldChange> {
        let limits = self.0.iter().filter_map(|signal| match signal.state {
            State::On { limit, is_at_url: false, .. } => Some((signal.name.as_str(), limit)),
            State::On { .. } | State::Off { .. } | State::Hidden { .. } => None,
        });
        let all: Vec<_> = limits.collect();
        let is_single = |name: &str| all.iter().filter(|(other, _)| *other == name).count() == 1;
        let written = |limit: &Limit| !matches!(limit, Limit::Never | Limit::Times { .. });
        let single = all.iter().filter(|(name, limit)| is_single(name) && written(limit));
        single.map(|(name, limit)| ((*name).to_owned(), HoldChange::Above(*limit))).collect()
    }

    /// Returns the names of the signals that are true or false, and so take no limit.
    pub(crate) fn truths(&self) -> Vec<String> {
        let is_truth = |it: &&Surveyed| matches!(it.state, State::On { limit: Limit::Never, .. });
        self.0.iter().filter(is_truth).map(|it| it.name.clone()).collect()
    }

    /// Warns of what the job names and nobody can see: a run of it would stand still.
    pub fn findings(&self, job: &Job) -> Vec<Finding> {
        let warning = |(at, surveyed): (usize, &Surveyed)| {
            let State::Hidden { why, recipe, origin: Origin::Job } = &surveyed.state else {
                return None;
            };
            // What the job names comes first, in its order.
            let hold = job.holds.get(at);
            let name = &surveyed.name;
            let finding = Finding::warn("hold-blind", format!("`{name}` cannot be read: {why}"))
                .at(format!("[[hold]] on {}", surveyed.signal))
                .because(format!(
                    "what cannot be read holds the run: it would stand still, and be left after {}",
                    show_duration(job.pace.max_hold)
                ))
                .span(hold.map(|hold| hold.span.clone()));
            let first = recipe.as_deref().unwrap_or("repair what stands in the way");
            let without = format!(
                "or, once it runs, do without it: piecemeal throttle {} --hold {name}=off",
                job.name
            );
            Some(finding.recipe(first).recipe(without))
        };
        self.0.iter().enumerate().filter_map(warning).collect()
    }
}

impl fmt::Display for Surveyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.name, self.state)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<6}  {}", self.word(), self.why())?;
        self.recipe().map_or(Ok(()), |recipe| write!(f, "; {recipe}"))
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |surveyed: &Surveyed| surveyed.name.chars().count();
        let width = self.0.iter().map(width).max().unwrap_or_default();
        for Surveyed { name, state, .. } in &self.0 {
            writeln!(f, "{name:width$}  {state}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn facts(sees_all: bool, standbys: u32, archives: bool) -> Facts {
        let role = Role { role: "app".into(), sees_all };
        let (in_recovery, forbidden, syncs) = (false, None, true);
        Facts { role, in_recovery, forbidden, syncs, standbys, archives }
    }

    fn shown(facts: &Facts) -> String {
        let surveyed = |signal: &Signal| Surveyed {
            signal: *signal,
            name: signal.word().to_owned(),
            state: facts.state(*signal),
        };
        Survey(Signal::ALL.iter().map(surveyed).collect()).to_string()
    }

    #[test]
    fn a_role_that_sees_all_has_every_default() {
        assert_eq!(
            shown(&facts(true, 0, true)),
            "replica-lag         on      above 10s, by default\n\
             slot-lag            off     until a job names it\n\
             archive-backlog     on      above 100, by default\n\
             lock-waits          off     until a job names it\n\
             active-sessions     off     until a job names it\n\
             oldest-transaction  off     until a job names it\n\
             autovacuum          on      while it is true, by default; 100 rows/s go on\n\
             latency             off     until a job names it\n\
             commit-latency      on      above 4 times what it is before the walk, at least 6ms, by default\n\
             query               off     until a job names it\n"
        );
    }

    #[test]
    fn what_a_role_may_not_see_is_named_with_its_grant_and_holds_nothing() {
        let state = |standbys| facts(false, standbys, false).state(Signal::ReplicaLag);
        assert_eq!(state(0), off("no standby"));
        let hidden =
            "hidden  app is not shown what other sessions do; GRANT pg_read_all_stats TO app;";
        assert_eq!(state(1).to_string(), hidden);
        let facts = facts(false, 0, false);
        assert_eq!(facts.state(Signal::Autovacuum).to_string(), hidden);
        assert_eq!(facts.state(Signal::ArchiveBacklog), off("archive_mode is off"));
    }

    #[test]
    fn commits_are_not_watched_where_none_waits_for_a_disk() {
        let here = facts(true, 0, true);
        let unsafe_here = Facts { syncs: false, ..facts(true, 0, true) };
        let recovering = Facts { in_recovery: true, ..facts(true, 0, true) };
        let state = |facts: &Facts| facts.state(Signal::CommitLatency);
        assert_eq!(state(&here).word(), "on");
        assert_eq!(state(&unsafe_here), off("fsync is off"));
        assert_eq!(state(&recovering), off("nothing commits in recovery"));
        let forbidden = Facts { forbidden: Some("f(text)".into()), ..facts(true, 0, true) };
        let hidden = "hidden  app may not call f(text); GRANT EXECUTE ON FUNCTION f(text) TO app;";
        assert_eq!(state(&forbidden).to_string(), hidden);
    }

    #[test]
    fn a_hidden_signal_of_the_job_says_that_it_holds() {
        let state = hidden(Blind::new("the query returned NULL"), Origin::Job);
        assert_eq!(state.to_string(), "hidden  the query returned NULL, so it holds the run");
    }

    fn on(name: &str, limit: Limit) -> Surveyed {
        let state = State::On { limit, is_at_url: false, floor: None, origin: Origin::Job };
        Surveyed { signal: Signal::Query, name: name.into(), state }
    }

    #[test]
    fn a_limit_that_can_be_written_is_what_a_change_is_from_and_of_several_none_is() {
        let (time, bytes) = (Limit::Time(Duration::from_secs(10)), Limit::Bytes(1 << 20));
        let times = Limit::Times { factor: 10.0, least: Duration::from_millis(6) };
        let survey = Survey(vec![
            on("replica-lag", time),
            on("replica-lag", bytes),
            on("slot-lag", bytes),
            on("mine", Limit::Never),
            on("commit-latency", times),
        ]);
        let limits = survey.limits();
        assert_eq!(
            limits.into_iter().collect::<Vec<_>>(),
            [("slot-lag".to_owned(), HoldChange::Above(bytes))]
        );
    }
}
