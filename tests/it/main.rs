//! The promises of the program, held to a real server: one module for each.

mod support;

mod walk;
mod batch;
mod stripes;
mod sparse;
mod physical;
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
mod shape;
