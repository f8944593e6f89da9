//! Slots and archiving.

use super::Scene;
use crate::job::Signal;

/// Writes WAL into several segments.
const SEGMENTS: &str =
    "SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000));; SELECT pg_switch_wal();;
    SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000));; SELECT pg_switch_wal();;
    SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000));; SELECT pg_switch_wal();;
    SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000))";

#[tokio::test]
async fn a_slot_keeps_wal_until_it_has_lost_it() {
    let scene = Scene::set(&[]).await;
    let mut slot_lag = scene.reader(Signal::SlotLag, "10 MB");
    assert!(slot_lag.value().await < 1.0);
    scene.exec("SELECT pg_create_physical_replication_slot('s', true)").await;
    scene.exec(SEGMENTS).await;
    assert!(slot_lag.value().await > 40e6);
    let reading = slot_lag.read().await.unwrap();
    assert!(reading.to_string().ends_with("B > 10 MB"), "{reading}");
    scene.exec("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB';; SELECT pg_reload_conf()").await;
    scene.until("current_setting('max_slot_wal_keep_size') = '1MB'").await;
    scene.exec(SEGMENTS).await;
    scene.exec("CHECKPOINT").await;
    scene.until("SELECT wal_status = 'lost' FROM pg_replication_slots").await;
    assert!(slot_lag.value().await < 1.0);
}

#[tokio::test]
async fn an_archive_that_fails_is_counted_by_the_list_or_by_the_archiver() {
    let scene = Scene::set(&[("archive_mode", "on"), ("archive_command", "false")]).await;
    let mut told = scene.reader(Signal::ArchiveBacklog, "100");
    scene.exec(SEGMENTS).await;
    scene.until("SELECT failed_count > 0 FROM pg_stat_archiver").await;
    // Nothing was ever archived, and this role may not list what waits.
    let blind = told.blind().await;
    assert!(blind.recipe.unwrap().contains("pg_ls_archive_statusdir() TO app;"));
    let mut listed = scene.reader(Signal::ArchiveBacklog, "100");
    listed.database = scene.database("postgres");
    assert!(listed.value().await >= 3.0);
    scene.exec("ALTER SYSTEM SET archive_command = 'true';; SELECT pg_reload_conf();; SELECT pg_switch_wal()").await;
    told.until(|read| read.as_ref().is_ok_and(|it| it.value < 1.0)).await.unwrap();
    listed.until_value(|value| value < 1.0).await;
    scene.exec("ALTER SYSTEM SET archive_command = 'false';; SELECT pg_reload_conf()").await;
    scene.until("current_setting('archive_command') = 'false'").await;
    let failed = "SELECT failed_count FROM pg_stat_archiver";
    let failed: i64 = scene.admin.query_one(failed, &[]).await.unwrap().get(0);
    // The archiver learns of it a little later than the session.
    scene.exec(SEGMENTS).await;
    listed.until_value(|value| value >= 1.0).await;
    scene.until(&format!("SELECT failed_count > {failed} FROM pg_stat_archiver")).await;
    scene.exec(SEGMENTS).await;
    let count = listed.value().await;
    assert!(count >= 3.0, "{count}");
    told.until_value(|value| (value - count).abs() < 0.5).await;
    scene.exec("GRANT EXECUTE ON FUNCTION pg_ls_archive_statusdir() TO app").await;
    assert!((told.value().await - count).abs() < 0.5);
    assert_eq!(told.read().await.unwrap().to_string(), format!("{count} segments of 100 segments"));
}
