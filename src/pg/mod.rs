//! Ground: everything that speaks to the driver.
//!
//! Knows nothing of jobs, runs or ranges. It promises that a session which goes back to its pool is
//! idle, that a transaction is begun and ended in one place, and that an error says what it means.

pub(crate) mod environment;
pub(crate) mod keywords;
pub(crate) mod conninfo;
pub(crate) mod uri;
pub(crate) mod service;
pub(crate) mod passfile;
pub(crate) mod tls;
pub(crate) mod endpoint;
pub(crate) mod settings;
pub(crate) mod resolve;
pub(crate) mod connect_error;
pub(crate) mod connect;
pub(crate) mod message;
pub(crate) mod fault;
pub(crate) mod guards;
pub(crate) mod session;
pub(crate) mod kept;
pub(crate) mod pool;
pub(crate) mod direct;
pub(crate) mod alone;

pub(crate) use alone::{Alone, Overdue};
pub use connect::Connect;
pub use connect_error::{ConnectError, ConnectErrorKind};
pub(crate) use direct::{find_out, is_direct};
pub use environment::Environment;
pub(crate) use fault::Fault;
pub(crate) use guards::{Begin, Follow, GUARDED, Guards, WALK, literal};
pub(crate) use kept::TAKES_BACK;
pub(crate) use message::DbMessage;
pub use pool::Database;
pub(crate) use pool::{Lane, patiently};
pub(crate) use session::{Act, Param, Session, Together};
pub(crate) use tokio_postgres::CancelToken;
