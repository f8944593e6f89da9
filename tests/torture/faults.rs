//! What goes wrong, how often, and in which order.

use fastrand::Rng;

use crate::proxy::{Trick, Until};

/// How long one fault with everything that follows takes, about, in milliseconds.
pub(crate) const PER_FAULT: u64 = 600;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The worker dies (SIGKILL), and another one is started at once.
    Kill(Moment),
    /// The server ends the worker's sessions: all of them, or one.
    Terminate { all: bool, moment: Moment },
    /// The server crashes and comes back.
    Stop(Moment),
    /// The network cuts the worker off in the middle of a batch.
    Cut(Trick),
    /// The network cuts all connections at once.
    CutAll(Moment),
    /// The worker is frozen until another one has taken over, and then goes on.
    Zombie,
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

/// How big a run of the test is.
#[derive(Debug, Clone)]
pub(crate) struct Menu {
    pub(crate) seed: u64,
    pub(crate) rows: u32,
    kills: u32,
    terminates: u32,
    stops: u32,
    cuts: u32,
    zombies: u32,
    /// Workers of each process.
    pub(crate) workers: u32,
    /// Whether a second process joins the first.
    pub(crate) has_peer: bool,
}

impl Menu {
    /// Reads it from the environment; what is not set is as in the short version.
    pub(crate) fn of_environment(seed: u64) -> Menu {
        let count = |name: &str, default| read(name).unwrap_or(default);
        let seed = read("SEED").unwrap_or(seed);
        let mut rng = Rng::with_seed(seed);
        Menu {
            seed,
            workers: count("WORKERS", rng.u32(1..=3)).max(1),
            has_peer: count("PEERS", rng.u32(..2)) > 0,
            rows: count("ROWS", 3_000).max(100),
            kills: count("KILLS", 6),
            terminates: count("TERMINATES", 3),
            stops: count("STOPS", 1),
            cuts: count("CUTS", 5),
            zombies: count("ZOMBIES", 0),
        }
    }

    /// Returns all faults in the seed's order; the first of each kind are the dangerous ones.
    pub(crate) fn faults(&self, rng: &mut Rng) -> Vec<Fault> {
        let moments = [
            Moment::Late(Until::Answered),
            Moment::InFlight,
            Moment::Any,
            Moment::Late(Until::Sent),
            Moment::InFlight,
            Moment::Any,
        ];
        let cuts = [
            Fault::Cut(Trick::CutLate(Until::Answered)),
            Fault::Cut(Trick::CutAnswered),
            Fault::Cut(Trick::CutLate(Until::Sent)),
            Fault::Cut(Trick::CutSent),
            Fault::CutAll(Moment::Any),
            Fault::CutAll(Moment::InFlight),
        ];
        let plain = [Moment::InFlight, Moment::Any];
        let mut faults = Vec::new();
        faults.extend(turns(&moments, self.kills).map(Fault::Kill));
        let sessions = turns(&plain, self.terminates).enumerate();
        faults.extend(sessions.map(|(no, moment)| Fault::Terminate { all: no % 2 == 0, moment }));
        faults.extend(turns(&plain, self.stops).map(Fault::Stop));
        faults.extend(turns(&cuts, self.cuts));
        faults.extend(turns(&[Fault::Zombie], self.zombies));
        rng.shuffle(&mut faults);
        faults
    }

    /// Returns the pace, in rows per second, at which there is time for all faults.
    pub(crate) fn pace(&self) -> u64 {
        let faults = self.kills + self.terminates + self.stops + self.cuts + self.zombies;
        let millis = u64::from(faults.max(1)) * PER_FAULT * 5 / 4;
        (u64::from(self.rows) * 1_000 / millis).max(20)
    }

    /// Returns the most rows of a batch, so that at that pace there are some ten a second.
    pub(crate) fn largest_batch(&self) -> u32 {
        u32::try_from(self.pace() / 10).unwrap_or(u32::MAX).clamp(20, 500)
    }
}

fn turns<T: Copy>(kinds: &[T], count: u32) -> impl Iterator<Item = T> {
    kinds.iter().copied().cycle().take(count as usize)
}

fn read<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(format!("PIECEMEAL_TORTURE_{name}")).ok()?.parse().ok()
}
