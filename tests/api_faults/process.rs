//! guardbit as a process: the real binary, killed without warning and started again as a kubelet would.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;

use crate::spawn::spawn;

/// A guardbit; it dies with this value.
pub struct Process {
    args: Vec<String>,
    dir: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Not started yet.
    pub fn new(args: Vec<String>, dir: PathBuf) -> Self {
        std::fs::create_dir_all(&dir).expect("a directory");
        Self {
            args,
            dir,
            child: Mutex::new(None),
        }
    }

    /// Starts it, with this URL as its API server.
    pub fn start(&self, api_server: &str) {
        let kubeconfig = format!(
            "{{apiVersion: v1, kind: Config, clusters: [{{name: c, cluster: {{server: '{api_server}'}}}}], users: [{{name: u, user: {{}}}}], contexts: [{{name: x, context: {{cluster: c, user: u}}}}], current-context: x}}"
        );
        std::fs::write(self.kubeconfig(), kubeconfig).expect("a kubeconfig");
        *self.child.lock().unwrap() = Some(self.spawn());
    }

    /// SIGKILL, then another one: same name, nothing remembered.
    pub fn kill_and_restart(&self) {
        let mut child = self.child.lock().unwrap();
        if let Some(mut old) = child.take() {
            let _ = old.kill();
            let _ = old.wait();
            *child = Some(self.spawn());
        }
    }

    /// Starts it again if it has ended by itself; whether it had.
    pub fn revive(&self) -> bool {
        let mut child = self.child.lock().unwrap();
        let ended = child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(Some(_))));
        if ended {
            *child = Some(self.spawn());
        }
        ended
    }

    /// Ends it for good.
    pub fn end(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    fn spawn(&self) -> Child {
        let program = Path::new(env!("CARGO_BIN_EXE_guardbit"));
        spawn(program, &self.args, &self.kubeconfig(), &self.dir.join("log"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
