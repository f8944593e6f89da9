//! Who may work on a run, and for how long.
//!
//! The lease is for liveness only; exactly-once comes from the cursor's `rev` (R2). Time is the
//! server's (R22). An owner that is gone is recognised by its backend, so a worker that was killed
//! is replaced at once; where the backend cannot be known (a pooler) the lease must run out.

use std::time::Duration;

use serde_json::{Value, json};

use super::journal::Actor;
use super::members;
use crate::pg::{Fault, Guards, Param, Session};
use crate::run::{Held, Pulse, Transition};

/// How long a lease lasts without being renewed. Longer than any pause of a healthy process, short
/// enough that a dead host's run goes on before anybody is woken.
pub(crate) const TTL: Duration = Duration::from_secs(15);

/// How often it is renewed.
pub(crate) const RENEWAL: Duration = Duration::from_secs(5);

/// This process, as it signs its lease.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    /// A new random value for every claim.
    pub token: String,
    /// The name of the host.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Who started it.
    pub actor: Actor,
    /// The workers that it begins with.
    pub workers: u32,
}

impl Holder {
    /// Returns this process with a token of its own.
    pub(crate) fn here(actor: &Actor, workers: u32) -> Holder {
        Holder {
            token: format!("{:032x}", fastrand::u128(..)),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            pid: std::process::id(),
            actor: actor.clone(),
            workers,
        }
    }

    pub(super) fn owner(&self) -> Value {
        json!({ "host": self.host, "pid": self.pid, "who": self.actor.0 })
    }

    /// With what it enters a run, to lead it or to help: run, token, length of the lease, owner, whether
    /// the backend of its connection stands for it, who, workers.
    pub(super) fn entry<'a>(
        &'a self,
        run: i64,
        owner: &'a Value,
        is_direct: bool,
    ) -> [Param<'a>; 7] {
        [
            run.into(),
            self.token.as_str().into(),
            Param::Float(TTL.as_secs_f64()),
            owner.into(),
            Param::Bool(is_direct),
            self.actor.0.as_str().into(),
            i64::from(self.workers).into(),
        ]
    }
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The lease is ours. The owner before, if there was one whose lease we took over.
    Ours(Option<String>),
    /// Somebody else has it: `host pid`, and when it was last renewed, as an opaque value.
    Held(String, String),
    /// The run may not be worked on: it was paused, failed or ended meanwhile.
    Closed,
}

/// Whether the backend that the owner noted is gone. NULL where it cannot be seen: then not gone.
macro_rules! is_gone {
    () => {
        "\
coalesce((old.owner ->> 'backend') IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = (old.owner ->> 'backend')::int4
    AND (a.backend_start IS NULL OR a.backend_start::text = old.owner ->> 'backend_start')), false)"
    };
}

/// Whether somebody works on the run `old`: its lease is not over, nor its owner known to be gone.
pub(super) const IS_LIVE: &str = concat!(
    "(old.lease_token IS NOT NULL AND old.lease_until > clock_timestamp() AND NOT ",
    is_gone!(),
    ")"
);

/// Whether the process `old` of a run is alive.
pub(super) const IS_ALIVE: &str =
    concat!("(old.lease_until > clock_timestamp() AND NOT ", is_gone!(), ")");

/// Where our backend is noted, if it stands for the process.
const BACKEND: &str = "\
coalesce((SELECT jsonb_build_object('backend', a.pid, 'backend_start', a.backend_start::text)
    FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_backend_pid() AND $bool), '{}')";

/// The same, where whether it does is the fifth parameter.
pub(super) fn backend_noted() -> String {
    BACKEND.replace("$bool", "$5")
}

/// What of a pulse stays when another one follows that does not know better: the standbys that were seen, and
/// what a commit took, and on which server.
macro_rules! kept {
    ($pulse:literal) => {
        concat!(
            "jsonb_strip_nulls(jsonb_build_object('standbys', ",
            $pulse,
            " -> 'standbys', 'commit_s', ",
            $pulse,
            " -> 'commit_s', 'commit_timeline', ",
            $pulse,
            " -> 'commit_timeline'))"
        )
    };
}

/// Whether anybody works on the run: what a commit takes without that cannot be found out now.
fn is_worked_on() -> String {
    format!("EXISTS (SELECT FROM piecemeal.member old WHERE run_id = $1 AND {IS_ALIVE})")
}

