//! What goes wrong, and how likely each of it is.

use fastrand::Rng;

use crate::tricks::{Trick, Until};

/// How long one fault with everything that follows takes at most, in milliseconds; nearly all of them
/// take less, and when there are none left the run is let go.
pub(crate) const PER_FAULT: u64 = 2_000;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The worker dies (SIGKILL), and another one is started at once.
    Kill(Moment),
    /// The worker is asked to go (SIGTERM), and another one is started.
    Term,
    /// The worker is frozen until another one has taken over, and then goes on.
    Zombie,
    /// The server ends the worker's sessions: all of them, or one.
    Terminate { all: bool, moment: Moment },
    /// The server cancels what the worker's sessions do.
    Cancel,
    /// One of the server's processes dies (SIGKILL), and so all of them do.
    Crash,
    /// The server crashes and comes back.
    Stop(Moment),
    /// The server is lost, and a standby that has not got the last of it takes its place.
    Promote,
    /// The network cuts the worker off in the middle of a batch.
    Cut(Trick),
    /// The network cuts all connections at once.
    CutAll(Moment),
    /// The network lets nothing through for a while, and then sometimes cuts.
    Freeze,
    /// The network is slow for a while.
    Slow,
    /// There is no room for the table any more, and then there is again.
    DiskFull,
    /// Something that others do to the database.
    Trouble(Trouble),
}

/// What others do to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Somebody holds rows for a while.
    RowLocks,
    /// Somebody holds the table for a while.
    TableLock,
    /// Somebody's DDL waits for a long read, and everybody waits for the DDL.
    QueuedDdl,
    /// The table gets another column.
    AddColumn,
    /// The table gets another partition, which has rows.
    Attach,
    /// VACUUM FULL: the table gets another file.
    VacuumFull,
    /// All indexes are built anew.
    Reindex,
    /// All connections are taken.
    Exhaust,
    /// The role gets other defaults: time limits, formats, name resolution.
    Hostile,
}

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At some time.
    Any,
    /// When a batch is on its way.
    InFlight,
    /// When a batch is on its way that the server gets late.
    Late(Until),
}

impl Moment {
    fn plain(rng: &mut Rng) -> Moment {
        if rng.bool() { Moment::Any } else { Moment::InFlight }
    }
}

fn until(rng: &mut Rng) -> Until {
    if rng.bool() { Until::Sent } else { Until::Answered }
}

/// A name, a weight, and how it is drawn.
type Entry = (&'static str, u32, fn(&mut Rng) -> Fault);

/// VACUUM FULL is rare, since a walk in physical order begins anew with each; so is a zombie, since a
/// lease must run out.
const MENU: &[Entry] = &[
    ("kill", 14, |rng| Fault::Kill(Moment::plain(rng))),
    ("kill-late", 8, |rng| Fault::Kill(Moment::Late(until(rng)))),
    ("term", 5, |_| Fault::Term),
    ("zombie", 2, |_| Fault::Zombie),
    ("terminate", 12, |rng| Fault::Terminate { all: rng.bool(), moment: Moment::plain(rng) }),
    ("cancel", 5, |_| Fault::Cancel),
    ("crash", 4, |_| Fault::Crash),
    ("stop", 7, |rng| Fault::Stop(Moment::plain(rng))),
    ("promote", 2, |_| Fault::Promote),
    ("cut-reply", 6, |_| Fault::Cut(Trick::CutAnswered)),
    ("cut-sent", 3, |_| Fault::Cut(Trick::CutSent)),
    ("cut-request", 4, |_| Fault::Cut(Trick::CutUnsent)),
    ("cut-late", 6, |rng| Fault::Cut(Trick::CutLate(until(rng)))),
    ("cut-all", 4, |rng| Fault::CutAll(Moment::plain(rng))),
    ("freeze", 3, |_| Fault::Freeze),
    ("slow", 3, |_| Fault::Slow),
    ("disk-full", 2, |_| Fault::DiskFull),
    ("row-locks", 5, |_| Fault::Trouble(Trouble::RowLocks)),
    ("table-lock", 4, |_| Fault::Trouble(Trouble::TableLock)),
    ("queued-ddl", 3, |_| Fault::Trouble(Trouble::QueuedDdl)),
    ("add-column", 2, |_| Fault::Trouble(Trouble::AddColumn)),
    ("attach", 1, |_| Fault::Trouble(Trouble::Attach)),
    ("vacuum-full", 1, |_| Fault::Trouble(Trouble::VacuumFull)),
    ("reindex", 2, |_| Fault::Trouble(Trouble::Reindex)),
    ("exhaust", 3, |_| Fault::Trouble(Trouble::Exhaust)),
    ("hostile", 3, |_| Fault::Trouble(Trouble::Hostile)),
];

impl Fault {
    /// Draws so many of those that `only` names, or of all.
    pub(crate) fn draw(rng: &mut Rng, count: u32, only: &[String]) -> Vec<Fault> {
        let is_meant = |name: &str| only.is_empty() || only.iter().any(|it| it == name);
        let menu: Vec<_> = MENU.iter().filter(|(name, ..)| is_meant(name)).collect();
        let all: u32 = menu.iter().map(|(_, weight, _)| weight).sum();
        let one = |rng: &mut Rng| {
            let mut at = rng.u32(..all.max(1));
            let found = menu.iter().find(|(_, weight, _)| {
                let is_it = at < *weight;
                at = at.saturating_sub(*weight);
                is_it
            });
            found.map(|(_, _, draw)| draw(rng))
        };
        (0..count).filter_map(|_| one(rng)).collect()
    }

    /// Returns all names.
    pub(crate) fn names() -> Vec<&'static str> {
        MENU.iter().map(|(name, ..)| *name).collect()
    }

    /// Returns its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Kill(Moment::Late(_)) => "kill-late",
            Fault::Kill(_) => "kill",
            Fault::Term => "term",
            Fault::Zombie => "zombie",
            Fault::Terminate { .. } => "terminate",
            Fault::Cancel => "cancel",
            Fault::Crash => "crash",
            Fault::Stop(_) => "stop",
            Fault::Promote => "promote",
            Fault::Cut(Trick::CutAnswered) => "cut-reply",
            Fault::Cut(Trick::CutSent) => "cut-sent",
            Fault::Cut(Trick::CutUnsent) => "cut-request",
            Fault::Cut(Trick::CutLate(_) | Trick::HoldLate(_)) => "cut-late",
            Fault::CutAll(_) => "cut-all",
            Fault::Freeze => "freeze",
            Fault::Slow => "slow",
            Fault::DiskFull => "disk-full",
            Fault::Trouble(trouble) => trouble.name(),
        }
    }
}

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Trouble::RowLocks => "row-locks",
            Trouble::TableLock => "table-lock",
            Trouble::QueuedDdl => "queued-ddl",
            Trouble::AddColumn => "add-column",
            Trouble::Attach => "attach",
            Trouble::VacuumFull => "vacuum-full",
            Trouble::Reindex => "reindex",
            Trouble::Exhaust => "exhaust",
            Trouble::Hostile => "hostile",
        }
    }
}
