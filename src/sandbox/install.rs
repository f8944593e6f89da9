//! Brings the server programs with the system's own package manager.
//!
//! Which commands run is decided by a pure function of what the machine offers, and each is
//! announced before it runs. Processes that want the same at once wait for the first of them.
//!
//! Deliberately not here: downloads by other ways, and starting what a package installs: on
//! Debian and Ubuntu the package's own cluster is held back, unless its configuration is there
//! already and says otherwise.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use super::operator::quote;
use super::{Programs, SandboxError};

/// Debian's own file; while it is absent, nobody has decided about clusters yet.
const CLUSTER_CONF: &str = "/etc/postgresql-common/createcluster.conf";
const HOLD_BACK: &str = "mkdir -p /etc/postgresql-common/createcluster.d && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/piecemeal.conf";
const LET_GO: &str = "rm -f /etc/postgresql-common/createcluster.d/piecemeal.conf";

/// The package managers in the order of preference, each with its command for the server.
const MANAGERS: [(&str, &str); 7] = [
    ("apt-get", "-o DPkg::Lock::Timeout=300 install -y --no-install-recommends postgresql"),
    ("dnf", "install -y postgresql-server"),
    ("yum", "install -y postgresql-server"),
    ("zypper", "--non-interactive install postgresql-server"),
    ("apk", "add postgresql"),
    ("pacman", "-S --noconfirm --needed postgresql"),
    ("brew", "install postgresql@17"),
];

/// How far this process can act as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    SudoWithoutPassword,
    SudoOnTerminal,
    None,
}

/// What an installation depends on.
#[derive(Debug, Clone, Copy)]
struct Machine {
    rights: Rights,
    manager: Option<(&'static str, &'static str)>,
    cluster_conf: bool,
}

/// One command: a program and its arguments.
type Words = Vec<String>;

/// The commands of one installation.
#[derive(Debug, Default, PartialEq, Eq)]
struct Recipe {
    /// Helpful, and no reason to give up when they fail.
    before: Vec<Words>,
    install: Words,
    /// Run also after a failure.
    after: Vec<Words>,
}

/// Installs the programs, unless another process has just done so.
pub(super) fn install(say: &mut dyn FnMut(&str)) -> Result<Programs, SandboxError> {
    let lock = lock().map_err(SandboxError::io("lock the installation"))?;
    if let Some(found) = Programs::find() {
        return Ok(found);
    }
    let recipe = choose(Machine::look())?;
    say("no PostgreSQL server programs were found, installing them");
    for words in &recipe.before {
        // What this leaves undone shows in the installation itself.
        let _ = run(words, say);
    }
    let installed = run(&recipe.install, say);
    let tidied = recipe.after.iter().try_for_each(|words| run(words, say));
    installed.and(tidied)?;
    drop(lock);
    Programs::find().ok_or_else(|| SandboxError::NoPrograms {
        because: "the package manager succeeded, but the programs are in none of the known places",
        hint: "set PIECEMEAL_PG_BIN to the directory of initdb, postgres and pg_ctl".to_owned(),
    })
}

