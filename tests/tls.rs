//! Connections to a throw-away server: what each `sslmode` accepts, where passwords come from, and
//! how failures are told apart.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use piecemeal::doctor::{Health, examine};
use piecemeal::sandbox::Programs;
use piecemeal::{Connect, ConnectError, ConnectErrorKind, Database, Environment};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};
use tempfile::TempDir;

const PASSWORD: &str = "s3cr:t w\\rd";
const HBA: &str = "local all all scram-sha-256\nhostssl all bycert all cert\n\
                   host all all all scram-sha-256\n";

/// A certificate and its key in PEM form.
struct Pair {
    certificate: String,
    key: String,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

/// A running server with its directory, stopped and removed when dropped.
struct Server {
    directory: TempDir,
    port: u16,
}

impl Server {
    fn start(tls: Option<(&Pair, &Authority)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        give_away(directory.path());
        let mut server = Self { directory, port: 0 };
        server.write("password", PASSWORD, 0o600);
        let (data, password) = (server.path("data"), server.path("password"));
        let flags = ["--no-sync", "-A", "scram-sha-256", "-U", "postgres", "--pwfile"];
        run("initdb", |c| c.args(flags).arg(&password).arg("-D").arg(&data));
        server.write("data/pg_hba.conf", HBA, 0o600);
        // Chosen late: what was free long ago may be taken.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        server.port = port;
        let mut settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nfsync = off\n\
             unix_socket_directories = '{}'\n",
            server.directory.path().display()
        );
        if let Some((pair, authority)) = tls {
            server.write("data/server.crt", &pair.certificate, 0o600);
            server.write("data/server.key", &pair.key, 0o600);
            server.write("data/root.crt", &authority.certificate, 0o600);
            settings += "ssl = on\nssl_ca_file = 'root.crt'\n";
        }
        server.write("data/postgresql.auto.conf", &settings, 0o600);
        let log = server.path("log");
        run("pg_ctl", |c| c.args(["start", "-w", "-D"]).arg(&data).arg("-l").arg(&log));
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        give_away(&path);
        path
    }

    /// The environment of a user who knows the password, and nothing of this machine.
    fn environment(&self) -> Environment {
        let mut environment = self.stranger();
        environment.variables.insert("PGPASSWORD".into(), PASSWORD.into());
        environment
    }

    fn stranger(&self) -> Environment {
        let mut environment = Environment::default();
        environment.variables.insert("PGPORT".into(), self.port.to_string());
        environment.user = Some("postgres".into());
        environment
    }

    /// Connects and tells whether the connection uses TLS.
    async fn connects(&self, settings: &str) -> Result<bool, ConnectError> {
        uses_tls(settings, &self.environment()).await
    }

    async fn refuses(&self, settings: &str) -> (ConnectErrorKind, String) {
        let error = self.connects(settings).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(PASSWORD));
        (error.kind(), error.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.path("data");
        run("pg_ctl", |c| c.args(["stop", "-m", "immediate", "-D"]).arg(&data));
    }
}

async fn uses_tls(settings: &str, environment: &Environment) -> Result<bool, ConnectError> {
    let connect = Connect::resolve(Some(settings), environment)?.application_name("tls test");
    let (client, driver) = connect.open().await?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let is_encrypted = client.query_one(sql, &[]).await.unwrap().get(0);
    drop(client);
    driver.await.unwrap().unwrap();
    // However it is reached, the server is known to be itself.
    let checkup = Box::pin(examine(&Database::new(connect)?, None)).await.unwrap();
    let route = checkup.signs.iter().find(|sign| sign.about == "route").unwrap();
    assert_eq!(route.health, Health::Ok, "{settings}");
    Ok(is_encrypted)
}

/// A server does not run as root, so its files belong to its own account.
fn account() -> Option<nix::unistd::User> {
    let postgres = nix::unistd::User::from_name("postgres").unwrap();
    postgres.filter(|_| nix::unistd::geteuid().is_root())
}

fn give_away(path: &Path) {
    if let Some(account) = account() {
        chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw())).unwrap();
    }
}

