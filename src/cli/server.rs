//! Flags of the commands that ask a Prometheus by themselves: with which credentials, and how long to wait.
//!
//! Secrets come from files, never from arguments: those can be read by everyone on the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::prometheus::{AllowedUrls, Authorization, Credentials, Limits, PrometheusClient};

/// What queries run on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(|e| e.to_string())
}

/// How to ask.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Seconds that Prometheus gets to answer each query.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    prometheus_timeout: u64,
    /// File with a bearer token for Prometheus.
    #[arg(long, value_name = "FILE", conflicts_with = "prometheus_user")]
    prometheus_token_file: Option<PathBuf>,
    /// User name for Prometheus.
    #[arg(long, value_name = "NAME", requires = "prometheus_password_file")]
    prometheus_user: Option<String>,
    /// File with the password of that user.
    #[arg(long, value_name = "FILE", requires = "prometheus_user")]
    prometheus_password_file: Option<PathBuf>,
    /// Tenant, where the server keeps the series of several (X-Scope-OrgID).
    #[arg(long, value_name = "NAME")]
    prometheus_tenant: Option<String>,
    /// File with certificates (PEM) of the authority that signed the server's; the system's when left out.
    #[arg(long, value_name = "FILE")]
    prometheus_ca_file: Option<PathBuf>,
}

impl ServerArgs {
    /// A client of the server at a URL.
    pub(super) fn client(&self, url: &str) -> Result<PrometheusClient, String> {
        let authorization = match (
            &self.prometheus_token_file,
            &self.prometheus_user,
            &self.prometheus_password_file,
        ) {
            (Some(token), ..) => Some(Authorization::Bearer(secret(token)?)),
            (None, Some(user), Some(password)) => Some(Authorization::Basic {
                user: user.clone(),
                password: secret(password)?,
            }),
            _ => None,
        };
        let credentials = Credentials {
            authorization,
            tenant: self.prometheus_tenant.clone(),
            ca_pem: self.prometheus_ca_file.as_deref().map(read).transpose()?,
        };
        let limits = Limits {
            timeout: Duration::from_secs(self.prometheus_timeout.max(1)),
            ..Limits::default()
        };
        // Any URL is allowed, because whoever runs the command typed it.
        let allowed = AllowedUrls::parse([url]).map_err(|e| e.to_string())?;
        PrometheusClient::new(url, &allowed, &credentials, limits).map_err(|e| e.to_string())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// A secret without the line break that editors leave.
fn secret(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(read(path)?).map_err(|_| format!("{}: it is not text", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