/// A lock for each user, since one user may not open another's file in a shared directory.
fn lock() -> io::Result<File> {
    let path = env::temp_dir().join(format!("piecemeal-install-{}.lock", Uid::effective()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.lock()?;
    Ok(file)
}

/// Decides on the commands, or tells what the user can do.
fn choose(machine: Machine) -> Result<Recipe, SandboxError> {
    let Some((name, arguments)) = machine.manager else {
        return Err(SandboxError::NoPrograms {
            because: "no known package manager is here",
            hint:
                "install a PostgreSQL server, and set PIECEMEAL_PG_BIN if it is in an unusual place"
                    .to_owned(),
        });
    };
    let install = format!("{name} {arguments}");
    if name == "brew" {
        return Ok(Recipe { install: split(&install), ..Recipe::default() });
    }
    let prefix = match machine.rights {
        Rights::Root => "",
        Rights::SudoWithoutPassword => "sudo -n ",
        Rights::SudoOnTerminal => "sudo ",
        Rights::None => {
            return Err(SandboxError::NoPrograms {
                because: "it needs root, and neither a terminal for sudo nor sudo without a password is here",
                hint: format!("run `{install}` as root"),
            });
        }
    };
    if name != "apt-get" {
        return Ok(Recipe { install: split(&format!("{prefix}{install}")), ..Recipe::default() });
    }
    Ok(debian(prefix, &install, machine.cluster_conf))
}

fn debian(prefix: &str, install: &str, cluster_conf: bool) -> Recipe {
    let shell = |script: &str| {
        let mut words = split(&format!("{prefix}sh -c"));
        words.push(script.to_owned());
        words
    };
    let (hold_back, let_go) =
        if cluster_conf { (None, None) } else { (Some(shell(HOLD_BACK)), Some(shell(LET_GO))) };
    let update = split(&format!("{prefix}apt-get update"));
    Recipe {
        before: hold_back.into_iter().chain([update]).collect(),
        install: split(&format!("{prefix}env DEBIAN_FRONTEND=noninteractive {install}")),
        after: let_go.into_iter().collect(),
    }
}

fn split(text: &str) -> Words {
    text.split_whitespace().map(str::to_owned).collect()
}

fn run(words: &[String], say: &mut dyn FnMut(&str)) -> Result<(), SandboxError> {
    let command = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    say(&command);
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let failed = SandboxError::io("run the package manager");
    // Sudo asks on the terminal itself; nothing else may ask, or write between our lines.
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(failed)?;
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout, done.stderr].concat();
    Err(SandboxError::Install { command, output: tail(&String::from_utf8_lossy(&said), 20) })
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

impl Machine {
    fn look() -> Self {
        let root = Uid::effective().is_root();
        let usable = |name: &str| on_path(name) && !(root && name == "brew");
        Self {
            rights: if root { Rights::Root } else { Rights::of_sudo() },
            manager: MANAGERS.into_iter().find(|(name, _)| usable(name)),
            cluster_conf: Path::new(CLUSTER_CONF).exists(),
        }
    }
}

impl Rights {
    fn of_sudo() -> Self {
        let mut silent = Command::new("sudo");
        silent.args(["-n", "true"]).stdin(Stdio::null()).stdout(Stdio::null());
        match silent.stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Self::SudoWithoutPassword,
            Ok(_) if io::stdin().is_terminal() => Self::SudoOnTerminal,
            _ => Self::None,
        }
    }
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, rights: Rights) -> Machine {
        let manager = MANAGERS.into_iter().find(|(manager, _)| *manager == name);
        Machine { rights, manager, cluster_conf: false }
    }

    fn lines(recipe: &Recipe) -> Vec<String> {
        let all = recipe.before.iter().chain([&recipe.install]).chain(&recipe.after);
        all.map(|words| words.join(" ")).collect()
    }

    #[test]
    fn root_on_debian_holds_the_cluster_back_and_lets_go_afterwards() {
        let recipe = choose(machine("apt-get", Rights::Root)).unwrap();
        let expected = [
            format!("sh -c {HOLD_BACK}"),
            "apt-get update".to_owned(),
            "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y \
             --no-install-recommends postgresql"
                .to_owned(),
            format!("sh -c {LET_GO}"),
        ];
        assert_eq!(lines(&recipe), expected);
        assert_eq!(recipe.before[0].len(), 3, "the script is one argument");
    }

    #[test]
    fn a_cluster_configuration_that_is_there_is_left_alone() {
        let recipe =
            choose(Machine { cluster_conf: true, ..machine("apt-get", Rights::Root) }).unwrap();
        assert_eq!(recipe.before, [split("apt-get update")]);
        assert_eq!(recipe.after, Vec::<Words>::new());
    }

    #[test]
    fn every_command_of_an_ordinary_user_goes_through_sudo() {
        for (name, _) in MANAGERS.into_iter().filter(|(name, _)| *name != "brew") {
            let silent = choose(machine(name, Rights::SudoWithoutPassword)).unwrap();
            assert!(lines(&silent).iter().all(|line| line.starts_with("sudo -n ")), "{silent:?}");
            let asking = choose(machine(name, Rights::SudoOnTerminal)).unwrap();
            assert!(lines(&asking).iter().all(|line| line.starts_with("sudo ")), "{asking:?}");
            assert!(!lines(&asking).iter().any(|line| line.contains(" -n ")), "{asking:?}");
        }
    }

    #[test]
    fn homebrew_needs_no_root() {
        let recipe = choose(machine("brew", Rights::None)).unwrap();
        assert_eq!(lines(&recipe), ["brew install postgresql@17"]);
    }

    #[test]
    fn without_rights_the_error_tells_the_command() {
        let error = choose(machine("dnf", Rights::None)).unwrap_err().to_string();
        assert!(error.contains("`dnf install -y postgresql-server` as root"), "{error}");
    }

    #[test]
    fn without_a_package_manager_the_error_tells_the_variable() {
        let error = choose(machine("none", Rights::Root)).unwrap_err().to_string();
        assert!(error.contains("PIECEMEAL_PG_BIN"), "{error}");
    }

    #[test]
    fn a_command_is_announced_before_it_fails_with_its_last_words() {
        let mut said = Vec::new();
        let words = ["sh", "-c", "seq 30; exit 3"].map(str::to_owned);
        let error = run(&words, &mut |line| said.push(line.to_owned())).unwrap_err().to_string();
        assert_eq!(said, ["sh -c 'seq 30; exit 3'"]);
        assert!(error.ends_with("\n29\n30") && !error.contains("\n10\n"), "{error}");
    }
}
