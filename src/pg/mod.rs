//! Ground: everything that speaks to the driver.
//!
//! Knows nothing of jobs, runs or ranges. It promises that a session which goes back to its pool is
//! idle, that a transaction is begun and ended in one place, and that an error says what it means.

pub mod environment;
pub mod keywords;
pub mod conninfo;
pub mod uri;
pub mod service;
pub mod passfile;
pub mod tls;
pub mod endpoint;
pub mod settings;
pub mod connect_error;
pub mod connect;
pub mod message;
pub mod fault;
pub mod guards;
pub mod session;
pub mod pool;

pub use connect::Connect;
pub use connect_error::{ConnectError, ConnectErrorKind};
pub use environment::Environment;
pub use fault::Fault;
pub use guards::Guards;
pub use message::DbMessage;
pub use pool::{Database, Lane};
pub use session::{Param, Session};
pub use tokio_postgres::CancelToken;
