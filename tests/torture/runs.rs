//! Runs one after the other, several at once, with a line for each.

use std::time::Instant;

use futures_util::StreamExt as _;

use crate::args::{Args, left_out};
use crate::case::Case;
use crate::oracles;
use crate::say;
use crate::scene::Scene;
use crate::shape::Shape;
use crate::storm::Storm;
use crate::tally::Tally;
use crate::watch::Watch;
use crate::work::Work;
use crate::writers::Writers;
use crate::{Outcome, trouble};

/// Failures after which it is enough.
const ENOUGH: usize = 3;

/// Does so many runs; a failure keeps its server, and the others go on.
pub(crate) async fn all(args: &Args, count: u32) -> Outcome<()> {
    let first = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let seeds = (0..u64::from(count)).map(|no| first + no);
    let one = |seed| {
        let case = Case::of_seed(seed, args.faults, &args.only, args.pooled);
        tokio::spawn(kept(case))
    };
    let mut ended = futures_util::stream::iter(seeds.map(one)).buffer_unordered(args.at_once);
    let (mut sum, mut runs, mut failed) = (Tally::default(), 0, Vec::new());
    while let Some(run) = ended.next().await {
        match run? {
            Ok((tally, line)) => {
                runs += 1;
                sum.add(&tally);
                say(&line);
            }
            Err(error) => {
                say(&format!("FAILED: {error}"));
                failed.push(error.to_string());
                if failed.len() >= ENOUGH {
                    break;
                }
            }
        }
    }
    say(&format!("{}{}", sum.table(runs, failed.len()), left_out()));
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n\n").into()) }
}

async fn kept(case: Case) -> Outcome<(Tally, String)> {
    let (seed, words, faults) = (case.seed, case.words(), case.faults.len());
    let mut rng = fastrand::Rng::with_seed(seed);
    let scene = Scene::set(case, &mut rng).await?;
    match one(&scene, &mut rng).await {
        Ok((tally, _)) if faults > 0 && tally.faults.is_empty() => {
            Err(format!("--seed {seed} --faults {faults}: {words}: no fault had an effect").into())
        }
        Ok((tally, line)) => Ok((tally, format!("seed {seed}: {words}: {line}"))),
        Err(error) => {
            let again = format!("--seed {seed} --faults {faults}");
            Err(format!("{again}: {words}: {error}\n{}", scene.keep()?).into())
        }
    }
}

/// Does one run, and judges it.
pub(crate) async fn one(scene: &Scene, rng: &mut fastrand::Rng) -> Outcome<(Tally, String)> {
    let started = Instant::now();
    let (writers, watch) = (Writers::start(scene, rng), Watch::start(scene));
    let raged = match Storm::begin(scene, &writers, rng.fork()).await {
        Ok(mut storm) => storm.rage().await.map(|()| (storm.tally, storm.attached)),
        Err(error) => Err(error),
    };
    let (ledgers, worst) = (writers.stop().await, watch.stop().await);
    let (mut tally, attached) = raged?;
    let mut ledgers = ledgers?;
    ledgers.push(attached);
    let took = started.elapsed().as_secs_f64();
    let (batches, words) = oracles::judge(scene, &ledgers, worst).await?;
    (tally.batches, tally.worst.transaction) = (batches, worst.transaction);
    let line = format!("{}; {words}; worst wait {:.0?}; {took:.1} s", tally.words(), worst.wait);
    Ok((tally, line))
}

/// First of all, with nothing of the program: what the writers remember is what is there, through a
/// crash; and a write that is taken back behind their backs is noticed.
pub(crate) async fn still(args: &Args) -> Outcome<()> {
    let mut case = Case::of_seed(args.seed.unwrap_or(1), 0, &[], false);
    (case.shape, case.work, case.rows) = (Shape::Int8, Work::Plain, 400);
    let mut rng = fastrand::Rng::with_seed(case.seed);
    let scene = Scene::set(case, &mut rng).await?;
    let writers = Writers::start(&scene, &mut rng);
    trouble::until_written(&scene, 60).await?;
    tokio::task::block_in_place(|| scene.server.stop_immediate())?;
    tokio::task::block_in_place(|| scene.server.start_again())?;
    trouble::until_written(&scene, 120).await?;
    let ledgers = writers.stop().await?;
    let words = oracles::judge_still(&scene, &ledgers).await?;
    let lie = "UPDATE torture SET app_ver = app_ver - 1 WHERE tag = (SELECT max(tag) FROM torture WHERE app_ver > 0)";
    scene.connect().await?.batch_execute(lie).await?;
    match oracles::judge_still(&scene, &ledgers).await {
        Err(_) => say(&format!("without the program: {words}; a lost write is noticed")),
        Ok(_) => return Err("a lost write is not noticed".into()),
    }
    Ok(())
}
