//! Changes a large, live PostgreSQL table without stopping anybody.
//!
//! A [`job`] says what should change. With the catalog it becomes a [`plan`], or a list of
//! [`finding`]s that say why not. A plan starts a run: a worker walks the table along a unique key,
//! a chunk at a time, and each batch is one short transaction that moves rows, cursor and counters
//! together. So a run can be killed at any moment and goes on where it stopped, exactly once. When
//! the walk is over the whole table is looked at; done means verified.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use piecemeal::{Actor, Connect, Database, Environment, Job, Options, engine, open_run};
//!
//! let job = Job::builder("email-lower", "public.users")
//!     .set("email_lower", "lower(email)")
//!     .filter("email_lower IS NULL AND email IS NOT NULL")
//!     .build()?;
//! let connect = Connect::resolve(Some("postgres://localhost/app"), &Environment::of_process())?;
//! let database = Database::new(connect)?;
//! let actor = Actor("deploy".into());
//! let (plan, run) = open_run(&job, &database, &actor).await?;
//! let mut handle = engine::start(plan, run, database, Options::new(actor));
//! while let Some(event) = handle.next_event().await {
//!     println!("{event:?}");
//! }
//! let report = handle.join().await?;
//! println!("{} rows", report.snapshot.rows.changed);
//! # Ok(())
//! # }
//! ```
//!
//! The modules below are in reading order, and a module uses only those above it: that list is the
//! architecture, and `tests/tidy.rs` holds it. The library never prints, exits or installs a signal
//! handler, and reads the environment only where a caller asks for it.

// Ground: the driver, and a server to throw away.
mod pg;
pub mod sandbox;

// Nouns: pure values.
pub mod job;
mod walk;
pub mod run;
pub mod finding;
pub mod error;

// Parts: each does one thing with a session.
mod ledger;
pub mod sync;
pub mod plan;
pub mod throttle;
mod batch;
mod verify;
mod vacuum;
mod change;

// The whole, then the views.
pub mod engine;
pub mod control;
pub mod doctor;
pub mod report;

pub use control::open_run;
pub use engine::Options;
pub use error::{Error, ErrorKind};
pub use job::Job;
pub use ledger::Actor;
pub use pg::{Connect, ConnectError, ConnectErrorKind, Database, Environment};
pub use plan::Plan;
pub use walk::{Chunk, Key, Stripe};
