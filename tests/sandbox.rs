//! What a throw-away server promises: it answers, keeps its data while it lives, and leaves
//! nothing behind, however its owner ends.
//!
//! Some tests need an owner that can be killed or that is another user: this same test binary,
//! started again for the one test that plays the owner.

#![expect(clippy::unwrap_used, reason = "what supports the tests may panic as they do")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, panic, thread};

use piecemeal::sandbox::{Programs, Sandbox};

/// Set for the process that plays the owner.
const OWNER: &str = "SANDBOX_TEST_OWNER";

fn programs() -> Programs {
    Programs::find_or_install(&mut |_| ()).unwrap()
}

fn start() -> Sandbox {
    Sandbox::start(&programs(), &[]).unwrap()
}

/// Runs statements and returns the first column of the first row.
fn ask(url: &str, sql: &str) -> Option<String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let talking = tokio::spawn(connection);
        let said = client.simple_query(sql).await.unwrap();
        drop(client);
        talking.await.unwrap().unwrap();
        said.iter().find_map(|message| {
            let tokio_postgres::SimpleQueryMessage::Row(row) = message else { return None };
            row.get(0).map(str::to_owned)
        })
    })
}

/// Where a server is, and which process it is.
#[derive(Debug, Clone)]
struct Traces {
    dir: PathBuf,
    pid: u32,
}

impl Traces {
    fn of(sandbox: &Sandbox) -> Self {
        Self { dir: sandbox.socket_dir().to_owned(), pid: sandbox.postmaster_pid().unwrap() }
    }

    fn all_there(&self) -> bool {
        self.dir.exists() && is_alive(self.pid)
    }

    fn all_gone(&self) -> bool {
        !self.dir.exists() && !is_alive(self.pid)
    }
}

/// A process that has ended and that nobody has waited for counts as gone.
fn is_alive(pid: u32) -> bool {
    let shown = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8(shown.stdout).unwrap();
    !state.trim().is_empty() && !state.starts_with('Z')
}

