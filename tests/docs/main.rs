//! The documentation, held to the program: what it shows is run, what it lists is compared.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` rewrites the generated parts. The table of exit codes is
//! held by a unit test beside the codes.

mod page;
mod server;
mod generated;
mod commands;
mod links;
mod reference;
mod jobs;
mod tutorial;
