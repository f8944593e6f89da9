//! Exactly once, whatever dies: the program itself, with its own throw-away server, under seeded
//! faults and four writers.
//!
//! The job adds 1 to every row, so a batch that is lost or repeated shows. The short version is part
//! of `cargo test`; `cargo torture` runs the long one, sized by these variables:
//! `PIECEMEAL_TORTURE_ROWS`, `_KILLS`, `_TERMINATES`, `_STOPS`, `_CUTS`, `_ZOMBIES`,
//! `_WORKERS`, `_PEERS` and `_SEED`.
//! A failure names its seed and keeps the server. The seed gives the same rows, writes and faults in
//! the same order; at which microsecond they meet is up to the machine.

mod faults;
mod ledger;
mod oracles;
mod program;
mod proxy;
mod scene;
mod shape;
mod storm;
mod writers;

use std::error::Error;
use std::time::Instant;

use faults::Menu;
use scene::Scene;
use shape::Shape;
use storm::Storm;

/// What came of something, or why the test cannot go on.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[test]
fn every_row_of_an_int8_key_with_gaps_is_changed_exactly_once() {
    torture(Shape::Int8);
}

#[test]
fn every_row_of_a_uuid_key_is_changed_exactly_once() {
    torture(Shape::Uuid);
}

#[test]
fn every_row_of_a_composite_key_with_an_icu_collation_is_changed_exactly_once() {
    torture(Shape::TextAndInt8);
}

#[test]
fn every_row_of_a_timestamptz_key_with_microseconds_is_changed_exactly_once() {
    torture(Shape::Timestamptz);
}

#[expect(clippy::print_stdout, reason = "the long version is read by people")]
fn torture(shape: Shape) {
    let menu = Menu::of_environment(fastrand::u64(..));
    let seed = menu.seed;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(one_run(shape, menu)) {
        Ok(report) => println!("{report}"),
        Err(error) => panic!("{shape:?}, PIECEMEAL_TORTURE_SEED={seed}: {error}"),
    }
}

async fn one_run(shape: Shape, menu: Menu) -> Outcome<String> {
    let mut rng = fastrand::Rng::with_seed(menu.seed ^ shape.salt());
    let scene = Scene::set(shape, &menu, &mut rng).await?;
    match rage_and_judge(&scene, &menu, &mut rng).await {
        Ok(report) => Ok(report),
        Err(error) => Err(format!("{error}\n{}", scene.keep()?).into()),
    }
}

async fn rage_and_judge(scene: &Scene, menu: &Menu, rng: &mut fastrand::Rng) -> Outcome<String> {
    let started = Instant::now();
    let writers = writers::Writers::start(scene, menu, rng);
    let mut storm = Storm::begin(scene, menu, rng.fork()).await?;
    let raged = storm.rage().await;
    let ledgers = writers.stop().await?;
    raged?;
    let took = started.elapsed();
    let (batches, oracles) = oracles::judge(scene, &ledgers).await?;
    Ok(format!(
        "{:?}: seed {}, {} rows, {}, {batches} batches, {:.1} s; {oracles}",
        scene.shape,
        menu.seed,
        menu.rows,
        storm.tally(),
        took.as_secs_f64(),
    ))
}
