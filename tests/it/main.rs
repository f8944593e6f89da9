//! The promises of the program, held to a real server: one module for each.

mod support;

mod walk;
mod bad_input;
mod batch;
mod quarantine;
mod records;
mod stripes;
mod sparse;
mod physical;
mod partitions;
mod verify;
mod steer;
mod output;
mod races;
mod parallel;
mod plan;
mod pace;
mod holds;
mod commits;
mod give_way;
mod vacuum;
mod upgrade;
mod ledger;
mod connect;
mod draft;
mod before;
mod privileges;
mod secrets;
mod sync;
mod shape;
mod kills;
mod ways;
mod migrations;
mod life;
