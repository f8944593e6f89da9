//! One statement, until it is done: tried again while its lock is not free, and found again after a crash.

use std::time::{Duration, Instant};

use super::recover::jittered;
use super::shape_watch::{Patience, Seen};
use super::shaper::{Halt, Hand, Shaper};
use crate::change::{self, Attempt, Found, LOCKS_TIMEOUT};
use crate::job::{Manner, Outside, Part, apart, is_validation, manner};
use crate::ledger::steps::{self, Place, Step};
use crate::pg::fault::is_without_effect;
use crate::pg::{Alone, DbMessage, Fault};
use crate::run::{Event, Failure, FailureKind};

/// The first wait for a lock that was not free; it doubles with every attempt. Longer than the wait itself, so that those
/// who queued behind us get through.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often a statement that another server process still runs is looked at.
const OTHER: Duration = Duration::from_secs(1);
/// How much of a statement is shown.
const SHOWN: usize = 100;
/// The note of a statement of which only some has had an effect.
const IN_PARTS: &str =
    "each of its parts by itself: those that had nothing to undo were passed over";
/// How often a statement may give way until the time that it is tried counts as trouble.
const GIVES_WAY: u32 = 100;
/// How often what runs outside a transaction is begun anew before it is given up.
const ANEW: u32 = 5;

/// Part, number, and how many there are.
type Which = (Part, usize, usize);

impl Shaper {
    /// Runs a statement that is not done.
    pub(super) async fn run_one(
        &self,
        hand: &Hand,
        which: Which,
        sql: &str,
        known: Option<&Step>,
    ) -> Result<(), Halt> {
        let (part, no, of) = which;
        self.voice.say(Event::Statement { part, no, of, sql: shortened(sql) });
        let done = match manner(sql) {
            Manner::Within => self.within(hand, which, sql).await,
            // An index is nothing that the sync trigger stands on.
            Manner::Outside(outside) => self.outside(hand, which, sql, (&outside, known)).await,
        };
        self.waits_for(None);
        done
    }

