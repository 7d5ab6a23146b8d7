//! Contexts: applications with their regions and profiles, in a file.

use std::collections::BTreeMap;
use std::env::home_dir;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// An application with what is needed to look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Context {
    pub(crate) app: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) endpoint_url: Option<String>,
    pub(crate) stream: Option<String>,
}

/// Returns the context of this name, or an empty one if none is named.
pub(crate) fn load(file: Option<&Path>, name: Option<&str>) -> anyhow::Result<Context> {
    let Some(name) = name else { return Ok(Context::default()) };
    let file = match file {
        Some(file) => file.to_owned(),
        None => default_file().context("there is no home folder: name a file with --config")?,
    };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("context {name:?} is not known: there is no {}", file.display())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let contexts: BTreeMap<String, Context> =
        toml::from_str(&text).with_context(|| format!("{} is not valid", file.display()))?;
    match contexts.get(name) {
        Some(context) => Ok(context.clone()),
        None => {
            let known: Vec<_> = contexts.keys().map(String::as_str).collect();
            bail!("context {name:?} is not in {}, which has: {}", file.display(), known.join(", "))
        }
    }
}

fn default_file() -> Option<PathBuf> {
    Some(home_dir()?.join(".config/kcl/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "[orders]\napp = \"orders-consumer\"\nregion = \"eu-west-1\"\n").unwrap();
        let found = load(Some(&file), Some("orders")).unwrap();
        assert_eq!(found.app.as_deref(), Some("orders-consumer"));
        assert_eq!(found.region.as_deref(), Some("eu-west-1"));
        let error = load(Some(&file), Some("billing")).unwrap_err().to_string();
        assert!(error.contains("\"billing\"") && error.ends_with("has: orders"), "{error}");
        fs::write(&file, "[orders]\napplication = \"x\"\n").unwrap();
        let error = format!("{:#}", load(Some(&file), Some("orders")).unwrap_err());
        assert!(error.contains("unknown field `application`"), "{error}");
        let error = load(Some(&folder.path().join("none")), Some("x")).unwrap_err().to_string();
        assert!(error.contains("there is no"), "{error}");
        assert_eq!(load(None, None).unwrap(), Context::default());
    }
}