fn process_group(pid: u32) -> u32 {
    let shown = Command::new("ps").args(["-o", "pgid=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap().trim().parse().unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "still not true: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Starts `binary` as an owner that tells where its server is and waits for its input to end.
fn owner(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(["--exact", "an_owner_holds_its_server_until_its_input_ends", "--nocapture"]);
    command.env(OWNER, "yes").stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn traces_told_by(owner: &mut Child) -> Traces {
    let lines = BufReader::new(owner.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
    let told = lines.into_iter().find(|line| line.contains("server: ")).expect("it tells");
    let (_, told) = told.split_once("server: ").unwrap();
    let (pid, dir) = told.split_once(' ').unwrap();
    Traces { dir: PathBuf::from(dir), pid: pid.parse().unwrap() }
}

/// In a process of its own, started by other tests, it waits for them; among the others it does not.
#[test]
fn an_owner_holds_its_server_until_its_input_ends() {
    let sandbox = start();
    assert_eq!(ask(&sandbox.url("postgres"), "SELECT 1").as_deref(), Some("1"));
    let Traces { dir, pid } = Traces::of(&sandbox);
    // Past the capture of the test harness, and on a line of its own.
    writeln!(io::stdout(), "\nserver: {pid} {}", dir.display()).unwrap();
    if env::var_os(OWNER).is_some() {
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn it_starts_and_answers() {
    let sandbox = start();
    assert_eq!(ask(&sandbox.url("postgres"), "SELECT 1").as_deref(), Some("1"));
    assert_eq!(ask(&sandbox.url("postgres"), "SHOW fsync").as_deref(), Some("off"));
    assert_eq!(ask(&sandbox.url("postgres"), "SHOW server_encoding").as_deref(), Some("UTF8"));
    assert_eq!(ask(&sandbox.url("postgres"), "SHOW listen_addresses").as_deref(), Some(""));
}

#[test]
fn psql_understands_the_url() {
    let sandbox = start();
    ask(&sandbox.url("postgres"), r#"CREATE DATABASE "a b/c""#);
    let mut psql = Command::new(programs().path_of("psql"));
    psql.args(["-XAtc", "SELECT current_database()"]).arg(sandbox.url("a b/c"));
    let said = psql.output().unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "a b/c\n");
}

#[test]
fn only_its_user_can_enter_its_directory() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = start();
    let mode = fs::metadata(sandbox.socket_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn two_at_once_are_two_servers() {
    let (one, two) = (start(), start());
    ask(&one.url("postgres"), "CREATE TABLE only_here ()");
    let seen = "SELECT count(*) FROM pg_class WHERE relname = 'only_here'";
    assert_eq!(ask(&one.url("postgres"), seen).as_deref(), Some("1"));
    assert_eq!(ask(&two.url("postgres"), seen).as_deref(), Some("0"));
}

#[test]
fn a_stopped_server_keeps_its_data() {
    let sandbox = start();
    let url = sandbox.url("postgres");
    ask(&url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id");
    for stop in [Sandbox::stop_immediate, Sandbox::stop_fast] {
        let before = Traces::of(&sandbox);
        stop(&sandbox).unwrap();
        assert_eq!(sandbox.postmaster_pid(), None);
        wait_until("the server is gone", || !is_alive(before.pid));
        sandbox.start_again().unwrap();
        assert_ne!(sandbox.postmaster_pid(), Some(before.pid));
        assert_eq!(ask(&url, "SELECT count(*) FROM kept").as_deref(), Some("1000"));
    }
}

#[test]
fn a_stopped_server_cannot_be_stopped_and_says_so() {
    let sandbox = start();
    sandbox.stop_fast().unwrap();
    let error = sandbox.stop_fast().unwrap_err().to_string();
    assert!(error.contains("did not stop") && error.contains("postmaster.pid"), "{error}");
    sandbox.start_again().unwrap();
}

#[test]
fn a_dropped_sandbox_leaves_nothing() {
    let sandbox = start();
    let traces = Traces::of(&sandbox);
    assert!(traces.all_there());
    drop(sandbox);
    assert!(!traces.dir.exists(), "drop waits for the removal");
    wait_until("nothing is left", || traces.all_gone());
}

#[test]
fn a_sandbox_dropped_while_stopped_leaves_nothing() {
    let sandbox = start();
    let traces = Traces::of(&sandbox);
    sandbox.stop_immediate().unwrap();
    drop(sandbox);
    assert!(traces.all_gone());
}

#[test]
fn a_panic_leaves_nothing() {
    let mut traces = None;
    let panicked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let sandbox = start();
        traces = Some(Traces::of(&sandbox));
        panic!("on purpose, with the server at {}", sandbox.socket_dir().display());
    }));
    assert!(panicked.is_err());
    let traces = traces.expect("the server had started");
    wait_until("nothing is left", || traces.all_gone());
}

#[test]
fn a_killed_owner_leaves_nothing() {
    let mut owner = owner(&env::current_exe().unwrap()).spawn().unwrap();
    let traces = traces_told_by(&mut owner);
    assert!(traces.all_there());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("nothing is left", || traces.all_gone());
}

#[test]
fn an_owner_killed_while_the_server_starts_leaves_nothing() {
    let temp = tempfile::Builder::new().prefix("pm").tempdir_in("/tmp").unwrap();
    open_to_all(temp.path());
    let mut owner = owner(&env::current_exe().unwrap()).env("TMPDIR", temp.path()).spawn().unwrap();
    let made = || fs::read_dir(temp.path()).unwrap().flatten().any(|entry| entry.path().is_dir());
    wait_until("the directory is made", made);
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the directory is gone", || !made());
}

#[test]
fn a_signal_to_the_owner_s_group_does_not_reach_the_server() {
    let mut owner = owner(&env::current_exe().unwrap()).process_group(0).spawn().unwrap();
    let traces = traces_told_by(&mut owner);
    let shown = Command::new("ps").args(["-A", "-o", "pid=,pgid=,args="]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let dir = traces.dir.to_str().unwrap();
    let groups: Vec<u32> = shown
        .lines()
        .filter(|line| line.contains(dir))
        .map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(groups.len() >= 2, "the supervisor and the server are seen: {shown}");
    assert!(!groups.contains(&owner.id()), "{groups:?}");
    assert_ne!(process_group(traces.pid), owner.id());
    let group = format!("-{}", owner.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    owner.wait().unwrap();
    wait_until("nothing is left", || traces.all_gone());
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_does_not_hold_the_files_that_its_owner_inherited() {
    let file = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    let plain = owner(&env::current_exe().unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 3<\"$0\"; exec \"$@\""]).arg(file.path()).arg(plain.get_program());
    shell.args(plain.get_args()).env(OWNER, "yes").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut owner = shell.spawn().unwrap();
    let traces = traces_told_by(&mut owner);
    let holds = |pid: u32| {
        let held = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        held.filter_map(|link| fs::read_link(link.path()).ok()).any(|held| held == file.path())
    };
    assert!(holds(owner.id()), "the owner has inherited it");
    assert!(!holds(traces.pid));
    drop(owner.stdin.take());
    owner.wait().unwrap();
    wait_until("nothing is left", || traces.all_gone());
}

#[test]
fn a_bad_setting_shows_the_server_s_own_words_and_leaves_nothing() {
    let error = Sandbox::start(&programs(), &[("no_such_thing", "1")]).unwrap_err().to_string();
    assert!(error.contains("did not start"), "{error}");
    assert!(error.contains(r#"unrecognized configuration parameter "no_such_thing""#), "{error}");
    let (_, after) = error.split_once("file \"").expect("the log names the file");
    let (conf, _) = after.split_once('"').unwrap();
    assert!(!Path::new(conf).exists() && !Path::new(conf).ancestors().nth(2).unwrap().exists());
}

#[test]
fn a_setting_of_the_caller_wins() {
    let sandbox = Sandbox::start(&programs(), &[("fsync", "on"), ("port", "5433")]).unwrap();
    assert_eq!(ask(&sandbox.url("postgres"), "SHOW fsync").as_deref(), Some("on"));
    assert!(sandbox.socket_dir().join(".s.PGSQL.5433").exists());
}

#[test]
fn tcp_is_open_when_it_is_asked_for() {
    let sandbox = Sandbox::start(&programs(), &[("listen_addresses", "127.0.0.1")]).unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", sandbox.port());
    assert_eq!(ask(&url, "SELECT 1").as_deref(), Some("1"));
}

#[test]
fn a_kept_server_stays_until_its_command_stops_it() {
    let sandbox = start();
    let traces = Traces::of(&sandbox);
    let kept = sandbox.keep().unwrap();
    assert!(traces.all_there());
    assert_eq!(ask(&kept.url, "SELECT 1").as_deref(), Some("1"));
    let stopped = Command::new("sh").args(["-c", &kept.stop]).output().unwrap();
    assert!(stopped.status.success(), "{stopped:?}");
    wait_until("nothing is left", || traces.all_gone());
}

#[test]
fn programs_named_at_a_wrong_place_are_an_error() {
    let mut owner = owner(&env::current_exe().unwrap());
    let said = owner.env("PIECEMEAL_PG_BIN", "/nowhere").stderr(Stdio::piped()).output().unwrap();
    assert!(!said.status.success());
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("NotThere(\"/nowhere\")"), "{said}");
}

#[test]
fn an_ordinary_user_can_have_one() {
    if !nix::unistd::Uid::effective().is_root() {
        let why = "this is an ordinary user already, as in every other test here";
        writeln!(io::stderr(), "skipped an_ordinary_user_can_have_one: {why}").unwrap();
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("a user nobody");
    // The build's directory may be closed to that user.
    let place = tempfile::Builder::new().prefix("pm").tempdir_in("/tmp").unwrap();
    open_to_all(place.path());
    let binary = place.path().join("owner");
    fs::copy(env::current_exe().unwrap(), &binary).unwrap();
    let mut owner = owner(&binary);
    owner.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw()).current_dir("/");
    let mut owner = owner.env("TMPDIR", place.path()).spawn().unwrap();
    let traces = traces_told_by(&mut owner);
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&traces.dir).unwrap());
    assert_eq!(uid, nobody.uid.as_raw());
    drop(owner.stdin.take());
    assert!(owner.wait().unwrap().success());
    wait_until("nothing is left", || traces.all_gone());
}

fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
}
