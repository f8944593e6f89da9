//! One file per command, each with one function to enter by.

pub(super) mod check;
pub(super) mod completions;
pub(super) mod control;
pub(super) mod demo;
pub(super) mod doctor;
pub(super) mod history;
pub(super) mod init;
mod life;
pub(super) mod new;
pub(super) mod plan;
pub(super) mod quarantine;
pub(super) mod run;
pub(super) mod schema;
pub(super) mod shape;
pub(super) mod status;
pub(super) mod verify;
pub(super) mod wait;
pub(super) mod watch;

use super::exit::Exit;
use super::settings::Problem;

/// What a command comes to.
pub(super) type Done = Result<Exit, Problem>;
