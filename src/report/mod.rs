//! Views of a run: what people and programs are shown, made of snapshots and events alone.

pub mod json;
pub mod words;
pub mod plan;
pub mod doctor;
pub mod history;
