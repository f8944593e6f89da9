//! What `Connect::resolve` makes of URL, files and environment, without a server.

use super::*;
use crate::pg::connect_error::ConnectErrorKind;
use crate::pg::conninfo::{Conninfo, Source};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use tempfile::TempDir;
use tokio_postgres::config::TargetSessionAttrs;

const CANARY: &str = "c4n4ryW0rd";

fn environment(variables: &[(&str, &str)]) -> Environment {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Environment {
        variables: variables.iter().map(own).collect(),
        user: Some("osuser".to_owned()),
        ..Environment::default()
    }
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A home directory with a password file and a service file.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    write_private(
        &home.path().join(".pgpass"),
        "one:*:*:*:first\ntwo:*:*:*:second\nlocalhost:*:*:*:first\n",
    );
    let services = "[svc]\nhost=one\nuser=svcuser\nport=7\n[both]\npassword=svcpass\nhost=two\n";
    write_private(&home.path().join(".pg_service.conf"), services);
    home
}

fn password(connect: &Connect) -> Option<String> {
    passwords(&connect.first).remove(0)
}

fn describe(url: Option<&str>, variables: &[(&str, &str)]) -> String {
    Connect::resolve(url, &environment(variables)).unwrap().describe().to_owned()
}

#[test]
fn nothing_at_all_means_localhost_and_the_users_own_database() {
    let connect = Connect::resolve(None, &environment(&[])).unwrap();
    assert_eq!(connect.describe(), "database \"osuser\" on localhost:5432 as user \"osuser\"");
    assert_eq!(connect.sslmode(), SslMode::Prefer);
    assert_eq!(connect.first.config.get_target_session_attrs(), TargetSessionAttrs::Any);
}

#[test]
fn the_flag_comes_before_database_url_before_variables() {
    let variables = [("DATABASE_URL", "postgres://dbu@two/d2"), ("PGUSER", "pgu"), ("PGPORT", "9")];
    let target = describe(Some("postgres://one/d1"), &variables);
    assert_eq!(target, "database \"d1\" on one:9 as user \"pgu\"");
    let target = describe(None, &variables);
    assert_eq!(target, "database \"d2\" on two:9 as user \"dbu\"");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let target = describe(None, &[("DATABASE_URL", ""), ("PGHOST", "h"), ("PGPORT", "")]);
    assert_eq!(target, "database \"osuser\" on h:5432 as user \"osuser\"");
}

#[test]
fn sockets_and_addresses_are_described_as_such() {
    let target = describe(Some("postgres:///d?host=/run/pg,::1"), &[]);
    let expected = "database \"d\" on /run/pg/.s.PGSQL.5432, [::1]:5432 as user \"osuser\"";
    assert_eq!(target, expected);
}

#[test]
fn a_service_is_weaker_than_the_url_and_stronger_than_variables() {
    let home = home();
    let mut environment = environment(&[("PGUSER", "pgu"), ("PGDATABASE", "pgd")]);
    environment.home = Some(home.path().into());
    let connect = Connect::resolve(Some("service=svc port=8"), &environment).unwrap();
    assert_eq!(connect.describe(), "database \"pgd\" on one:8 as user \"svcuser\"");
    environment.variables.insert("PGSERVICE".into(), "absent".into());
    assert!(Connect::resolve(Some("service=svc"), &environment).is_ok());
    environment.variables.insert("PGSERVICE".into(), "svc".into());
    let connect = Connect::resolve(None, &environment).unwrap();
    assert_eq!(connect.describe(), "database \"pgd\" on one:7 as user \"svcuser\"");
}

#[test]
fn a_password_is_sought_in_url_service_variable_and_file_in_this_order() {
    let home = home();
    let mut environment = environment(&[]);
    environment.home = Some(home.path().into());
    let found = |url, environment: &Environment| {
        password(&Connect::resolve(Some(url), environment).unwrap())
    };
    assert_eq!(found("postgres://one/d", &environment).as_deref(), Some("first"));
    assert_eq!(found("postgres://three/d", &environment), None);
    assert_eq!(found("host=/run/pg", &environment).as_deref(), Some("first"));
    environment.variables.insert("PGPASSWORD".into(), "var".into());
    assert_eq!(found("postgres://one/d", &environment).as_deref(), Some("var"));
    assert_eq!(found("service=both", &environment).as_deref(), Some("svcpass"));
    assert_eq!(found("postgres://u:url@one/?service=both", &environment).as_deref(), Some("url"));
}

#[test]
fn each_of_several_hosts_has_its_own_password() {
    let home = home();
    let mut environment = environment(&[]);
    environment.home = Some(home.path().into());
    let found = |url| passwords(&Connect::resolve(Some(url), &environment).unwrap().first);
    let own = |password: &str| Some(password.to_owned());
    assert_eq!(found("postgres://one,two,three/d"), [own("first"), own("second"), None]);
    assert_eq!(found("postgres://u:url@one,two/d"), [own("url"), own("url")]);
}

