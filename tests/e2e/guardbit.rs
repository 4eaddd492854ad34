//! guardbit itself, as a process of its own for every test: with the rights of its ServiceAccount and nothing more.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::config::{AuthInfo, Kubeconfig};

use crate::spawn::spawn;

/// Namespace of guardbit's own objects, as in `config/`.
pub const SYSTEM: &str = "guardbit-system";

/// A running guardbit; it dies with this value.
pub struct Guardbit {
    child: Child,
    program: PathBuf,
    args: Vec<String>,
    kubeconfig: PathBuf,
    log: PathBuf,
    dir: PathBuf,
}

impl Guardbit {
    /// Starts one for a namespace. `None` is the version built from here.
    pub async fn start(
        client: &Client,
        namespace: &str,
        prometheus: &str,
        more: &[&str],
        program: Option<&Path>,
    ) -> Self {
        let dir = std::env::temp_dir().join(format!("guardbit-e2e-{}-{namespace}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for logs");
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, service_account_kubeconfig(client).await).expect("kubeconfig written");
        let args = [
            "run",
            "--namespaces",
            namespace,
            "--prometheus-url",
            prometheus,
            "--listen=127.0.0.1:0",
            "--lease-namespace",
            SYSTEM,
            "--lease-name",
            namespace,
            "--identity",
            namespace,
        ];
        let args: Vec<String> = args.iter().chain(more).map(|s| (*s).to_owned()).collect();
        let log = dir.join("log");
        let program = version(program);
        Self {
            child: spawn(&program, &args, &kubeconfig, &log),
            program,
            args,
            kubeconfig,
            log,
            dir,
        }
    }

    /// Another replica: it stands for election beside this one.
    pub fn second(&self) -> Self {
        let mut args = self.args.clone();
        if let Some(at) = args.iter().position(|a| a == "--identity") {
            args[at + 1].push_str("-2");
        }
        let dir = self.dir.join("second");
        std::fs::create_dir_all(&dir).expect("a directory for logs");
        let (kubeconfig, log) = (dir.join("kubeconfig"), dir.join("log"));
        std::fs::copy(&self.kubeconfig, &kubeconfig).expect("copied");
        let program = self.program.clone();
        let child = spawn(&program, &args, &kubeconfig, &log);
        Self {
            child,
            program,
            args,
            kubeconfig,
            log,
            dir,
        }
    }

    /// Whether it is still there.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("known").is_none()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// SIGKILL, then another one as the kubelet would start it: same name, nothing remembered.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Starts it after a kill.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.args, &self.kubeconfig, &self.log);
    }

    /// Another version in its place, as an upgrade of its Deployment does: SIGTERM, its end, then the other one. `None` is
    /// the version built from here.
    pub fn replace_by(&mut self, program: Option<&Path>) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .expect("kill")
                .success()
        );
        let ended = self.child.wait().expect("reaped");
        assert!(ended.success(), "it did not end in order: {ended}\n{}", self.log_tail());
        self.program = version(program);
        self.start_again();
    }

    /// The same version with another value of a flag in its place: `--name=value`.
    pub fn replace_with(&mut self, flag: &str) {
        let name = flag.split_inclusive('=').next().unwrap_or(flag);
        self.args.retain(|arg| !arg.starts_with(name));
        self.args.push(flag.to_owned());
        self.replace_by(None);
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Guardbit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A failed test leaves its log to be read.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The program of a version; `None` is the one built from here.
fn version(program: Option<&Path>) -> PathBuf {
    program.unwrap_or(Path::new(env!("CARGO_BIN_EXE_guardbit"))).to_owned()
}

async fn service_account_kubeconfig(client: &Client) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), SYSTEM);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(7_200),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request("guardbit", &PostParams::default(), &request)
        .await
        .expect("config/rbac is applied");
    let mut config = Kubeconfig::read().expect("KUBECONFIG");
    let token = token.status.and_then(|s| s.token).expect("a token");
    for user in &mut config.auth_infos {
        user.auth_info = Some(AuthInfo {
            token: Some(token.clone().into()),
            ..AuthInfo::default()
        });
    }
    serde_yaml_ng::to_string(&config).expect("YAML")
}
