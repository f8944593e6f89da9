//! How the share of the speed follows a signal: smooth, fast down, slow up. Pure.
//!
//! A walk changes what it reads. If it answers a signal at once and in full it drives itself into
//! swinging between standstill and full speed; if it answers slowly it is late. Two kinds of signal
//! pull in opposite directions, and the simulations in the tests hold the balance:
//!
//! - one that follows our load at once, as latency does: it must be approached from below in steps
//!   so small that the answer to one is seen before the next;
//! - one that adds up what is too much, as a standby's lag does: whoever answers it late overshoots.
//!
//! So the way up is slow and the way down is fast. Shares move by factors, not by differences: a
//! step that is right at full speed would double the load at a twentieth of it.
//!
//! Not here: standing still, which is not a small share but a hold (`judge`).

/// Up to so much of the limit nothing is slowed down.
pub(super) const FULL: f64 = 0.6;

/// The smallest share, at the limit itself. It is the steepness of the fall: at a half of it, the
/// simulated standby that answers a poll late swings between a tenth and nine tenths.
pub(super) const LEAST: f64 = 0.05;

/// Seconds in which the share comes down by the larger part. At 2 s a standby that is a poll late
/// swings; below 1 s noise costs more speed than it saves.
const DOWN: f64 = 1.0;

/// Seconds for the same upwards. At 20 s noise of 5 % shows as a swing of a fifth of the speed; at
/// 60 s nothing is calmer than at 40.
const UP: f64 = 40.0;

/// The growth each second, as an exponent, while the signal is nowhere near its limit: what brings a
/// walk back within a quarter of a minute once the trouble is over. It goes down with the square of how
/// near the limit is; in proportion to it, or at 0.3, a standby that is a poll late swings.
const ROOM: f64 = 0.2;

/// Returns the share to aim at: 1 up to [`FULL`], then falling by a constant factor for each step of
/// utilisation, so that a signal is answered with the same strength at every speed.
pub(super) fn aim(utilisation: f64) -> f64 {
    // Also what is not a number is at its limit.
    if utilisation <= FULL {
        return 1.0;
    }
    let beyond = ((utilisation - FULL) / (1.0 - FULL)).min(1.0);
    if beyond.is_nan() { LEAST } else { LEAST.powf(beyond) }
}

/// Returns the share that is used next, `seconds` after `share` was.
pub(super) fn step(share: f64, utilisation: f64, seconds: f64) -> f64 {
    let share = share.clamp(LEAST, 1.0);
    // How far it is, as an exponent.
    let way = (aim(utilisation) / share).ln();
    let moved = if way < 0.0 {
        way * (1.0 - (-seconds / DOWN).exp())
    } else {
        let room = ((FULL - utilisation) / FULL).clamp(0.0, 1.0);
        way.min((way / UP + ROOM * room * room) * seconds)
    };
    (share * moved.exp()).clamp(LEAST, 1.0)
}

#[cfg(test)]
#[path = "ease_tests.rs"]
mod tests;