/// Tries to take the lease of a run that is ready, or running without a living owner.
pub(crate) async fn claim(
    session: &mut Session,
    run: i64,
    holder: &Holder,
) -> Result<Claim, Fault> {
    let sources: Vec<_> = Transition::Claimed.sources().iter().map(|from| from.word()).collect();
    let sql = format!(
        "WITH old AS (
             SELECT *, lease_token IS NOT NULL AND lease_until > clock_timestamp() AS is_leased
             FROM piecemeal.run WHERE id = $1 FOR NO KEY UPDATE
         ), moved AS (
             UPDATE piecemeal.run r
             SET status = 'running', reason = NULL, failure = NULL, lease_token = $2,
                 pulse = {kept} - CASE WHEN {is_worked_on} THEN '' ELSE 'commit_s' END,
                 lease_until = clock_timestamp() + $3 * interval '1 second',
                 owner = $4 || {backend}, started_at = coalesce(r.started_at, clock_timestamp()),
                 changed_at = clock_timestamp(), updated_at = clock_timestamp()
             FROM old
             WHERE r.id = old.id AND old.intent = 'run' AND old.status = ANY ('{{{sources}}}')
               AND (NOT old.is_leased OR old.lease_token = $2 OR {is_gone})
             RETURNING r.id
         ), noted AS (
             INSERT INTO piecemeal.journal (run_id, who, what, detail)
             SELECT id, $6 || ' as ' || session_user, 'claimed', $4 FROM moved
         ), {enter}
         SELECT EXISTS (SELECT FROM moved) AS is_ours, old.is_leased, old.status = ANY ('{{{sources}}}')
                AND old.intent = 'run' AS is_open, old.lease_token = $2 AS was_ours,
                old.status = 'running' AS was_running, old.lease_until::text AS renewed,
                concat_ws(' ', old.owner ->> 'host', old.owner ->> 'pid') AS owner FROM old",
        kept = kept!("old.pulse"),
        is_worked_on = is_worked_on(),
        backend = backend_noted(),
        sources = sources.join(","),
        is_gone = is_gone!(),
        enter = members::enter("moved"),
    );
    let owner = holder.owner();
    let params = holder.entry(run, &owner, session.is_direct());
    let rows = session.transact(&Guards::ledger(), &sql, &params).await?;
    let Some(row) = rows.first() else { return Ok(Claim::Closed) };
    let owner: String = row.get("owner");
    if row.get("is_ours") {
        let took_over =
            row.get("was_running") && !row.get::<_, Option<bool>>("was_ours").unwrap_or(false);
        return Ok(Claim::Ours(took_over.then_some(owner)));
    }
    let is_held = row.get("is_open") && row.get("is_leased");
    Ok(if is_held { Claim::Held(owner, row.get("renewed")) } else { Claim::Closed })
}

// The run comes first, as wherever both are locked.
const RENEW: &str = concat!(
    "WITH led AS (
    UPDATE piecemeal.run
    SET lease_until = clock_timestamp() + $3 * interval '1 second', pulse = ",
    kept!("pulse"),
    " || $4, held = coalesce($6, held),
        owner = (owner - 'backend' - 'backend_start') || $backend, updated_at = clock_timestamp()
    WHERE id = $1 AND lease_token = $2 RETURNING id
)
UPDATE piecemeal.member
SET lease_until = clock_timestamp() + $3 * interval '1 second', workers = $7::int8::int4,
    owner = (owner - 'backend' - 'backend_start') || $backend
WHERE run_id = $1 AND token = $2 AND (SELECT count(*) FROM led) >= 0
RETURNING run_id"
);

/// Renews the leases of a process, of which so many workers are busy. Who leads the run stores what
/// was measured, too; sums of holds that it does not know stay what they are.
pub(crate) async fn renew(
    session: &mut Session,
    run: i64,
    holder: &Holder,
    (pulse, held, busy): (&Pulse, Option<&Held>, u32),
) -> Result<bool, Fault> {
    let sql = RENEW.replace("$backend", &backend_noted());
    let pulse = serde_json::to_value(pulse).unwrap_or_default();
    let held = held.map(|held| serde_json::to_value(held).unwrap_or_default());
    let params = [
        run.into(),
        holder.token.as_str().into(),
        Param::Float(TTL.as_secs_f64()),
        (&pulse).into(),
        Param::Bool(session.is_direct()),
        Param::Json(held.as_ref()),
        i64::from(busy).into(),
    ];
    Ok(!session.transact(&Guards::ledger(), &sql, &params).await?.is_empty())
}

const RELEASE: &str = "\
UPDATE piecemeal.run SET lease_token = NULL, lease_until = NULL WHERE id = $1 AND lease_token = $2";

/// Gives the lease back; the status stays as it is.
pub(crate) async fn release(session: &mut Session, run: i64, token: &str) -> Result<(), Fault> {
    session.transact(&Guards::ledger(), RELEASE, &[run.into(), token.into()]).await.map(drop)
}
