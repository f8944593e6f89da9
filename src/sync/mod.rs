//! The trigger that keeps rows in step while old and new columns live side by side.
//!
//! It is made from values ([`Design`]), without a database; what is there is compared with it whole.
//! It promises nothing that depends on the ledger: with schema `piecemeal` dropped, the application
//! writes on, and the trigger goes on doing its work (F91). It has no savepoint, and catches no error:
//! a row that an expression cannot do is refused to its writer. See decision 0022.
//!
//! Order matters (F13): `create` returns when the trigger is committed; only a bound taken after
//! that has every row before it that the trigger has not seen. Its lock waits out all who have
//! written to the table, and whoever writes later sees the trigger.

mod design;
mod text;
mod catalog;
mod ddl;
mod release;
#[cfg(test)]
mod tests;

pub(crate) use catalog::{State, is_at_work, made, state, tables};
pub use ddl::Blocker;
pub(crate) use ddl::{create, drop};
pub use design::{Column, Design, Trigger, Written};
pub(crate) use design::{made_again, name_of};
pub(crate) use release::Release;
