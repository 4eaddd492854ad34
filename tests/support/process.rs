//! guardbit as a process of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts it; what it says is appended to `log`.
pub fn spawn(program: &Path, args: &[String], kubeconfig: &Path, log: &Path) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .expect("a log");
    Command::new(program)
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("guardbit starts")
}