fn run(program: &str, arguments: impl Fn(&mut Command) -> &mut Command) {
    let programs = Programs::find_or_install(&mut |_| ()).unwrap();
    let mut command = Command::new(programs.path_of(program));
    if let Some(account) = account() {
        command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
    }
    let output = arguments(command.current_dir("/")).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_right_host_passes_every_mode_and_another_ca_none_that_verifies() {
    let authority = Authority::new("test CA");
    let pair = authority.sign(&["localhost", "127.0.0.1"], |_| {});
    let server = Server::start(Some((&pair, &authority)));
    let root = server.write("ca.pem", &authority.certificate, 0o644);
    let root = root.display();
    for mode in ["verify-full", "verify-ca", "require", "prefer", "allow"] {
        let trusted = format!("host=localhost sslmode={mode} sslrootcert={root}");
        assert_eq!(server.connects(&trusted).await, Ok(true), "{mode}");
        for (name, cause) in [("other CA", "UnknownIssuer"), ("test CA", "BadSignature")] {
            let other = server.write("other.pem", &Authority::new(name).certificate, 0o644);
            let other = other.display();
            let untrusted = format!("host=localhost sslmode={mode} sslrootcert={other}");
            let (kind, text) = server.refuses(&untrusted).await;
            assert_eq!(kind, ConnectErrorKind::Rejected, "{text}");
            assert!(text.contains(&format!("{cause} (name the file of the right CA")), "{text}");
        }
    }
    let (_, text) = server.refuses("host=localhost sslmode=verify-full").await;
    assert!(text.contains("sslrootcert"), "{text}");
    for mode in ["require", "prefer"] {
        let plain = format!("postgres://localhost/postgres?sslmode={mode}");
        assert_eq!(server.connects(&plain).await, Ok(true));
    }
    assert_eq!(server.connects("host=localhost sslmode=disable").await, Ok(false));
    let bound = "host=localhost sslmode=require channel_binding=require";
    assert_eq!(server.connects(bound).await, Ok(true));
    let address = format!("hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={root}");
    assert_eq!(server.connects(&address).await, Ok(true));
}

#[tokio::test]
async fn a_wrong_host_is_refused_by_verify_full_alone() {
    let authority = Authority::new("test CA");
    let pair = authority.sign(&["db.example"], |_| {});
    let server = Server::start(Some((&pair, &authority)));
    let root = server.write("ca.pem", &authority.certificate, 0o644);
    let with = |mode| format!("host=localhost sslmode={mode} sslrootcert={}", root.display());

    let (kind, text) = server.refuses(&with("verify-full")).await;
    assert_eq!(kind, ConnectErrorKind::Rejected);
    assert!(text.contains("not valid for name \"localhost\""), "{text}");
    assert_eq!(server.connects(&with("verify-ca")).await, Ok(true));
    assert_eq!(server.connects(&with("require")).await, Ok(true));
    assert_eq!(server.connects("host=localhost sslmode=require").await, Ok(true));
    // The name in the certificate is compared with `host`, whatever the address is.
    let named = format!("{} host=db.example hostaddr=127.0.0.1", with("verify-full"));
    assert_eq!(server.connects(&named).await, Ok(true));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_where_the_chain_is_verified() {
    let authority = Authority::new("test CA");
    let pair = authority.sign(&["localhost"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
    });
    let server = Server::start(Some((&pair, &authority)));
    let root = server.write("ca.pem", &authority.certificate, 0o644);
    for mode in ["verify-full", "verify-ca"] {
        let settings = format!("host=localhost sslmode={mode} sslrootcert={}", root.display());
        let (kind, text) = server.refuses(&settings).await;
        assert_eq!(kind, ConnectErrorKind::Rejected);
        assert!(text.contains("certificate expired"), "{text}");
    }
    assert_eq!(server.connects("host=localhost sslmode=require").await, Ok(true));
}

#[tokio::test]
async fn a_client_certificate_stands_in_for_a_password() {
    let authority = Authority::new("test CA");
    let pair = authority.sign(&["localhost"], |_| {});
    let server = Server::start(Some((&pair, &authority)));
    let own = authority.sign(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "bycert");
    });
    let certificate = server.write("own.crt", &own.certificate, 0o644);
    let key = server.write("own.key", &own.key, 0o600);
    let admin = Connect::resolve(Some("host=localhost"), &server.environment()).unwrap();
    admin.open().await.unwrap().0.batch_execute("CREATE ROLE bycert LOGIN").await.unwrap();

    let login = "postgres://bycert@localhost/postgres?sslmode=require";
    let (certificate, key) = (certificate.display(), key.display());
    let with = format!("{login}&sslcert={certificate}&sslkey={key}");
    assert_eq!(uses_tls(&with, &server.stranger()).await, Ok(true));
    assert_eq!(server.refuses(login).await.0, ConnectErrorKind::Rejected);
}