    fn place<'a>(&'a self, hand: &'a Hand, which: Which, sql: &'a str) -> Place<'a> {
        let (part, no, _) = which;
        let no = i64::try_from(no).unwrap_or(i64::MAX);
        let lease = (self.run, hand.holder.token.as_str());
        Place { lease, part, no, sql, actor: self.actor() }
    }

    /// Runs a statement in one transaction with its row, again and again until its lock is free.
    async fn within(&self, hand: &Hand, which: Which, sql: &str) -> Result<(), Halt> {
        let place = self.place(hand, which, sql);
        let kept = self.kept().await?;
        let mut statements = self.between(&kept, sql);
        let mut note = None;
        let patience = Patience { longest: Some(LOCKS_TIMEOUT), gives_way: is_validation(sql) };
        let (mut attempts, mut since) = (0, None);
        loop {
            self.asked(hand)?;
            let (attempt, seen) =
                self.attempt(hand, place.record(note), &statements, patience).await;
            let fault = match attempt {
                Attempt::Done | Attempt::Elsewhere => return self.say_let_go(&kept).await,
                Attempt::Failed(fault) => fault,
                Attempt::Unrecorded(fault) if is_waited_out(&fault) => fault,
                // Without the lease, nothing is recorded; the orders say so within a second.
                Attempt::Unrecorded(fault) => {
                    tokio::time::sleep(OTHER).await;
                    self.asked(hand)?;
                    return Err(Halt::from(fault));
                }
            };
            if !is_waited_out(&fault) {
                let message = fault.message();
                let is_lenient = self.statements.lenient.contains(&which.0);
                let parts = apart(sql).filter(|_| is_lenient && is_without_effect(message));
                match parts.as_deref() {
                    Some([_]) => return self.pass_over(which, place, message).await,
                    Some(parts) if note.is_none() => {
                        self.say_passed_over(which, message);
                        statements = self.between(&kept, &change::in_parts(parts));
                        note = Some(IN_PARTS);
                        continue;
                    }
                    _ => {}
                }
                return Err(Halt::Refused(Box::new(self.refused(which, sql, message))));
            }
            self.asked(hand)?;
            attempts += 1;
            if seen.gave_way && attempts < GIVES_WAY {
                // It had its lock, and read for a while: no trouble that goes on.
                since = None;
            }
            let since = *since.get_or_insert_with(Instant::now);
            self.wait(which, (fault.message(), seen.who), (since, attempts)).await?;
        }
    }

    async fn attempt(
        &self,
        hand: &Hand,
        record: steps::Record<'_>,
        statements: &[String],
        patience: Patience,
    ) -> (Attempt, Seen) {
        let alone = match Alone::begin(&self.database, &hand.path.begin()).await {
            Ok(alone) => alone,
            Err(fault) => return (Attempt::Unrecorded(fault), Seen::default()),
        };
        let statements: Vec<_> = statements.iter().map(String::as_str).collect();
        let attempt = change::attempt(&alone, &record, &statements);
        self.watched(hand, &alone, attempt, patience).await
    }

    /// Waits before the next attempt, unless it has not got better for too long.
    async fn wait(
        &self,
        which: Which,
        (message, who): (&DbMessage, Option<String>),
        (since, attempts): (Instant, u32),
    ) -> Result<(), Halt> {
        let who = who.map(|it| format!("; {it}")).unwrap_or_default();
        let message = DbMessage { message: message.message.clone() + &who, ..message.clone() };
        self.bears(which, message, since)?;
        let wait = FIRST_WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(8));
        tokio::time::sleep(jittered(wait.min(LONGEST_WAIT))).await;
        Ok(())
    }

    fn say_passed_over(&self, (part, no, _): Which, message: &DbMessage) {
        self.voice.say(Event::PassedOver { part, no, why: message.to_string() });
    }

    /// Whether to go on with what has not got better since then.
    fn bears(&self, (part, no, _): Which, message: DbMessage, since: Instant) -> Result<(), Halt> {
        if since.elapsed() < self.job.pace.max_hold {
            return Ok(());
        }
        let message = DbMessage {
            message: format!("statement {no} of {part}: {}", message.message),
            ..message
        };
        Err(Halt::GaveUp(Box::new(message)))
    }

    /// Lets a server process go on with what a process of ours began, and did not live to see the end of.
    async fn let_go_on(&self, which: Which, backend: i64, since: Instant) -> Result<(), Halt> {
        let by = self.blocker(backend).await.map(|it| format!("; {it}")).unwrap_or_default();
        let still = format!("pid {backend} still runs it for a process that is gone{by}");
        self.waits_for(Some(still.clone()));
        self.bears(which, DbMessage::local(still), since)?;
        let run = self.run;
        self.insist(|mut session| async move { steps::end_idle(&mut session, run).await }).await?;
        tokio::time::sleep(OTHER).await;
        Ok(())
    }

    /// Notes a statement that undoes what was never there.
    async fn pass_over(
        &self,
        which: Which,
        place: Place<'_>,
        message: &DbMessage,
    ) -> Result<(), Halt> {
        self.say_passed_over(which, message);
        let note = format!("passed over: {message}");
        let record = &place.record(Some(&note));
        let noted =
            self.insist(|mut session| async move { steps::record(&mut session, record).await });
        noted.await.map_err(Halt::from)
    }

    /// Runs a statement outside any transaction, and looks at what came of it.
    async fn outside(
        &self,
        hand: &Hand,
        which: Which,
        sql: &str,
        (outside, known): (&Outside, Option<&Step>),
    ) -> Result<(), Halt> {
        let place = self.place(hand, which, sql);
        if known.is_none() {
            self.check_name_is_free(hand, which, place, outside).await?;
        }
        let (mut begun, since) = (0, Instant::now());
        loop {
            self.asked(hand)?;
            let steps = self.steps().await.map_err(Halt::from)?;
            let step = steps.of(which.0, which.1);
            if step.is_some_and(|step| step.is_done) {
                return Ok(());
            }
            if let Some(backend) = step.and_then(|step| step.running) {
                self.let_go_on(which, backend, since).await?;
                continue;
            }
            self.waits_for(None);
            if step.is_some() && self.is_there(hand, outside).await? {
                return self.finish(place).await;
            }
            begun += 1;
            let fault = match self.begin_outside(hand, place).await {
                Ok(()) => return self.finish(place).await,
                Err(fault) => fault,
            };
            // As long as its outcome is not known, the server may be at work on it.
            if !matches!(fault, Fault::Unknown(_)) {
                self.clean_up(hand, outside).await;
            }
            if !is_waited_out(&fault) || begun >= ANEW {
                return Err(Halt::Refused(Box::new(self.refused(which, sql, fault.message()))));
            }
            self.wait(which, (fault.message(), None), (Instant::now(), begun)).await?;
        }
    }

    async fn finish(&self, place: Place<'_>) -> Result<(), Halt> {
        let record = &place.record(None);
        let noted =
            self.insist(|mut session| async move { steps::finish(&mut session, record).await });
        noted.await.map_err(Halt::from)
    }

    /// Whether a statement that was begun has had its effect; what is left of one that was interrupted goes away.
    async fn is_there(&self, hand: &Hand, outside: &Outside) -> Result<bool, Halt> {
        let found = self.look(hand, outside).await.map_err(Halt::from)?;
        if matches!(found, Found::Remains(_)) {
            self.clean_up(hand, outside).await;
        }
        Ok(found == Found::Done)
    }

    async fn look(&self, hand: &Hand, outside: &Outside) -> Result<Found, Fault> {
        let path = &hand.path;
        self.insist(|mut session| async move { change::look(&mut session, path, outside).await })
            .await
    }

    /// An index of that name is not ours before the statement was begun.
    async fn check_name_is_free(
        &self,
        hand: &Hand,
        which: Which,
        place: Place<'_>,
        outside: &Outside,
    ) -> Result<(), Halt> {
        let Outside::CreateIndex { index, .. } = outside else { return Ok(()) };
        let words: Vec<String> = place.sql.split_whitespace().map(str::to_uppercase).collect();
        let is_optional = words.windows(3).any(|it| it == ["IF", "NOT", "EXISTS"]);
        match self.look(hand, outside).await.map_err(Halt::from)? {
            Found::Nothing => Ok(()),
            Found::Done if is_optional => {
                self.pass_over(which, place, &DbMessage::local("the index is there already")).await
            }
            Found::Done => {
                let message = DbMessage::local(format!("an index {index} is there already"));
                Err(Halt::Refused(Box::new(self.refused(which, place.sql, &message))))
            }
            Found::Remains(names) => {
                let message = DbMessage::local(format!(
                    "an index {index} is there, and is not valid: an attempt to build it has failed; DROP INDEX CONCURRENTLY {}",
                    names.join(", ")
                ));
                Err(Halt::Refused(Box::new(self.refused(which, place.sql, &message))))
            }
        }
    }

    async fn begin_outside(&self, hand: &Hand, place: Place<'_>) -> Result<(), Fault> {
        let alone = Alone::session(&self.database, &[]).await?;
        let backend = alone.overdue().backend;
        self.insist(|mut session| async move { steps::begin(&mut session, place, backend).await })
            .await?;
        let act = change::run(&alone, &hand.path, place.sql);
        self.watched(hand, &alone, act, Patience::ENDLESS).await.0
    }

    /// Drops what an interrupted statement has left. What cannot be dropped now is met again at the next attempt.
    async fn clean_up(&self, hand: &Hand, outside: &Outside) {
        let Ok(Found::Remains(names)) = self.look(hand, outside).await else { return };
        for name in names {
            if let Ok(alone) = Alone::session(&self.database, &[]).await {
                let act = change::drop_index(&alone, &name);
                let _ = self.watched(hand, &alone, act, Patience::ENDLESS).await;
            }
        }
    }

    fn refused(&self, (part, no, _): Which, sql: &str, message: &DbMessage) -> Failure {
        let job = &self.job.name;
        Failure {
            kind: FailureKind::Refused,
            message: format!("run `{job}` stopped: statement {no} of {part} was refused"),
            because: vec![message.to_string(), format!("statement: {}", shortened(sql))],
            hint: Some(self.hint(part, sql)),
            sqlstate: message.sqlstate.clone(),
        }
    }

    fn hint(&self, part: Part, sql: &str) -> String {
        let job = &self.job.name;
        match part {
            Part::ExpandUp => format!(
                "when its cause is gone, `piecemeal resume {job}`; to change the statement: `piecemeal cancel {job}`, then `piecemeal run {job} --again`, which keeps what is done; `piecemeal down {job}` takes that back"
            ),
            Part::ContractUp => format!(
                "when its cause is gone, `piecemeal contract {job}` continues; `piecemeal down {job}` takes back what was done"
            ),
            // What is undone and what is not cannot be told apart in it.
            _ if self.statements.lenient.contains(&part) && apart(sql).is_none() => format!(
                "write one statement for each thing that it undoes, then `piecemeal down {job}` continues, and passes over those that find nothing to undo"
            ),
            Part::ExpandDown | Part::ContractDown => {
                format!("correct the job file, then `piecemeal down {job}` continues")
            }
        }
    }
}

/// Whether the same statement may succeed later.
fn is_waited_out(fault: &Fault) -> bool {
    matches!(fault, Fault::Again(_) | Fault::Smaller(_) | Fault::Unknown(_))
}

/// The first words of a statement, on one line.
fn shortened(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = line.chars().take(SHOWN).collect();
    if line.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
