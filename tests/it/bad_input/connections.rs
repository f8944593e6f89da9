//! Where the database is, said wrongly.

use super::{Answers, cases};
use crate::support::cli::Cli;
use crate::support::db::{Db, port};
use crate::support::job::{Toml, numbers};

#[test]
fn every_wrong_connection_is_named_by_its_setting_and_no_password_is_shown() {
    let db = Db::with(&numbers(10));
    let role = format!("of_{}", db.name);
    db.exec(&format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret'"));
    let place = format!("127.0.0.1:{}/{}", port(), db.name);
    let filled = |text: &str| {
        let text = text.replace("{place}", &place).replace("{role}", &role);
        text.replace("{port}", &port().to_string())
    };
    let mut cli = Cli::new(&db, "job", &Toml::increment().text());
    // An empty one counts as not set.
    cli.url = String::new();
    let mut answers = Answers::new(db, cli);
    for (name, variables) in cases("connections.toml") {
        let variables = variables.as_table().expect("variables");
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name, filled(value.as_str().expect("text"))))
            .collect();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = answers.ask(&name, &["status"], &variables);
        assert!(matches!(answer.code, 2 | 3 | 8), "{name}: {answer:?}");
        answers.show(&name, &answer);
    }
    answers.end("connections");
}