#[tokio::test]
async fn a_server_without_tls_is_refused_by_the_modes_that_ask_for_it() {
    let server = Server::start(None);
    let root = server.write("ca.pem", &Authority::new("test CA").certificate, 0o644);
    for mode in ["require", "verify-ca", "verify-full"] {
        let settings = format!("host=localhost sslmode={mode} sslrootcert={}", root.display());
        let (kind, text) = server.refuses(&settings).await;
        assert_eq!(kind, ConnectErrorKind::Rejected);
        assert!(text.contains("server does not support TLS (the sslmode asks"), "{text}");
    }
    assert_eq!(server.connects("host=localhost sslmode=prefer").await, Ok(false));
    assert_eq!(server.connects("hostaddr=127.0.0.1").await, Ok(false));
}

#[tokio::test]
async fn passwords_come_from_files_and_reach_a_unix_socket() {
    let server = Server::start(None);
    let mut environment = server.stranger();
    environment.home = Some(server.directory.path().into());
    let missing = uses_tls("host=localhost", &environment).await.unwrap_err();
    assert_eq!(missing.kind(), ConnectErrorKind::Rejected);
    assert!(missing.to_string().contains("give it with PGPASSWORD or ~/.pgpass"), "{missing}");

    let escaped = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    server.write(".pgpass", &format!("localhost:{}:*:postgres:{escaped}\n", server.port), 0o600);
    assert_eq!(uses_tls("host=localhost", &environment).await, Ok(false));
    let socket = format!("host={} sslmode=verify-full", server.directory.path().display());
    environment.home = Some(server.directory.path().into());
    assert_eq!(uses_tls("postgres://?sslmode=prefer", &environment).await, Ok(false));
    assert_eq!(uses_tls(&socket, &environment).await, Ok(false));
    environment.socket_directories = vec![server.directory.path().into()];
    let found = Connect::resolve(Some("dbname=postgres"), &environment).unwrap();
    assert!(found.describe().contains(".s.PGSQL."), "{}", found.describe());
    found.open().await.unwrap();

    fs::remove_file(server.path(".pgpass")).unwrap();
    let service = format!("[it]\nhost=localhost\npassword={PASSWORD}\n");
    server.write(".pg_service.conf", &service, 0o600);
    assert_eq!(uses_tls("service=it", &environment).await, Ok(false));
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = Server::start(None);
    let admin = Connect::resolve(Some("host=localhost"), &server.environment()).unwrap();
    let (client, _driver) = admin.open().await.unwrap();
    let role = "CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 0";
    client.batch_execute(role).await.unwrap();

    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = unreachable.local_addr().unwrap().port();
    let cases = [
        ("host=localhost password=wrong", ConnectErrorKind::Rejected, "(SQLSTATE 28P01)"),
        ("host=localhost dbname=absent", ConnectErrorKind::Rejected, "(SQLSTATE 3D000)"),
        ("host=localhost user=few password=few", ConnectErrorKind::Unreachable, "53300"),
        ("host=localhost port=1", ConnectErrorKind::Unreachable, "refused"),
        ("host=/nonexistent", ConnectErrorKind::Unreachable, "No such file"),
        ("host=absent.invalid", ConnectErrorKind::Unreachable, "absent.invalid"),
        (
            "host=localhost target_session_attrs=read-write options='-c default_transaction_read_only=on'",
            ConnectErrorKind::Unreachable,
            "name the primary",
        ),
        (
            &format!("hostaddr=127.0.0.1 port={silent} connect_timeout=1"),
            ConnectErrorKind::Unreachable,
            "within 1 s",
        ),
        ("host=localhost sslmode=verify", ConnectErrorKind::BadSettings, "one of"),
    ];
    for (settings, expected, part) in cases {
        let begun = Instant::now();
        let (kind, text) = server.refuses(settings).await;
        assert!(begun.elapsed().as_secs() < 5 || settings.contains("invalid"), "{settings}");
        assert_eq!(kind, expected, "{text}");
        assert!(text.contains(part), "{text}");
    }
}