#[test]
fn an_open_password_file_becomes_a_warning() {
    let home = home();
    let path = home.path().join(".pgpass");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut environment = environment(&[]);
    environment.home = Some(home.path().into());
    let connect = Connect::resolve(Some("host=one"), &environment).unwrap();
    assert_eq!(password(&connect), None);
    let [warning] = connect.warnings() else { panic!("{:?}", connect.warnings()) };
    assert!(warning.contains("others may access it"), "{warning}");
}

#[test]
fn variables_reach_the_driver() {
    let variables = [
        ("PGHOST", "db"),
        ("PGHOSTADDR", "10.0.0.9"),
        ("PGTARGETSESSIONATTRS", "any"),
        ("PGOPTIONS", "-c a=b"),
        ("PGCONNECT_TIMEOUT", "3"),
        ("PGSSLMODE", "require"),
        ("PGAPPNAME", "from the environment"),
    ];
    let connect = Connect::resolve(None, &environment(&variables)).unwrap();
    let Resolved { config, servers, .. } = &connect.first;
    assert_eq!(servers[0].endpoint.host, "db");
    assert_eq!(servers[0].endpoint.address, Some("10.0.0.9".parse().unwrap()));
    assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::Any);
    assert_eq!(config.get_options(), Some("-c a=b"));
    assert_eq!(config.get_application_name(), Some("from the environment"));
    assert_eq!(connect.sslmode(), SslMode::Require);
    assert_eq!(limit(config), Some(Duration::from_secs(3)));
}

#[test]
fn an_application_name_is_short_and_printable() {
    let connect = Connect::resolve(None, &environment(&[])).unwrap();
    let name = format!("piecemeal/é\n\0{}", "x".repeat(100));
    let connect = connect.application_name(&name);
    let name = connect.name().unwrap();
    assert_eq!(name.len(), 63);
    assert!(name.starts_with("piecemeal/???xx"), "{name}");
}

#[test]
fn a_setting_that_cannot_be_kept_is_refused_with_its_origin() {
    let error = Connect::resolve(None, &environment(&[("PGREQUIREAUTH", "scram-sha-256")]));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::BadSettings);
    let text = "PGREQUIREAUTH sets require_auth to what is not available here; leave it out";
    assert_eq!(error.to_string(), text);
    let error = Connect::resolve(Some("gssencmode=require"), &environment(&[])).unwrap_err();
    assert!(error.to_string().starts_with("the connection URL sets gssencmode"), "{error}");
}

#[test]
fn no_error_and_no_debug_form_shows_a_password() {
    let urls = [
        "postgres://u:PW@h/d?sslmode=nonsense",
        "postgres://u:PW@h:0/d",
        "postgres://u:PW@h:99999/d",
        "postgres://u:PW@h/d?sslrootcert=/nonexistent",
        "postgres://u:PW@h/d?hots=x",
        "postgres://u:PW@h/d?service=absent",
        "postgres://u:PW@h/d?sslpassword=PW",
        "postgres://u:x/PW@h/d",
        "postgres://u:x@PW@h/d",
        "postgres://u:1/PW?@h/d",
        "postgres://u:x@y/PW@h/d",
        "postgres://u:x@PW$z/d",
        "postgres://u:%zzPW@h/d",
        "postgresql:/u:PW@h/d",
        "postgres:u:PW@h/d",
        "mysql://u:PW@h/d?a=b",
        "u:PW@h/d?a=b",
        "PW",
        "password=a PW",
        "password=a PW=x",
        "password='PW",
        "host=h password=PW sslmode=x",
        "host=h password=PW user=",
        "host=h scram_client_key=PW",
    ];
    for url in urls.map(|url| url.replace("PW", CANARY)) {
        for variables in [vec![("PGPASSWORD", CANARY)], vec![("DATABASE_URL", url.as_str())]] {
            let flag = (variables[0].0 == "PGPASSWORD").then_some(url.as_str());
            let environment = environment(&variables);
            let result = Connect::resolve(flag, &environment);
            let shown = match &result {
                Ok(connect) => {
                    format!("{connect:?} {:?} {}", connect.first.config, connect.describe())
                }
                Err(error) => format!("{error} {error:?}"),
            };
            let shown = format!("{shown} {environment:?}");
            assert!(!shown.contains(CANARY), "{url}: {shown}");
            assert_eq!(result.is_ok(), url.ends_with("user="), "{url}: {shown}");
        }
    }
    let conninfo = Conninfo::parse(&format!("password={CANARY} user=u"), Source::Url).unwrap();
    assert_eq!(format!("{conninfo:?}"), r#"{"password": "***", "user": "u"}"#);
}
